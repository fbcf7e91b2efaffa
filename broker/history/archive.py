"""Questions to the history: one order, or pages of orders, fills and transactions."""

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

_ORDER = msgspec.json.Decoder(Order)
EXPORT_PAGE = 200
"""Rows are made on the event loop, where orders wait meanwhile: a thousand would hold it five times as long."""


class CursorError(ValueError):
    """A cursor is not one that a page gave."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """What to find; an absent part finds all. `equal` maps columns to values."""

    equal: Mapping[str, str] = field(default_factory=dict)
    since: datetime | None = None
    """Inclusive."""
    until: datetime | None = None
    """Exclusive."""


@dataclass(frozen=True, slots=True)
class Page:
    """Rows, newest first, and the cursor of the next page; none at the end."""

    rows: list[dict[str, Any]]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class Kind:
    """A table with the two columns that order it."""

    table: sa.Table
    moment: str
    tie: str


ORDERS = Kind(tables.orders, "created_at", "id")
FILLS = Kind(tables.fills, "time", "transaction_id")
TRANSACTIONS = Kind(tables.transactions, "time", "id")


class Archive:
    """Reads the history. Every method raises `DatabaseUnavailableError` where the database is away."""

    def __init__(self, database: Database, account: str) -> None:
        self._database = database
        self._account = account

    async def order(self, order_id: str) -> Order | None:
        """By our id."""
        return await self._one(tables.orders.c.id == order_id)

    async def by_client_id(self, client: str, client_order_id: str) -> Order | None:
        """By the caller's id."""
        columns = tables.orders.c
        return await self._one(columns.client == client, columns.client_order_id == client_order_id)

    async def names(self, since: datetime | None) -> AsyncIterator[list[tuple[datetime, str, str]]]:
        """When, by whom and under which id of theirs orders were made, from a time on; in blocks, oldest first."""
        columns = tables.orders.c
        query = sa.select(columns.created_at, columns.client, columns.client_order_id, columns.id)
        query = (
            query.where(columns.account == self._account).order_by(columns.created_at, columns.id).limit(EXPORT_PAGE)
        )
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

    async def page(self, kind: Kind, wanted: Filter, *, limit: int, cursor: str | None = None) -> Page:
        """At most `limit` rows behind `cursor`.

        Raises:
            CursorError: the cursor is not one of ours.
        """
        moment, tie = kind.table.c[kind.moment], kind.table.c[kind.tie]
        query = sa.select(kind.table).where(kind.table.c.account == self._account, *_conditions(kind, wanted))
        if cursor is not None:
            at, last = parse_cursor(cursor, number=kind is TRANSACTIONS)
            query = query.where(sa.or_(moment < at, sa.and_(moment == at, tie < last)))
        query = query.order_by(moment.desc(), tie.desc()).limit(limit + 1)
        async with self._database.transaction() as connection:
            rows = [dict(row) for row in (await connection.execute(query)).mappings()]
        kept = rows[:limit]
        more = len(rows) > limit
        return Page(kept, make_cursor(kept[-1][kind.moment], kept[-1][kind.tie]) if more else None)

    async def export(self, kind: Kind, wanted: Filter, *, limit: int) -> AsyncIterator[list[dict[str, Any]]]:
        """All rows in blocks, at most `limit` of them.

        Raises:
            ExportsBusyError: too many are being read; at the first block.
        """
        cursor: str | None = None
        with self._database.export_slot():
            while limit > 0:
                page = await self.page(kind, wanted, limit=min(EXPORT_PAGE, limit), cursor=cursor)
                yield page.rows
                limit -= len(page.rows)
                if (cursor := page.cursor) is None:
                    return


def _conditions(kind: Kind, wanted: Filter) -> list[sa.ColumnElement[bool]]:
    found = [kind.table.c[name] == value for name, value in wanted.equal.items()]
    moment = kind.table.c[kind.moment]
    if wanted.since is not None:
        found.append(moment >= wanted.since)
    if wanted.until is not None:
        found.append(moment < wanted.until)
    return found


def make_cursor(moment: datetime, tie: str | int) -> str:
    """Text that names a row's place."""
    return base64.urlsafe_b64encode(json.dumps([moment.isoformat(), tie]).encode()).decode().rstrip("=")


def parse_cursor(text: str, *, number: bool) -> tuple[datetime, str | int]:
    """The place that a cursor names; `number` says which kind the second part is.

    Raises:
        CursorError: it is not one.
    """
    try:
        moment, tie = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        at = datetime.fromisoformat(moment)
    except (binascii.Error, ValueError, TypeError) as error:
        raise CursorError("cursor is not one that a page gave; begin without it") from error
    if at.tzinfo is None or not isinstance(tie, int if number else str) or (isinstance(tie, str) and "\0" in tie):
        raise CursorError("cursor is of another list; begin without it")
    return at, tie
