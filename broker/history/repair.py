"""Repair of rows that versions before 0.2 wrote, from the venue's log, which the table of transactions has.

Their fills lack costs, trades and nanoseconds. Exits by orders of trades stand there as a buy of no instrument, so that
a sum by instrument and side was not the position.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable

import msgspec
import sqlalchemy as sa
from msgspec.structs import replace

from broker.domain import Order
from broker.history import tables
from broker.history.database import Database
from broker.history.rows import HistoryRows, fill_row, order_row
from broker.history.writer import write_progress, write_rows
from broker.orders.model.lifecycle import fill_of, traded
from broker.venue.v20.transactions import parse_transaction

WINDOW = 2000
"""Fills that one query looks at: the search ends within the deadline, however many are whole."""
BATCH = 50
"""Fills in a few milliseconds of the event loop, on which orders wait meanwhile."""
PAUSE_S = 0.05
_ORDER = msgspec.json.Decoder(Order)
Found = tuple[str, str, str, str]
"""Transaction id and order id of a fill, and the documents of its order and its transaction."""


async def repair_fills(database: Database, account: str) -> int:
    """Complete the old rows of an account, once; the number of fills that were.

    Raises DatabaseUnavailableError: what was repaired stays so, and another run goes on from there.
    """
    behind, repaired = ("", ""), 0
    source = f"repair {account}"
    done = sa.select(tables.progress.c.position).where(tables.progress.c.source == source)
    async with database.transaction() as connection:
        # To look at a million rows takes seconds, which a start need not spend again and again.
        if (await connection.execute(done)).first() is not None:
            return 0
    while True:
        async with database.transaction() as connection:
            edge = (await connection.execute(_edge(account, behind))).first()
            old = _old_fills(account, behind, (edge[0], edge[1]) if edge is not None else None)
            found: list[Found] = list(map(_found, await connection.execute(old)))
            rows = repaired_rows(found)
            await write_rows(connection, rows)
            # By the cursor, not by the condition alone: a row that cannot be repaired must not come again.
            if len(found) == BATCH:
                behind = (found[-1][0], found[-1][1])
            elif edge is not None:
                behind = (edge[0], edge[1])
            else:
                await write_progress(connection, source, 0)
        repaired += len(rows.fills)
        if edge is None and len(found) < BATCH:
            return repaired
        await asyncio.sleep(PAUSE_S if found else 0)


def _edge(account: str, behind: tuple[str, str]) -> sa.Select[str, str]:
    """The last fill of the window behind a fill; none if fewer follow."""
    fills = tables.fills.c
    query = sa.select(fills.transaction_id, fills.order_id).where(fills.account == account)
    query = query.where(sa.tuple_(fills.transaction_id, fills.order_id) > sa.tuple_(*behind))
    return query.order_by(fills.transaction_id, fills.order_id).offset(WINDOW - 1).limit(1)


def _found(row: sa.Row[str, str, str, str]) -> Found:
    return row[0], row[1], row[2], row[3]


def _old_fills(account: str, behind: tuple[str, str], edge: tuple[str, str] | None) -> sa.Select[str, str, str, str]:
    fills, orders, log = tables.fills.c, tables.orders.c, tables.transactions.c
    its_transaction = sa.and_(log.account == fills.account, log.id == sa.cast(fills.transaction_id, sa.BigInteger))
    query = sa.select(fills.transaction_id, fills.order_id, orders.document, log.document)
    query = query.join(tables.orders, orders.id == fills.order_id).join(tables.transactions, its_transaction)
    query = query.where(fills.account == account, fills.time_ns.is_(None))
    key = sa.tuple_(fills.transaction_id, fills.order_id)
    query = query.where(key > sa.tuple_(*behind), key <= sa.tuple_(*edge) if edge is not None else sa.true())
    return query.order_by(fills.transaction_id, fills.order_id).limit(BATCH)


def repaired_rows(found: Iterable[Found]) -> HistoryRows:
    """The rows of fills and their orders, as this version writes them. One that cannot be read stays as it is."""
    orders: dict[str, Order] = {}
    rows = HistoryRows()
    for transaction_id, order_id, order_document, document in found:
        try:
            order = orders.get(order_id) or _ORDER.decode(order_document)
            transaction = parse_transaction(json.loads(document))
            fill = fill_of(transaction)
        except (ValueError, KeyError):
            continue
        fills = tuple(fill if item.transaction_id == transaction_id else item for item in order.fills)
        orders[order_id] = order = replace(order, request=traded(order.request, transaction), fills=fills)
        rows.fills[transaction_id, order_id] = fill_row(fill, order)
        rows.orders[order_id] = order_row(order)
    return rows
