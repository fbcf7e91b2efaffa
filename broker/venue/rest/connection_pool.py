"""Kept-alive connections to the venue, opened in the background at its pace and lent to one request at a time.

A request never opens a connection of its own, so a burst just after the start shares the few that there are while
more are opened two a second (v20, best practices: "limit new connections to 2 per second, reuse persistent ones").
"""

from __future__ import annotations

import asyncio
import math
import socket
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any, Self

import aiohttp
from yarl import URL

from broker.events.venue import ConnectionOpened
from broker.venue.errors import NotSentError
from broker.venue.rest.rate_limit import Precedence, Throttle
from broker.venue.settings import VenueSettings
from producer.emitter import Emit

OPENING_INTERVAL_S = 1.0
"""Between openings that no request waits for; half of the venue's pace is left to the streams."""
KEEP_ALIVE_S = 300.0
MARKET_DATA_SHARE = 4
"""One connection in so many may serve market data at once."""
CONNECT_SHARE = 0.3
"""Of a request's deadline, for getting a connection: less than the gap between two owners of the account."""
HEADERS = {"Content-Type": "application/json", "Accept-Datetime-Format": "RFC3339"}


@dataclass(slots=True, eq=False)
class PooledConnection:
    """A session with one connection at most."""

    session: aiohttp.ClientSession
    transport: asyncio.Transport | None = None

    @property
    def is_open(self) -> bool:
        """True where a request can go without opening a connection."""
        return self.transport is not None and not self.transport.is_closing()

    def abort(self) -> None:
        """Drop the connection with everything that it has not written yet."""
        if self.transport is not None:
            self.transport.abort()


class VenueConnections:
    """Connections and rate limits to one venue, for all accounts: the venue limits the address, not the account.

    `async with` it: entering begins to open connections, leaving closes them. `delivery_s` bounds how long the
    kernel may go on sending a request.
    """

    def __init__(self, settings: VenueSettings, emit: Emit, *, delivery_s: float = math.inf) -> None:
        deadline_s = settings.request_deadline_s
        # The shorter limit is for getting a connection: a request that it ends was never sent.
        connect_s = deadline_s * CONNECT_SHARE
        self._url = URL(settings.rest_url)
        self._size = settings.connections
        self._deadline_s = deadline_s
        self._timeout = aiohttp.ClientTimeout(total=deadline_s, connect=connect_s)
        self._delivery_ms = max(1, round(min(connect_s, delivery_s) * 1000))
        self._emit = emit
        rate, burst = settings.requests_per_s, float(settings.burst)
        self.requests = Throttle("requests", rate=rate, burst=burst, now_s=monotonic, emit=emit, admission=self)
        rate = settings.connections_per_s
        self.openings = Throttle("connections", rate=rate, burst=max(1.0, rate), now_s=monotonic, emit=emit)
        self.market_data = asyncio.Semaphore(max(1, settings.connections // MARKET_DATA_SHARE))
        """Places of the market data that may be on its way at once."""
        self._closed: list[PooledConnection] = []
        self._idle: list[PooledConnection] = []
        self._lent = 0
        self._reserved = 0
        """Requests that were let through and have not come for their connection yet."""
        self._wanted = asyncio.Event()
        self._wanted.set()
        self._tasks = asyncio.TaskGroup()
        self._opening: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._closed = [PooledConnection(self._session()) for _ in range(self._size)]
        await self._tasks.__aenter__()
        self._opening = self._tasks.create_task(self._keep_open())
        return self

    async def __aexit__(self, *error: object) -> None:
        if self._opening is not None:
            self._opening.cancel()
        await self._tasks.__aexit__(None, None, None)
        for connection in (*self._closed, *self._idle):
            await connection.session.close()

    def tracing(self, channel: str, emit: Emit) -> aiohttp.TraceConfig:
        """Hooks that pace and count the connections that aiohttp opens by itself; for every session to the venue."""
        hooks = aiohttp.TraceConfig()

        async def pace(*_: object) -> None:
            await self.openings.enter(Precedence.OPEN)
            emit(ConnectionOpened(channel=channel))

        hooks.on_connection_create_start.append(pace)
        return hooks

    def _session(self) -> aiohttp.ClientSession:
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=1, keepalive_timeout=KEEP_ALIVE_S, socket_factory=self._socket),
            timeout=self._timeout,
            trace_configs=[self.tracing("rest", self._emit)],
            headers=HEADERS,
            auto_decompress=True,
        )
        # aiohttp sends an idempotent request (RFC 9110, 9.2.2: PUT is one) again when a kept-alive connection turns
        # out to be dead. At the venue a repeated close or replace trades twice. There is no public switch; aiohttp's
        # own test client sets the same attribute, and a test of ours fails by name when it goes.
        session._retry_connection = False  # noqa: SLF001 - see above
        return session

    def _socket(self, address: tuple[Any, ...]) -> socket.socket:
        """Make a socket whose bytes are delivered in time or not at all (tcp(7), RFC 5482)."""
        made = socket.socket(address[0], address[1], address[2])
        made.setblocking(False)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            # Else the kernel would go on sending a request for minutes, after our deadline has called it lost: to a
            # venue at which a successor trades by then.
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, self._delivery_ms)
        return made

    def reserve(self, precedence: int) -> bool:
        """Keep an idle connection for one more request; False where there is none, and more are wanted."""
        self._sort_out()
        # Market data never takes the last one: an answer of 5000 candles would keep the next order waiting.
        left = 1 if precedence == Precedence.MARKET_DATA and self._size > 1 else 0
        if len(self._idle) > self._reserved + left:
            self._reserved += 1
            return True
        self._wanted.set()
        return False

    def unreserve(self) -> None:
        """Free the connection kept for a request that does not come for it."""
        self._reserved -= 1
        self.requests.pump()

    async def borrow(self, precedence: Precedence) -> PooledConnection:
        """Wait for a turn and a connection to send one request on; `give_back` it.

        Raises:
            TimeoutError: there was no turn within a request's deadline.
            NotSentError: no connection can be opened.
        """
        # The usual way costs no timer: it is on every order's path.
        if self.requests.try_enter(precedence) and (connection := self._take_reserved()) is not None:
            return connection
        async with asyncio.timeout(self._deadline_s):
            while True:
                await self.requests.enter(precedence)
                if (connection := self._take_reserved()) is not None:
                    return connection

    def _take_reserved(self) -> PooledConnection | None:
        """Take the connection kept for a request; None where it died since, and the request must queue again.

        To be called without awaiting anything after the turn was granted: `_reserved` counts on it.
        """
        self._reserved -= 1
        while self._idle:
            # The last one given back is the least likely to have been closed by the venue.
            connection = self._idle.pop()
            if connection.is_open:
                self._lent += 1
                return connection
            self._closed.append(connection)
        return None

    def give_back(self, connection: PooledConnection) -> None:
        """Return a borrowed connection, open or not."""
        self._lent -= 1
        (self._idle if connection.is_open else self._closed).append(connection)
        self.requests.pump()

    def _sort_out(self) -> None:
        """Set aside idle connections that the venue has closed."""
        if closed := [connection for connection in self._idle if not connection.is_open]:
            self._closed += closed
            self._idle = [connection for connection in self._idle if connection not in closed]

    async def _keep_open(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(OPENING_INTERVAL_S):
                    await self._wanted.wait()
            is_urgent = self._wanted.is_set()
            self._wanted.clear()
            self._sort_out()
            if self._closed:
                await self.openings.enter(Precedence.OPEN if is_urgent else Precedence.READ)
                await self._open(self._closed[0])

    async def _open(self, connection: PooledConnection) -> None:
        try:
            connection.transport = await self._connect(connection.session)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._fail_waiting(error)
            return
        self._emit(ConnectionOpened(channel="rest"))
        self._closed.remove(connection)
        self._idle.append(connection)
        self.requests.pump()

    async def _connect(self, session: aiohttp.ClientSession) -> asyncio.Transport | None:
        """Open the session's connection without a request, and leave it to the session as a kept-alive one."""
        connector = session.connector
        if connector is None:
            raise aiohttp.ClientConnectionError("the session is closed")
        # A hand-made request is the only key that the connector takes. Sending a real one to warm a connection up
        # would use up the rate limit and need a token, which may come only later.
        request = aiohttp.ClientRequest("GET", self._url, loop=asyncio.get_running_loop(), session=session)
        connection = await connector.connect(request, [], self._timeout)
        transport = connection.transport
        connection.release()
        return transport

    def _fail_waiting(self, error: Exception) -> None:
        """Without any connection, tell all who wait at once that nothing was sent."""
        if not self._idle and not self._lent:
            self._wanted.clear()
            self.requests.refuse(lambda: NotSentError(f"no connection: {type(error).__name__} {error}"))
