"""SQLite as the history's database: a statement ends with its task, and a connection leaves no transaction behind.

SQLite works in a thread of each connection. A task that is cancelled at its deadline leaves that thread at work: the
read goes on to its end, and the transaction stays open, with its lock, for as long as any object refers to it.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from weakref import WeakSet

import aiosqlite
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

AGAIN_S = 0.05
"""Seconds between two interrupts: one that comes before the statement has begun does nothing."""

PATIENCE_S = 2.0
"""Seconds that a cancelled task waits at most for its statement."""


def sqlite_engine(url: sa.URL, deadline_s: float) -> AsyncEngine:
    """An engine, not connected yet; the file is made. A statement waits at most `deadline_s` for another's lock."""
    _close_to_others(url.database or "")
    arguments = {"async_creator_fn": _connection, "timeout": deadline_s}
    # `hide_parameters`: errors and the log would repeat the values of a statement.
    engine = create_async_engine(url, hide_parameters=True, connect_args=arguments)
    sa.event.listen(engine.sync_engine, "connect", _tune)
    return engine


class RolledBackConnection(sqlite3.Connection):
    """A connection that ends its cursors and its transaction when it is closed, in the thread that closes it."""

    # `sqlite3.Connection.close` leaves both to the last cursor, which may be part of a cycle of references: until the
    # garbage collector finds that, the lock and the reader's place in the log stay.
    # https://www.sqlite.org/c3ref/close.html
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._cursors: WeakSet[sqlite3.Cursor] = WeakSet()

    def cursor(self, *arguments: Any, **options: Any) -> Any:
        """A cursor, which lives as long as the connection at most."""
        made = super().cursor(*arguments, **options)
        self._cursors.add(made)
        return made

    def close(self) -> None:
        """Roll back and close; a second time does nothing."""
        try:
            for cursor in tuple(self._cursors):
                cursor.close()
            self.rollback()
        except sqlite3.Error:  # closed already, or the disk fails: closing is all that is left
            pass
        finally:
            super().close()


class InterruptedConnection(aiosqlite.Connection):
    """A connection whose statement is interrupted when its task is cancelled; the task goes on when it has ended."""

    async def _execute(self, fn: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        try:
            return await super()._execute(fn, *arguments, **options)  # type: ignore[no-untyped-call] # aiosqlite has none
        except asyncio.CancelledError:
            await self._interrupt()
            raise

    async def _interrupt(self) -> None:
        loop = asyncio.get_running_loop()
        idle: asyncio.Future[None] = loop.create_future()
        self._tx.put_nowait((idle, lambda: None))  # the thread comes to it after the statement
        # Not for ever: a wait for a lock cannot be interrupted. The thread rolls back at its end, awaited or not.
        until = loop.time() + PATIENCE_S
        while not idle.done() and loop.time() < until:
            with suppress(sqlite3.ProgrammingError, ValueError):  # it is closed
                self._conn.interrupt()
            with suppress(asyncio.CancelledError):  # cancelled already
                await asyncio.wait((idle,), timeout=AGAIN_S)


def _connection(database: str, *, timeout: float, **options: Any) -> InterruptedConnection:
    def connect() -> sqlite3.Connection:
        return sqlite3.connect(database, timeout=timeout, factory=RolledBackConnection, **options)

    made = InterruptedConnection(connect, iter_chunk_size=64)
    made._thread.daemon = True  # noqa: SLF001 - as SQLAlchemy does: a process that ends waits for no statement
    return made


def _close_to_others(database: str) -> None:
    if database.startswith((":", "file:")) or not database:
        return
    # SQLite makes the files beside it, the log and its index, with the mode of the database.
    # A volume that fails is left to SQLite, which says so at the first connection.
    with suppress(OSError):
        Path(database).touch(mode=0o600)
        Path(database).chmod(0o600)


def _tune(connection: Any, _: object) -> None:
    # WAL: readers work beside the writer. NORMAL: a commit survives a kill of the process. A loss of power may undo
    # the last commits; `broker.history.writer` says what that costs.
    # https://www.sqlite.org/pragma.html#pragma_synchronous
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
