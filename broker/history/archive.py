"""Queries to the history: one order, or pages of orders, fills and transactions."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from broker.domain import Order
from broker.history import tables
from broker.history.database import Database
from broker.orders.model.lifecycle import UNTRIED

_ORDER = msgspec.json.Decoder(Order)
# SQLAlchemy makes the rows on the event loop, where orders wait meanwhile.
EXPORT_PAGE = 200


class CursorError(ValueError):
    """A cursor that no page gave."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryFilter:
    """Conditions that rows must meet; an absent one leaves all rows. `equal` maps columns to values."""

    equal: Mapping[str, str] = field(default_factory=dict)
    since: datetime | None = None
    """Inclusive."""
    until: datetime | None = None
    """Exclusive."""


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """Rows, newest first, and the cursor of the next page; None at the end."""

    rows: list[dict[str, Any]]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class HistoryTable:
    """A table with the two columns that order it: a time, and a column that breaks ties."""

    table: sa.Table
    moment: str
    tie: str

    @property
    def name(self) -> str:
        """The table's name, which is also the resource's."""
        return self.table.name


ORDERS = HistoryTable(tables.orders, "created_at", "id")
FILLS = HistoryTable(tables.fills, "time", "transaction_id")
TRANSACTIONS = HistoryTable(tables.transactions, "time", "id")


class Archive:
    """Reads the history of one account. Every method raises DatabaseUnavailableError if the database is away."""

    def __init__(self, database: Database, account: str) -> None:
        self._database = database
        self._account = account

    async def order(self, order_id: str) -> Order | None:
        """The order of our id."""
        return await self._one(tables.orders.c.id == order_id)

    async def by_client_id(self, client: str, client_order_id: str) -> Order | None:
        """The order of a caller's id; an order that did not hold it (`lifecycle.holds_id`) is passed over."""
        columns = tables.orders.c
        held = [sa.or_(columns.status != status, columns.reason != reason) for status, reason in UNTRIED]
        return await self._one(columns.client == client, columns.client_order_id == client_order_id, *held)

    async def names(self, since: datetime | None) -> AsyncIterator[list[tuple[datetime, str, str]]]:
        """Creation time, client and client order id of all orders from a time on; in blocks, oldest first."""
        columns = tables.orders.c
        query = sa.select(columns.created_at, columns.client, columns.client_order_id, columns.id)
        query = query.where(columns.account == self._account)
        query = query.order_by(columns.created_at, columns.id).limit(EXPORT_PAGE)
        behind = columns.created_at >= since if since is not None else sa.true()
        while True:
            async with self._database.transaction() as connection:
                rows = (await connection.execute(query.where(behind))).all()
            yield [(row[0], row[1], row[2]) for row in rows]
            if len(rows) < EXPORT_PAGE:
                return
            at, last = rows[-1][0], rows[-1][3]
            behind = sa.or_(columns.created_at > at, sa.and_(columns.created_at == at, columns.id > last))

    async def _one(self, *conditions: sa.ColumnElement[bool]) -> Order | None:
        mine = tables.orders.c.account == self._account
        query = sa.select(tables.orders.c.document).where(mine, *conditions).limit(1)
        async with self._database.transaction() as connection:
            document = (await connection.execute(query)).scalar()
        return _ORDER.decode(document) if document is not None else None

    async def page(
        self, table: HistoryTable, wanted: HistoryFilter, *, limit: int, cursor: str | None = None
    ) -> HistoryPage:
        """At most `limit` rows behind `cursor`; raises CursorError if it is not one of ours."""
        columns = table.table.c
        moment, tie = columns[table.moment], columns[table.tie]
        query = sa.select(table.table).where(columns.account == self._account)
        query = query.where(*(columns[name] == value for name, value in wanted.equal.items()))
        if wanted.since is not None:
            query = query.where(moment >= wanted.since)
        if wanted.until is not None:
            query = query.where(moment < wanted.until)
        if cursor is not None:
            # By value and not by OFFSET: rows that come meanwhile shift no page, and the index finds the place.
            at, last = parse_cursor(cursor, number=table is TRANSACTIONS)
            query = query.where(sa.or_(moment < at, sa.and_(moment == at, tie < last)))
        query = query.order_by(moment.desc(), tie.desc()).limit(limit + 1)  # one more tells if another page follows
        async with self._database.transaction() as connection:
            rows = [dict(row) for row in (await connection.execute(query)).mappings()]
        kept, more = rows[:limit], len(rows) > limit
        return HistoryPage(kept, make_cursor(kept[-1][table.moment], kept[-1][table.tie]) if more else None)

    async def export(
        self, table: HistoryTable, wanted: HistoryFilter, *, limit: int
    ) -> AsyncIterator[list[dict[str, Any]]]:
        """All rows in blocks, at most `limit` of them. The first raises ExportsBusyError if too many exports run."""
        cursor: str | None = None
        async with self._database.export_slot():
            # A transaction for each block: one over the whole export would hold a connection at its reader's pace.
            while limit > 0:
                page = await self.page(table, wanted, limit=min(EXPORT_PAGE, limit), cursor=cursor)
                yield page.rows
                limit -= len(page.rows)
                if (cursor := page.cursor) is None:
                    return


def make_cursor(moment: datetime, tie: str | int) -> str:
    """The place of a row, as a text."""
    return base64.urlsafe_b64encode(json.dumps([moment.isoformat(), tie]).encode()).decode().rstrip("=")


def parse_cursor(text: str, *, number: bool) -> tuple[datetime, str | int]:
    """The place of a row, whose tie is a `number` or a text; raises CursorError for a text of another table."""
    try:
        moment, tie = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        at = datetime.fromisoformat(moment)
    except (binascii.Error, ValueError, TypeError) as error:
        raise CursorError("cursor is not one that a page gave; begin without it") from error
    if at.tzinfo is None or not isinstance(tie, int if number else str) or (isinstance(tie, str) and "\0" in tie):
        raise CursorError("cursor is of another list; begin without it")
    return at, tie
