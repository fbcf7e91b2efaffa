"""The connection pool of the history, replaced whole when its credentials are."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from broker.history.settings import HistorySettings
from pod_runtime.secret import Secret

_LOG = logging.getLogger(__name__)


class DatabaseUnavailableError(Exception):
    """The history database cannot be used now; the text says why, without secrets."""


class ExportsBusyError(Exception):
    """As many exports are being read as may be at once."""


class LoginRefusedError(DatabaseUnavailableError):
    """The server does not take the user or the password."""


@dataclass(frozen=True, slots=True)
class DatabaseLogin:
    """User and password of the database."""

    username: str
    password: Secret


@dataclass(slots=True)
class _Pool:
    engine: AsyncEngine
    users: int = 0
    idle: asyncio.Event = field(default_factory=asyncio.Event)


class Database:
    """Gives connections. `adopt` proves a login before it is used; the old pool ends when its last user has."""

    def __init__(self, settings: HistorySettings) -> None:
        self._settings = settings
        self._pool: _Pool | None = None
        self._faults = _faults(settings.url)
        self._ended: set[asyncio.Task[None]] = set()
        self._exports_left = settings.exports
        self.schema_lock = asyncio.Lock()
        self.changed = asyncio.Event()
        """Set when a new pool is in use; the writer clears it."""

    @property
    def needs_login(self) -> bool:
        """Whether the database asks for a user and password."""
        return self._settings.url.startswith("postgresql")

    async def prove(self, engine: AsyncEngine) -> None:
        """Shows that a query works; on a failure the caller still owns the engine.

        Raises:
            LoginRefusedError: the server does not take the login.
            DatabaseUnavailableError: it cannot be asked.
        """
        try:
            async with asyncio.timeout(self._settings.deadline_s), engine.connect() as connection:
                await connection.execute(sa.text("SELECT 1"))
        except self._faults as error:
            kind = LoginRefusedError if _is_refusal(error) else DatabaseUnavailableError
            raise kind(describe(error)) from error

    async def adopt(self, engine: AsyncEngine) -> None:
        """Uses an engine from now on; queries that run end on the old one."""
        old, self._pool = self._pool, _Pool(engine)
        self.changed.set()
        if old is not None:
            task = asyncio.create_task(self._retire(old))
            self._ended.add(task)
            task.add_done_callback(self._ended.discard)

    async def ensure_open(self) -> None:
        """Opens a database that needs no login, where it is not open; an SQLite file is made.

        Raises:
            DatabaseUnavailableError: it cannot be opened.
        """
        if self._pool is not None or self.needs_login:
            return
        engine = self.engine(None)
        try:
            await self.prove(engine)
        except DatabaseUnavailableError:
            await engine.dispose()
            raise
        await self.adopt(engine)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """A connection in a transaction that commits at the end.

        Raises:
            DatabaseUnavailableError: there is none, or the database failed.
        """
        pool = self._pool
        if pool is None:
            raise DatabaseUnavailableError("no database login yet: the secret volume has none that works")
        pool.users += 1
        pool.idle.clear()
        try:
            async with asyncio.timeout(self._settings.deadline_s), pool.engine.begin() as connection:
                yield connection
        except self._faults as error:
            raise DatabaseUnavailableError(describe(error)) from error
        finally:
            pool.users -= 1
            if not pool.users:
                pool.idle.set()

    @contextmanager
    def export_slot(self) -> Iterator[None]:
        """One of the exports that may be read at once.

        Raises:
            ExportsBusyError: none is left.
        """
        if not self._exports_left:
            raise ExportsBusyError(f"{self._settings.exports} exports are being read")
        self._exports_left -= 1
        try:
            yield
        finally:
            self._exports_left += 1

    async def close(self) -> None:
        """Ends the pool; transactions that run have the deadline to end."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await self._retire(pool)
        await asyncio.gather(*self._ended)

    async def _retire(self, pool: _Pool) -> None:
        try:
            async with asyncio.timeout(self._settings.deadline_s):
                if pool.users:
                    await pool.idle.wait()
                await pool.engine.dispose()
        except (TimeoutError, sa.exc.SQLAlchemyError, OSError) as error:
            _LOG.warning("database pool not closed in order", extra={"fault": describe(error)})

    def engine(self, login: DatabaseLogin | None) -> AsyncEngine:
        """An engine for a login, not connected yet; the caller adopts or disposes it.

        Raises:
            DatabaseUnavailableError: `ca_file` cannot be read.
        """
        url = make_url(self._settings.url)
        options: dict[str, Any] = {"hide_parameters": True}
        if url.drivername.startswith("sqlite"):
            engine = create_async_engine(url, **options)
            sa.event.listen(engine.sync_engine, "connect", _tune_sqlite)
            return engine
        if login is not None:
            url = url.set(username=login.username, password=login.password.reveal())
        return create_async_engine(
            url,
            pool_size=self._settings.pool_size,
            max_overflow=0,
            pool_timeout=self._settings.deadline_s,
            pool_pre_ping=True,
            connect_args=self._connect_arguments(),
            **options,
        )

    def _connect_arguments(self) -> dict[str, Any]:
        settings = self._settings
        found: dict[str, Any] = {"timeout": settings.deadline_s, "server_settings": {"application_name": "broker"}}
        if settings.role:
            found["server_settings"]["role"] = settings.role
        if settings.ca_file is not None:
            found["ssl"] = _trust(settings.ca_file)
        return found


def _trust(ca_file: Path) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(ca_file))
    except (OSError, ssl.SSLError) as error:
        raise DatabaseUnavailableError(f"history.ca_file {ca_file}: {error.strerror or error}") from error


def _tune_sqlite(connection: Any, _: object) -> None:
    """Readers beside the writer; a commit is safe against a kill, and against a loss of power behind the journal."""
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=5000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _faults(url: str) -> tuple[type[Exception], ...]:
    """What a database that fails raises; a connection of asyncpg fails with its own errors."""
    general = (sa.exc.SQLAlchemyError, OSError, TimeoutError)
    if not url.startswith("postgresql"):
        return general
    import asyncpg  # noqa: PLC0415 - 60 ms that SQLite does not need

    return (*general, asyncpg.PostgresError)


_REFUSALS = frozenset({"28000", "28P01"})
"""SQLSTATE of a login that the server does not take (PostgreSQL, appendix A)."""


def _is_refusal(error: BaseException | None) -> bool:
    while error is not None:
        if getattr(error, "sqlstate", None) in _REFUSALS:
            return True
        error = error.__cause__ or getattr(error, "orig", None)
    return False


def describe(error: BaseException) -> str:
    """An error of the database in one line, without statement, parameters or secrets."""
    cause = getattr(error, "orig", None) or error
    words = str(cause).splitlines()[0] if str(cause) else ""
    return f"{type(cause).__name__}: {words}"[:200] if words else type(cause).__name__
