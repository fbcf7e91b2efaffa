"""Queries to the history: one order, or pages of orders, fills and transactions."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.domain import Order
from broker.history import tables
from broker.history.database import Database
from broker.orders.model.lifecycle import UNTRIED

_ORDER = msgspec.json.Decoder(Order)
# SQLAlchemy makes the rows on the event loop, where orders wait meanwhile.
EXPORT_PAGE = 200
# Rows that one query filters, beginning with the first number: some milliseconds, where a deadline is seconds.
FIRST_WINDOW, LAST_WINDOW = 1_000, 20_000
Place = tuple[datetime, str | int]
"""Time and tie of a row."""
_NO_TIME = datetime.fromtimestamp(0, UTC)


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
    is_numbered: bool = False
    """True if `tie` alone is the order: the venue numbers its log as time goes on."""
    served: frozenset[str] = frozenset()
    """Columns that an index of their own finds, if a filter names them all."""

    def serves(self, wanted: HistoryFilter) -> bool:
        """True if an index finds the few rows of a filter."""
        return bool(self.served) and self.served <= wanted.equal.keys()

    @property
    def name(self) -> str:
        """The table's name, which is also the resource's."""
        return self.table.name


ORDERS = HistoryTable(tables.orders, "created_at", "id", served=frozenset({"client", "client_order_id"}))
FILLS = HistoryTable(tables.fills, "time", "transaction_id", served=frozenset({"order_id"}))
# By its number, which is in the primary key: by time, each page would sort the whole log.
TRANSACTIONS = HistoryTable(tables.transactions, "time", "id", is_numbered=True)


class Archive:
    """Reads the history of one account. Every method raises DatabaseUnavailableError if the database is away."""

    def __init__(self, database: Database, account: str, *, now_s: Callable[[], float] = monotonic) -> None:
        self._database = database
        self._account = account
        self._now_s = now_s

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
        """At most `limit` rows behind `cursor`; raises CursorError if it is not one of ours.

        Fewer rows with a cursor, even none, are a page too: no index serves every filter, and the page ends when half
        of the deadline is used.
        """
        place = parse_cursor(cursor, number=table is TRANSACTIONS) if cursor is not None else None
        until_s = self._now_s() + self._database.deadline_s / 2
        rows: list[dict[str, Any]] = []
        window = max(FIRST_WINDOW, 4 * limit)
        while True:
            # A transaction each, so that the deadline bounds a window and not their sum.
            async with self._database.transaction() as connection:
                end = None
                if not table.serves(wanted):
                    end = await self._end_of_window(connection, table, wanted, place, window)
                # One more tells if another page follows.
                rows += await self._rows(connection, table, wanted, (place, end), limit + 1 - len(rows))
            if len(rows) > limit:
                last = rows[limit - 1]
                # A transaction may be without a time; its number alone is its place.
                return HistoryPage(rows[:limit], make_cursor(last[table.moment] or _NO_TIME, last[table.tie]))
            if end is None:
                return HistoryPage(rows, None)
            if self._now_s() >= until_s:
                return HistoryPage(rows, make_cursor(*end))
            place, window = end, min(2 * window, LAST_WINDOW)

    async def _end_of_window(
        self, connection: AsyncConnection, table: HistoryTable, wanted: HistoryFilter, place: Place | None, size: int
    ) -> Place | None:
        """Return the place of the last of `size` rows behind a place, whatever the filter; None if fewer are left."""
        columns = table.table.c
        moment, tie = columns[table.moment], columns[table.tie]
        # All in the index that orders the table: no row is read for it.
        query = sa.select(moment, tie).where(*self._span(table, wanted, (place, None)))
        found = (await connection.execute(_newest_first(query, table).limit(1).offset(size - 1))).first()
        return None if found is None else (found[0] or _NO_TIME, found[1])

    async def _rows(
        self,
        connection: AsyncConnection,
        table: HistoryTable,
        wanted: HistoryFilter,
        between: tuple[Place | None, Place | None],
        limit: int,
    ) -> list[dict[str, Any]]:
        columns = table.table.c
        moment = columns[table.moment]
        # `|| ''`: by the account SQLite would find its rows in the primary key and sort them all for each page.
        owner = columns.account if table.is_numbered else columns.account.concat("")
        query = sa.select(table.table).where(owner == self._account, *self._span(table, wanted, between))
        query = query.where(*(columns[name] == value for name, value in wanted.equal.items()))
        if table.is_numbered and wanted.since is not None:
            query = query.where(moment >= wanted.since)
        if table.is_numbered and wanted.until is not None:
            query = query.where(moment < wanted.until)
        return [dict(row) for row in (await connection.execute(_newest_first(query, table).limit(limit))).mappings()]

    def _span(
        self, table: HistoryTable, wanted: HistoryFilter, between: tuple[Place | None, Place | None]
    ) -> Iterator[sa.ColumnElement[bool]]:
        """Yield the conditions that the index of the order serves: behind the first place, up to the second."""
        columns = table.table.c
        moment, tie = columns[table.moment], columns[table.tie]
        behind, up_to = between
        if table.is_numbered:
            yield columns.account == self._account
            if behind is not None:
                yield tie < behind[1]
            if up_to is not None:
                yield tie >= up_to[1]
            return
        if wanted.since is not None:
            yield moment >= wanted.since
        if wanted.until is not None:
            yield moment < wanted.until
        # By value and not by OFFSET: rows that come meanwhile shift no page. The bound on the time alone says nothing
        # more, but an index finds its place by it, and by no OR.
        if behind is not None:
            yield moment <= behind[0]
            yield sa.or_(moment < behind[0], tie < behind[1])
        if up_to is not None:
            yield moment >= up_to[0]
            yield sa.or_(moment > up_to[0], tie >= up_to[1])

    async def export(
        self, table: HistoryTable, wanted: HistoryFilter, *, limit: int
    ) -> AsyncIterator[list[dict[str, Any]]]:
        """All rows in blocks, at most `limit` of them. The first raises ExportsBusyError if too many exports run."""
        cursor: str | None = None
        async with self._database.export_slot():
            # A transaction for each block: one over the whole export would hold a connection at its reader's pace.
            while limit > 0:
                page = await self.page(table, wanted, limit=min(EXPORT_PAGE, limit), cursor=cursor)
                cursor = page.cursor
                if page.rows or cursor is None:
                    yield page.rows
                limit -= len(page.rows)
                if cursor is None:
                    return


def _newest_first(query: sa.Select[Any], table: HistoryTable) -> sa.Select[Any]:
    columns = table.table.c
    order = (table.tie,) if table.is_numbered else (table.moment, table.tie)
    return query.order_by(*(columns[name].desc() for name in order))


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
