"""Connection pool of the history database, replaced as a whole when the credentials change."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from broker.history.settings import HistorySettings
from broker.history.sqlite import sqlite_engine
from pod_runtime.connection.keepalive import set_keepalive
from pod_runtime.secret import Secret

SERVER_SLACK_S = 1.0
"""Seconds behind our deadline after which PostgreSQL ends a statement by itself."""
_LOG = logging.getLogger(__name__)


class DatabaseUnavailableError(Exception):
    """The history database cannot be used now; the text says why, without secrets."""


class ExportsBusyError(Exception):
    """As many exports run as may at once."""


class LoginRefusedError(DatabaseUnavailableError):
    """The server refuses the user or the password."""


@dataclass(frozen=True, slots=True)
class DatabaseLogin:
    """User and password of the database."""

    username: str
    password: Secret


@dataclass(slots=True)
class _Pool:
    engine: AsyncEngine
    transactions: int = 0
    """Running now."""
    closed: asyncio.Event = field(default_factory=asyncio.Event)


class Database:
    """Gives connections in transactions. `close` it.

    New credentials make a new engine: `engine` builds it, `prove` tries it, `adopt` uses it. Queries that run end on
    the old pool, and the last of them closes it.
    """

    def __init__(self, settings: HistorySettings) -> None:
        self._settings = settings
        self._pool: _Pool | None = None
        self._faults = _faults(settings.url)
        self._exports = asyncio.Semaphore(settings.exports)
        self.schema_lock = asyncio.Lock()
        self.changed = asyncio.Event()
        """Set when a new pool is in use; the history writer clears it."""

    @property
    def deadline_s(self) -> float:
        """Seconds until a statement is given up."""
        return self._settings.deadline_s

    @property
    def needs_login(self) -> bool:
        """True if the database asks for a user and password."""
        return self._settings.url.startswith("postgresql")

    async def prove(self, engine: AsyncEngine) -> None:
        """Run a query on `engine`, which stays the caller's.

        Raises:
            LoginRefusedError: the server refuses the login.
            DatabaseUnavailableError: it cannot be asked.
        """
        try:
            async with asyncio.timeout(self._settings.deadline_s), engine.connect() as connection:
                await connection.execute(sa.text("SELECT 1"))
        # Apart from all else: a refused login needs a new secret, a database that is away only time.
        except self._faults as error:
            kind = LoginRefusedError if _is_refusal(error) else DatabaseUnavailableError
            raise kind(describe(error)) from error

    async def adopt(self, engine: AsyncEngine) -> None:
        """Use `engine` from now on; queries that run end on the old one."""
        old, self._pool = self._pool, _Pool(engine)
        self.changed.set()
        if old is not None and not old.transactions:
            await self._dispose(old)

    async def ensure_open(self) -> None:
        """Open a database that needs no login, or raise DatabaseUnavailableError; an SQLite file is created."""
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
        """A connection in a transaction that commits at the end, within the deadline.

        Raises DatabaseUnavailableError: there is no login yet, or the database failed.
        """
        pool = self._pool
        if pool is None:
            raise DatabaseUnavailableError("no database login yet: the secret volume has none that works")
        pool.transactions += 1
        try:
            async with asyncio.timeout(self._settings.deadline_s), pool.engine.begin() as connection:
                yield connection
        except TimeoutError as error:
            fault = f"not done within history.deadline_s, {self._settings.deadline_s:g} s"
            raise DatabaseUnavailableError(fault) from error
        except self._faults as error:
            raise DatabaseUnavailableError(describe(error)) from error
        finally:
            pool.transactions -= 1
            # The last one on a replaced pool closes it: its login is about to be revoked, and no task has to watch.
            if not pool.transactions and pool is not self._pool:
                await self._dispose(pool)

    def export_slot(self) -> asyncio.Semaphore:
        """A place among the exports that may run at once, to enter; raises ExportsBusyError if all are taken."""
        if self._exports.locked():
            raise ExportsBusyError(f"{self._settings.exports} exports are being read")
        return self._exports

    async def close(self) -> None:
        """Close the pool; transactions that run have the deadline to end."""
        pool, self._pool = self._pool, None
        if pool is not None and not pool.transactions:
            await self._dispose(pool)
        elif pool is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.deadline_s):
                    await pool.closed.wait()

    async def _dispose(self, pool: _Pool) -> None:
        try:
            async with asyncio.timeout(self._settings.deadline_s):
                await pool.engine.dispose()
        except (TimeoutError, sa.exc.SQLAlchemyError, OSError) as error:
            _LOG.warning("database pool not closed in order", extra={"fault": describe(error)})
        finally:
            pool.closed.set()

    def engine(self, login: DatabaseLogin | None) -> AsyncEngine:
        """An engine, not connected yet, to adopt or dispose of; DatabaseUnavailableError without its `ca_file`."""
        url = make_url(self._settings.url)
        if url.drivername.startswith("sqlite"):
            return sqlite_engine(url, self._settings.deadline_s)
        if login is not None:
            url = url.set(username=login.username, password=login.password.reveal())
        engine = create_async_engine(
            url,
            pool_size=self._settings.pool_size,
            max_overflow=0,
            pool_timeout=self._settings.deadline_s,
            pool_pre_ping=True,  # a server that restarted has closed connections that the pool still holds
            connect_args=self._connect_arguments(url),
            hide_parameters=True,  # errors and the log would repeat the values of a statement
        )
        sa.event.listen(engine.sync_engine, "connect", _keep_alive)
        sa.event.listen(engine.sync_engine, "connect", self._bound_statements)
        return engine

    def _bound_statements(self, connection: Any, _: object) -> None:
        # Ours comes first and cancels the statement; this is for a broker that cannot ask for that any more. Not as a
        # parameter of the start: poolers between refuse those that they do not know.
        cursor = connection.cursor()
        cursor.execute(f"SET statement_timeout = {round((self.deadline_s + SERVER_SLACK_S) * 1000)}")
        cursor.close()
        connection.commit()

    def _connect_arguments(self, url: sa.URL) -> dict[str, Any]:
        settings = self._settings
        # asyncpg takes what is not given from the environment (PGSSLMODE, PGPORT and others), as nothing here does.
        # https://magicstack.github.io/asyncpg/current/api/index.html#asyncpg.connection.connect
        given = {"ssl": False, "direct_tls": False, "target_session_attrs": "any"}
        if url.port is None and url.host:
            given["port"] = 5432
        found: dict[str, Any] = {name: value for name, value in given.items() if name not in url.query}
        found |= {"timeout": settings.deadline_s, "server_settings": {"application_name": "broker"}}
        if settings.role:
            # Tables of a user that Vault made would be gone with it; a role that all users share owns them.
            found["server_settings"]["role"] = settings.role
        if settings.ca_file is not None:
            try:
                found["ssl"] = ssl.create_default_context(cafile=str(settings.ca_file))
            except OSError as error:  # SSLError is one
                fault = f"history.ca_file {settings.ca_file}: {error.strerror or error}"
                raise DatabaseUnavailableError(fault) from error
        return found


def _keep_alive(connection: Any, _: object) -> None:
    """Let a connection of asyncpg end whose server is gone; the pool holds several, and each would cost a deadline."""
    # asyncpg has no option for it, and no public way to the socket.
    set_keepalive(connection.driver_connection._transport.get_extra_info("socket"))  # noqa: SLF001


def _faults(url: str) -> tuple[type[Exception], ...]:
    """Errors that a failing database raises; a connection of asyncpg fails with its own."""
    general = (sa.exc.SQLAlchemyError, OSError, TimeoutError)
    if not url.startswith("postgresql"):
        return general
    import asyncpg  # noqa: PLC0415 - 60 ms that SQLite does not need

    return (*general, asyncpg.PostgresError)


_REFUSALS = frozenset({"28000", "28P01"})
"""SQLSTATE of a refused login (PostgreSQL, appendix A)."""


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
