"""Kept-alive connections to the venue, opened in the background at its pace and lent to one request at a time.

A request never opens a connection of its own, so a burst just after the start shares the few that there are while
more are opened two a second (v20, best practices: "limit new connections to 2 per second, reuse persistent ones").
"""

from __future__ import annotations

import asyncio
import math
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import NamedTuple, Self, TypeVar
from urllib.parse import urlsplit

from broker.events.venue import ConnectionOpened
from broker.venue.errors import NotSentError
from broker.venue.rest.http_connection import HttpConnection
from broker.venue.rest.http_stream import HttpStream
from broker.venue.rest.rate_limit import Precedence, Throttle
from broker.venue.settings import VenueSettings
from pod_runtime.cancellation import PersistentTaskGroup, check_cancelled
from pod_runtime.connection.keepalive import set_keepalive
from producer.emitter import Emit

OPENING_INTERVAL_S = 1.0
"""Between openings that no request waits for; half of the venue's pace is left to the streams."""
KEEP_ALIVE_S = 300.0
"""Idle connections are dropped after it, before the venue or something on the way does."""
MARKET_DATA_SHARE = 4
"""One connection in so many may serve market data at once."""
CONNECT_SHARE = 0.3
"""Of a request's deadline, for getting a connection: less than the gap between two owners of the account."""


P = TypeVar("P", bound=asyncio.Protocol)


class VenueHost(NamedTuple):
    """Host of the venue, as a URL of the settings names it."""

    name: str
    port: int
    tls: ssl.SSLContext | None

    @classmethod
    def of(cls, url: str) -> Self:
        """Read the URL; of https, with a context that checks certificates."""
        found = urlsplit(url)
        tls = ssl.create_default_context() if found.scheme == "https" else None
        return cls(found.hostname or "", found.port or (80 if tls is None else 443), tls)


class VenueConnections:
    """Connections and rate limits to one venue, for all accounts: the venue limits the address, not the account.

    `async with` it: entering begins to open connections, leaving closes them. `delivery_s` bounds how long the
    kernel may go on sending a request.
    """

    def __init__(self, settings: VenueSettings, emit: Emit, *, delivery_s: float = math.inf) -> None:
        deadline_s = settings.request_deadline_s
        # The shorter limit is for getting a connection: a request that it ends was never sent.
        self._connect_s = connect_s = deadline_s * CONNECT_SHARE
        self._rest, self._streams = VenueHost.of(settings.rest_url), VenueHost.of(settings.stream_url)
        self._size = settings.connections
        self._deadline_s = deadline_s
        self._delivery_s = min(connect_s, delivery_s)
        self._emit = emit
        rate, burst = settings.requests_per_s, float(settings.burst)
        self.requests = Throttle("requests", rate=rate, burst=burst, now_s=monotonic, emit=emit, admission=self)
        rate = settings.connections_per_s
        self.openings = Throttle("connections", rate=rate, burst=max(1.0, rate), now_s=monotonic, emit=emit)
        self.market_data = asyncio.Semaphore(max(1, settings.connections // MARKET_DATA_SHARE))
        """Places of the market data that may be on its way at once."""
        self._idle: list[HttpConnection] = []
        self._lent = 0
        self._reserved = 0
        """Requests that were let through and have not come for their connection yet."""
        self._wanted = asyncio.Event()
        self._wanted.set()
        self._tasks = PersistentTaskGroup()
        self._opening: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        self._opening = self._tasks.create_task(self._keep_open())
        return self

    async def __aexit__(self, *error: object) -> None:
        if self._opening is not None:
            self._opening.cancel()
        await self._tasks.__aexit__(None, None, None)
        for connection in self._idle:
            connection.abort()
        await asyncio.sleep(0)  # in which the loop closes their sockets

    async def open_stream(self, channel: str, emit: Emit) -> HttpStream:
        """Open a connection for one stream, at the venue's pace; `abort` it. Raises OSError: it cannot be opened."""
        await self.openings.enter(Precedence.OPEN)
        emit(ConnectionOpened(channel=channel))
        return await self._connect(self._streams, HttpStream)

    def _socket(self, family: int, kind: int, protocol: int) -> socket.socket:
        """Make a socket whose bytes are delivered in time or not at all (tcp(7), RFC 5482)."""
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Else the kernel would go on sending a request for minutes, after our deadline has called it lost: to a
        # venue at which a successor trades by then. And an order would go on a connection that is long dead.
        set_keepalive(made, self._delivery_s)
        return made

    def reserve(self, precedence: int) -> bool:
        """Keep an idle connection for one more request; False where there is none, and more are wanted."""
        # Only the one that it would be: each look at an idle connection costs, and orders come with dozens of them.
        place = len(self._idle) - self._reserved - 1
        if precedence == Precedence.MARKET_DATA or place < 0 or not _is_fresh(self._idle[place]):
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

    async def borrow(self, precedence: Precedence) -> HttpConnection:
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

    def _take_reserved(self) -> HttpConnection | None:
        """Take the connection kept for a request; None where it died since, and the request must queue again.

        To be called without awaiting anything after the turn was granted: `_reserved` counts on it.
        """
        self._reserved -= 1
        while self._idle:
            # The last one given back is the least likely to have been closed by the venue.
            connection = self._idle.pop()
            if _is_fresh(connection):
                self._lent += 1
                return connection
        return None

    def give_back(self, connection: HttpConnection) -> None:
        """Return a borrowed connection, open or not."""
        self._lent -= 1
        if connection.is_open:
            self._idle.append(connection)
        self.requests.pump()

    def _sort_out(self) -> None:
        """Let go of idle connections that the venue has closed, or is about to."""
        if not all(map(_is_fresh, self._idle)):
            self._idle = [connection for connection in self._idle if _is_fresh(connection)]

    async def _keep_open(self) -> None:
        while True:
            check_cancelled()
            with suppress(TimeoutError):
                async with asyncio.timeout(OPENING_INTERVAL_S):
                    await self._wanted.wait()
            is_urgent = self._wanted.is_set()
            self._wanted.clear()
            self._sort_out()
            if len(self._idle) + self._lent < self._size:
                await self.openings.enter(Precedence.OPEN if is_urgent else Precedence.READ)
                await self._open()

    async def _open(self) -> None:
        try:
            async with asyncio.timeout(self._connect_s):
                connection = await self._connect(self._rest, HttpConnection)
        except (TimeoutError, OSError) as error:  # errors of TLS are OSErrors
            self._fail_waiting(error)
            return
        self._emit(ConnectionOpened(channel="rest"))
        self._idle.append(connection)
        self.requests.pump()

    async def _connect(self, host: VenueHost, made_as: Callable[[], P]) -> P:
        """Open a connection. Sending a request to warm it up would use up the rate limit, and need a token."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host.name, host.port, type=socket.SOCK_STREAM)
        fault: OSError = OSError(f"{host.name} has no address")
        for family, kind, protocol, _, address in found:
            made = self._socket(family, kind, protocol)
            try:
                # Each address has its share of the time: one that drops packets must not use up that of the others.
                async with asyncio.timeout(self._connect_s / len(found)):
                    await loop.sock_connect(made, address)
                name = host.name if host.tls is not None else None
                return (await loop.create_connection(made_as, sock=made, ssl=host.tls, server_hostname=name))[1]
            except OSError as error:  # TimeoutError is one
                made.close()
                fault = error
            except BaseException:
                made.close()
                raise
        raise fault

    def _fail_waiting(self, error: Exception) -> None:
        """Without any connection, tell all who wait at once that nothing was sent."""
        if not self._idle and not self._lent:
            self._wanted.clear()
            self.requests.refuse(lambda: NotSentError(f"no connection: {type(error).__name__} {error}"))


def _is_fresh(connection: HttpConnection) -> bool:
    """True if a request can go on an idle connection; one that was idle too long is dropped."""
    if connection.idle_s > KEEP_ALIVE_S:
        connection.abort()
    return connection.is_open
