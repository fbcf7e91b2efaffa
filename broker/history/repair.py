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
from broker.history.writer import write_rows
from broker.orders.model.lifecycle import fill_of, traded
from broker.venue.v20.transactions import parse_transaction

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
        # To find no old row among a million takes a second, which a start need not spend again and again.
        if (await connection.execute(done)).first() is not None:
            return 0
    while True:
        async with database.transaction() as connection:
            found: list[Found] = list(map(_found, await connection.execute(_old_fills(account, behind))))
            rows = repaired_rows(found)
            await write_rows(connection, rows)
            if len(found) < BATCH:
                await connection.execute(sa.insert(tables.progress).values(source=source, position=0))
        repaired += len(rows.fills)
        if len(found) < BATCH:
            return repaired
        # By the cursor, not by the condition alone: a row that cannot be repaired must not come again.
        behind = (found[-1][0], found[-1][1])
        await asyncio.sleep(PAUSE_S)


def _found(row: sa.Row[str, str, str, str]) -> Found:
    return row[0], row[1], row[2], row[3]


def _old_fills(account: str, behind: tuple[str, str]) -> sa.Select[str, str, str, str]:
    fills, orders, log = tables.fills.c, tables.orders.c, tables.transactions.c
    its_transaction = sa.and_(log.account == fills.account, log.id == sa.cast(fills.transaction_id, sa.BigInteger))
    query = sa.select(fills.transaction_id, fills.order_id, orders.document, log.document)
    query = query.join(tables.orders, orders.id == fills.order_id).join(tables.transactions, its_transaction)
    query = query.where(fills.account == account, fills.time_ns.is_(None))
    query = query.where(sa.tuple_(fills.transaction_id, fills.order_id) > sa.tuple_(*behind))
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
