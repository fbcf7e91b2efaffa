"""Writes the history behind the order journal.

An order is done when it is in the journal; the history database has it some tenths of a second later. One task reads
the journal from behind and writes what it finds:

    order -> journal -> venue                 the order path; it knows nothing of this module
                   |
                   v
             _read ahead (2000)  ->  batch (500)  ->  one transaction: rows + progress  ->  release(position)

Why never in front of an order: a database is the slowest and the most fragile part of the system. A fail-over takes
it away for a minute, a full disk for hours. An order that had to wait for it would be late or refused for the sake of
a report. So the order path awaits nothing of this, and every fault ends in a new attempt, never in an exception.

Order of steps, and what a crash leaves after each:

1. Rows and the journal's position (table `progress`) are written in one transaction. A crash before the commit leaves
   the old rows with the old position; the next start reads the same changes again.
2. `release` tells the journal that it may delete segments before the position. A crash between commit and release
   costs disk space until the next commit.

Rows are upserted by their ids and an order only goes to a newer state, so that a change which is read twice changes
nothing. Positions belong to one journal, that is to one volume: `progress` has a row for the name of each, and a
broker on a fresh volume begins at its start.

What can be lost, and when:

- The process is killed: nothing.
- The database is away: nothing while the journal has room. Beyond `orders.keep_bytes` it deletes segments that were
  not released, and counts them. The finished orders of those segments never reach the history. Their transactions do:
  `broker.history.backfill` finds the gap at the next start and reads it from the venue's log.
- The volume is lost: the changes that were not written yet; the same backfill.
- SQLite's machine loses power: SQLite may have lost its last commits, with their position. They are read again,
  unless the journal has begun a new segment in between and deleted the released ones.

Bounds: `_read` waits while 2000 changes are ahead, a transaction has at most `history.batch_rows` changes and at most
`history.deadline_s` of time, and attempts are at most 15 s apart. The backlog is a gauge.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.events.process import HistorySample
from broker.history import tables
from broker.history.database import Database, DatabaseUnavailableError
from broker.history.journal_end import ChangeLog, JournalEnd
from broker.history.rows import HistoryRows, rows_of
from broker.history.schema import ensure_schema
from broker.history.settings import HistorySettings
from broker.orders.conditions import BrokerCondition, Conditions
from broker.orders.store.tail import Change
from pod_runtime.backoff import Backoff
from pod_runtime.cancellation import PersistentTaskGroup, check_cancelled

_LOG = logging.getLogger(__name__)
READ_AHEAD = 2000
SAMPLE_S = 5.0
BACKOFF = Backoff(base_s=0.5, cap_s=15.0)


@dataclass(slots=True, kw_only=True)
class HistoryWriter:
    """Writes one account's changes: one task, one transaction at a time."""

    settings: HistorySettings
    database: Database
    journal: JournalEnd
    changes: ChangeLog
    account: str
    conditions: Conditions
    emit: Callable[[tuple[Any, ...]], None]
    chance: Callable[[], float]
    position: int = field(default=0, init=False)
    """Changes before it are in the database."""
    _failures: int = field(default=0, init=False)
    _moved: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    def __post_init__(self) -> None:
        self._set_condition(ok=False, reason="Starting", message="the history database is being opened")

    def backlog(self) -> int:
        """Number of journal records that are not in the database."""
        return max(0, self.journal.last() - self.position)

    async def run(self) -> None:
        """Write until cancelled; a fault is logged, shown as a condition, and tried again."""
        async with PersistentTaskGroup() as tasks:
            tasks.create_task(self._sample())
            while True:
                reason, fault = "Ended", "the journal ended"
                try:
                    await self._follow()
                except* DatabaseUnavailableError as group:
                    reason, fault = "DatabaseUnavailable", _words(group)
                except* (OSError, ValueError) as group:
                    reason, fault = "JournalUnreadable", _words(group)
                check_cancelled()
                await self._wait_after(reason, fault)

    async def flush(self, deadline_s: float) -> bool:
        """Wait until the changes that the journal has now are written; False if the deadline passes first."""
        target = self.journal.last()
        try:
            async with asyncio.timeout(deadline_s):
                while self.position < target:
                    self._moved.clear()
                    await self._moved.wait()
        except TimeoutError:
            return False
        return True

    async def _follow(self) -> None:
        await ensure_schema(self.database)
        query = sa.select(tables.progress.c.position).where(tables.progress.c.source == self.journal.name)
        async with self.database.transaction() as connection:
            self.position = int((await connection.execute(query)).scalar() or 0)
        self._note_success()
        # Two tasks: the journal is read while a transaction waits for the database.
        ahead: asyncio.Queue[Change] = asyncio.Queue(READ_AHEAD)
        async with PersistentTaskGroup() as tasks:
            tasks.create_task(self._read(ahead, self.position))
            await self._write_all(ahead)

    async def _read(self, ahead: asyncio.Queue[Change], after: int) -> None:
        async with aclosing(self.changes.changes(after)) as changes:  # type: ignore[type-var] # a generator in fact
            async for change in changes:
                await ahead.put(change)

    async def _write_all(self, ahead: asyncio.Queue[Change]) -> None:
        while True:
            batch = [await ahead.get()]
            while not ahead.empty() and len(batch) < self.settings.batch_rows:
                batch.append(ahead.get_nowait())
            await self._write(batch)
            # A pause in which changes gather: a transaction costs the database nearly the same for one as for many.
            await asyncio.sleep(self.settings.batch_delay_s)

    async def _write(self, batch: list[Change]) -> None:
        position = batch[-1].position
        async with self.database.transaction() as connection:
            await write_rows(connection, rows_of(batch, self.account))
            await write_progress(connection, self.journal.name, position)
        self.position = position
        self._moved.set()
        self.changes.release(position)
        self._note_success()

    def _note_success(self) -> None:
        self._failures = 0
        self._set_condition(ok=True, reason="Ready", message="")

    async def _wait_after(self, reason: str, fault: str) -> None:
        self._set_condition(ok=False, reason=reason, message=fault)
        if not self._failures:  # once an outage, not once an attempt
            _LOG.warning("history not written", extra={"reason": reason, "fault": fault, "backlog": self.backlog()})
        # A new login ends the wait at once: it is the most likely cure.
        self.database.changed.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(BACKOFF.delay_s(self._failures, self.chance())):
                await self.database.changed.wait()
        self._failures += 1

    def _set_condition(self, *, ok: bool, reason: str, message: str) -> None:
        # Advisory: a broker without history trades, so it stays ready.
        self.conditions.set(BrokerCondition.HISTORY, ok=ok, reason=reason, message=message, advisory=True)

    async def _sample(self) -> None:
        while True:
            self.emit(HistorySample(backlog=self.backlog()))
            await asyncio.sleep(SAMPLE_S)


def _words(group: BaseExceptionGroup[Exception]) -> str:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error) if isinstance(error, DatabaseUnavailableError) else f"{type(error).__name__}: {error}"


async def write_rows(connection: AsyncConnection, rows: HistoryRows) -> None:
    """Upsert rows; an order goes to a newer state only, and no fill loses what the venue's log told of it."""
    # A journal of before 0.2 tells less of an exit and of a fill than `history.repair` has found.
    await _upsert(connection, tables.orders, list(rows.orders.values()), newer="updated_at", kept="instrument")
    await _upsert(connection, tables.fills, list(rows.fills.values()), kept="time_ns")
    await _upsert(connection, tables.transactions, list(rows.transactions.values()))


async def write_progress(connection: AsyncConnection, source: str, position: int) -> None:
    """Remember the position up to which `source` is done."""
    await _upsert(connection, tables.progress, [{"source": source, "position": position}])


async def _upsert(
    connection: AsyncConnection,
    table: sa.Table,
    rows: list[dict[str, Any]],
    *,
    newer: str | None = None,
    kept: str | None = None,
) -> None:
    if rows:
        await connection.execute(_statement(connection.dialect.name, table, tuple(rows[0]), newer, kept), rows)


@cache
def _statement(dialect: str, table: sa.Table, names: tuple[str, ...], newer: str | None, kept: str | None) -> sa.Insert:
    """The upsert of rows with these columns; made once, for making it takes as long as running it."""
    # ON CONFLICT is in the dialect's own INSERT only. Imported by name: the other dialect need not be loaded.
    insert = importlib.import_module(f"sqlalchemy.dialects.{dialect}").insert(table)
    keys = [column.name for column in table.primary_key]
    changed = {name: insert.excluded[name] for name in names if name not in keys}
    where = insert.excluded[newer] >= table.c[newer] if newer else None
    if kept:
        is_text = isinstance(table.c[kept].type, sa.String)
        told, held = insert.excluded[kept], table.c[kept]
        keeps = sa.or_(told != "", held == "") if is_text else sa.or_(told.is_not(None), held.is_(None))
        where = keeps if where is None else sa.and_(where, keeps)
    made: sa.Insert = insert.on_conflict_do_update(index_elements=keys, set_=changed, where=where)
    return made
