"""Kept-alive connections to the venue: opened in the background at the venue's pace, lent to one request at a time.

A request never opens a connection of its own, so a burst just after the start shares the few that there are while
more are opened two a second (v20, best practices: "limit new connections to 2 per second, reuse persistent ones").
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

import aiohttp
from yarl import URL

from broker.events.venue import ConnectionOpened
from broker.venue.errors import NotSentError
from broker.venue.rest.rate_limit import Precedence, Throttle
from producer.emitter import Emit

BEAT_S = 1.0
"""Between openings that no request waits for; half of the venue's pace is left to the streams."""
KEEP_ALIVE_S = 300.0


@dataclass(slots=True, eq=False)
class Lane:
    """A session with one connection at most."""

    session: aiohttp.ClientSession
    transport: asyncio.Transport | None = None

    @property
    def is_open(self) -> bool:
        """Whether a request can go without opening a connection."""
        return self.transport is not None and not self.transport.is_closing()

    def abort(self) -> None:
        """Drops the connection with what it has not written yet."""
        if self.transport is not None:
            self.transport.abort()


class ConnectionPool:
    """So many lanes to one host. `async with` it: entering begins to open them, leaving closes them.

    Requests queue in `requests`, which asks `admit` before it lets one through; who was let through calls `take`
    without awaiting anything before, and `put` at the end.
    """

    def __init__(
        self,
        url: str,
        size: int,
        *,
        timeout: aiohttp.ClientTimeout,
        delivery_s: float,
        headers: Mapping[str, str],
        tracing: aiohttp.TraceConfig,
        requests: Throttle,
        connections: Throttle,
        emit: Emit,
    ) -> None:
        self._url = URL(url)
        self._size = size
        self._timeout = timeout
        self._delivery_ms = max(1, round(delivery_s * 1000))
        self._headers = headers
        self._tracing = tracing
        self._requests = requests
        self._connections = connections
        self._emit = emit
        self._cold: list[Lane] = []
        self._idle: list[Lane] = []
        self._lent = 0
        self._admitted = 0
        """Let through, and not come for their lane yet."""
        self._wanted = asyncio.Event()
        self._wanted.set()
        self._tasks = asyncio.TaskGroup()
        self._opening: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._cold = [Lane(self._session()) for _ in range(self._size)]
        self._requests.gate = self
        await self._tasks.__aenter__()
        self._opening = self._tasks.create_task(self._run())
        return self

    async def __aexit__(self, *error: object) -> None:
        if self._opening is not None:
            self._opening.cancel()
        await self._tasks.__aexit__(None, None, None)
        for lane in (*self._cold, *self._idle):
            await lane.session.close()

    def _session(self) -> aiohttp.ClientSession:
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=1, keepalive_timeout=KEEP_ALIVE_S, socket_factory=self._socket),
            timeout=self._timeout,
            trace_configs=[self._tracing],
            headers=self._headers,
            auto_decompress=True,
        )
        # aiohttp repeats a PUT when a kept-alive connection turns out to be dead; it has no public switch for that.
        session._retry_connection = False  # noqa: SLF001 - a repeated close or replace would trade twice
        return session

    def _socket(self, address: tuple[Any, ...]) -> socket.socket:
        """A socket whose bytes are delivered in time or not at all (tcp(7), RFC 5482).

        Else the kernel would go on sending a request for minutes, to a venue that a successor trades at by then.
        """
        made = socket.socket(address[0], address[1], address[2])
        made.setblocking(False)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, self._delivery_ms)
        return made

    @property
    def size(self) -> int:
        """How many connections are open."""
        return len(self._idle) + self._lent

    def admit(self) -> bool:
        """Whether there is a connection for one more request; if so it is kept for it."""
        self._sort_out()
        if len(self._idle) > self._admitted:
            self._admitted += 1
            return True
        self._wanted.set()
        return False

    def retreat(self) -> None:
        """Who was let through will not come."""
        self._admitted -= 1
        self._requests.pump()

    def take(self) -> Lane | None:
        """The connection of one who was let through; None where it died since: join the queue again."""
        self._admitted -= 1
        while self._idle:
            lane = self._idle.pop()
            if lane.is_open:
                self._lent += 1
                return lane
            self._cold.append(lane)
        return None

    def put(self, lane: Lane) -> None:
        """Gives a lane back, open or not."""
        self._lent -= 1
        if lane.is_open:
            self._idle.append(lane)
        else:
            self._cold.append(lane)
        self._requests.pump()

    def _sort_out(self) -> None:
        """The venue closes connections that were idle too long."""
        if closed := [lane for lane in self._idle if not lane.is_open]:
            self._cold += closed
            self._idle = [lane for lane in self._idle if lane not in closed]

    async def _run(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(BEAT_S):
                    await self._wanted.wait()
            is_urgent = self._wanted.is_set()
            self._wanted.clear()
            self._sort_out()
            if self._cold:
                await self._connections.enter(Precedence.OPEN if is_urgent else Precedence.READ)
                await self._open(self._cold[0])

    async def _open(self, lane: Lane) -> None:
        try:
            lane.transport = await self._connect(lane.session)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._failed(error)
            return
        self._emit(ConnectionOpened(channel="rest"))
        self._cold.remove(lane)
        self._idle.append(lane)
        self._requests.pump()

    async def _connect(self, session: aiohttp.ClientSession) -> asyncio.Transport | None:
        """Opens the session's connection without a request, and leaves it to the session as a kept-alive one."""
        connector = session.connector
        if connector is None:
            raise aiohttp.ClientConnectionError("the session is closed")
        ask = aiohttp.ClientRequest("GET", self._url, loop=asyncio.get_running_loop(), session=session)
        connection = await connector.connect(ask, [], self._timeout)
        transport = connection.transport
        connection.release()
        return transport

    def _failed(self, error: Exception) -> None:
        """Without any connection nobody waits on: the caller learns at once that nothing was sent."""
        if self.size == 0:
            self._wanted.clear()
            self._requests.refuse(lambda: NotSentError(f"no connection: {type(error).__name__} {error}"))
