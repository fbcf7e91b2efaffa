"""Writes the history behind the order journal: what is not written yet waits there."""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.channel import Channel
from broker.events.process import HistorySample
from broker.history import tables
from broker.history.database import Database, DatabaseUnavailableError
from broker.history.rows import Rows, rows_of
from broker.history.schema import ensure_schema
from broker.history.settings import HistorySettings
from broker.orders.conditions import BrokerCondition, Conditions
from broker.orders.store.tail import Change
from pod_runtime.backoff import Backoff

_LOG = logging.getLogger(__name__)
READ_AHEAD = 2000
SAMPLE_S = 5.0


class Source(Protocol):
    """Where changes come from: the order journal."""

    @property
    def name(self) -> str:
        """Which journal it is, the same over restarts; another volume's is another."""

    def last(self) -> int:
        """Position of the newest change."""

    def changes(self, after: int) -> AsyncIterator[Change]:
        """Changes behind a position, for ever."""

    def release(self, position: int) -> None:
        """Changes before `position` are in the history."""


class Writer:
    """One task, one transaction at a time. A database that is away is asked again with growing delays."""

    def __init__(
        self,
        settings: HistorySettings,
        database: Database,
        source: Source,
        *,
        account: str,
        conditions: Conditions,
        emit: Callable[[tuple[Any, ...]], None],
        chance: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._database = database
        self._source = source
        self._account = account
        self._conditions = conditions
        self._emit = emit
        self._chance = chance
        self._backoff = Backoff(base_s=0.5, cap_s=15.0)
        self._failures = 0
        self._moved = asyncio.Event()
        self.position = 0
        """Changes before it are in the database."""
        self._say(ok=False, reason="Starting", message="the history database is being opened")

    def backlog(self) -> int:
        """Journal records that are not in the database."""
        return max(0, self._source.last() - self.position)

    async def run(self) -> None:
        """Writes until it is cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._sample())
            while True:
                reason, fault = await self._follow_until_fault()
                await self._wait_after(reason, fault)

    async def _follow_until_fault(self) -> tuple[str, str]:
        fault: tuple[str, str] = ("Ended", "the journal ended")
        try:
            await self._follow()
        except* DatabaseUnavailableError as group:
            fault = ("DatabaseUnavailable", _words(group))
        except* (OSError, ValueError) as group:
            fault = ("JournalUnreadable", _words(group))
        return fault

    async def flush(self, deadline_s: float) -> bool:
        """Whether everything that the journal has now got written in time."""
        target = self._source.last()
        try:
            async with asyncio.timeout(deadline_s):
                while self.position < target:
                    self._moved.clear()
                    await self._moved.wait()
        except TimeoutError:
            return False
        return True

    async def _follow(self) -> None:
        await ensure_schema(self._database)
        async with self._database.transaction() as connection:
            self.position = await self._read_position(connection)
        self._recovered()
        ahead: Channel[Change] = Channel(READ_AHEAD)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._read(ahead, self.position))
            await self._write_all(ahead)

    async def _read_position(self, connection: AsyncConnection) -> int:
        query = sa.select(tables.progress.c.position).where(tables.progress.c.source == self._source.name)
        return int((await connection.execute(query)).scalar() or 0)

    async def _read(self, ahead: Channel[Change], after: int) -> None:
        async with aclosing(self._source.changes(after)) as changes:  # type: ignore[type-var] # a generator in fact
            async for change in changes:
                await ahead.send(change)

    async def _write_all(self, ahead: Channel[Change]) -> None:
        while True:
            batch = [await ahead.receive()]
            while len(ahead) and len(batch) < self._settings.batch_rows:
                batch.append(await ahead.receive())
            await self._write(batch)
            await asyncio.sleep(self._settings.batch_delay_s)

    async def _write(self, batch: list[Change]) -> None:
        position = batch[-1].position
        async with self._database.transaction() as connection:
            await write_rows(connection, rows_of(batch, self._account))
            await _upsert(connection, tables.progress, [{"source": self._source.name, "position": position}])
        self.position = position
        self._moved.set()
        self._source.release(position)
        self._recovered()

    def _recovered(self) -> None:
        self._failures = 0
        self._say(ok=True, reason="Ready", message="")

    async def _wait_after(self, reason: str, fault: str) -> None:
        """An order never depends on the history: whatever is wrong with it, it is tried again."""
        self._say(ok=False, reason=reason, message=fault)
        if not self._failures:
            _LOG.warning("history not written", extra={"reason": reason, "fault": fault, "backlog": self.backlog()})
        self._database.changed.clear()
        try:
            async with asyncio.timeout(self._backoff.delay_s(self._failures, self._chance())):
                await self._database.changed.wait()
        except TimeoutError:
            pass
        self._failures += 1

    def _say(self, *, ok: bool, reason: str, message: str) -> None:
        self._conditions.set(BrokerCondition.HISTORY, ok=ok, reason=reason, message=message, advisory=True)

    async def _sample(self) -> None:
        while True:
            self._emit(HistorySample(backlog=self.backlog()))
            await asyncio.sleep(SAMPLE_S)


def _words(group: BaseExceptionGroup[Exception]) -> str:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error) if isinstance(error, DatabaseUnavailableError) else f"{type(error).__name__}: {error}"


async def write_rows(connection: AsyncConnection, rows: Rows) -> None:
    """Writes rows; what is there already stays as it is, an order goes to its newer state."""
    await _upsert(connection, tables.orders, list(rows.orders.values()), newer="updated_at")
    await _upsert(connection, tables.fills, list(rows.fills.values()))
    await _upsert(connection, tables.transactions, list(rows.transactions.values()))


async def _upsert(
    connection: AsyncConnection, table: sa.Table, rows: list[dict[str, Any]], newer: str | None = None
) -> None:
    if not rows:
        return
    insert = _insert_of(connection.dialect.name)(table)
    keys = [column.name for column in table.primary_key]
    changed = {name: insert.excluded[name] for name in rows[0] if name not in keys}
    where = insert.excluded[newer] >= table.c[newer] if newer else None
    await connection.execute(insert.on_conflict_do_update(index_elements=keys, set_=changed, where=where), rows)


def _insert_of(dialect: str) -> Any:
    """The dialect's own INSERT, which knows ON CONFLICT; the other dialect is not imported."""
    return importlib.import_module(f"sqlalchemy.dialects.{dialect}").insert
