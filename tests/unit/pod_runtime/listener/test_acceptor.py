from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field

import pytest

from broker.api.http.tls import new_server_context
from pod_runtime.listener import acceptor as module
from pod_runtime.listener.acceptor import Acceptor, Connection, Pace
from pod_runtime.listener.ports import listen
from pod_runtime.listener.table import ConnectionTable

DEADLINE_S = 60.0


class Greeter(asyncio.Protocol):
    """Says hello, so that a client knows that it was taken."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(b"hello\n")

    def connection_lost(self, _exc: Exception | None) -> None:
        self._connection.release()


@dataclass
class Listener:
    port: int
    acceptor: Acceptor
    table: ConnectionTable[Connection]
    refused: list[str] = field(default_factory=list)
    open: list[Connection] = field(default_factory=list)

    @asynccontextmanager
    async def hello(self) -> AsyncIterator[bytes]:
        """The first line that a new connection gets, empty if it was closed."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        said = b""
        with suppress(ConnectionError):
            async with asyncio.timeout(DEADLINE_S):
                said = await reader.readline()
        try:
            yield said
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def until_empty(self) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while len(self.table):
                await asyncio.sleep(0.01)

    async def until_refused(self, reason: str) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while reason not in self.refused:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def listening(
    limit: int = 10, *, tls: bool = False, fails: int = 0, succeeds: int = 0, pace: Pace | None = None
) -> AsyncIterator[Listener]:
    refused: list[str] = []
    taken = listen("127.0.0.1", 0)
    table = ConnectionTable[Connection](limit, 2 * limit)
    given = _Failing(taken, fails, succeeds) if fails else taken
    context = new_server_context() if tls else None
    open_: list[Connection] = []

    def greet(connection: Connection) -> Greeter:
        open_.append(connection)
        return Greeter(connection)

    acceptor = Acceptor(
        given,  # type: ignore[arg-type]
        greet,
        table,
        refused=refused.append,
        pace=pace,
        tls=context,
        handshake_s=0.1,
    )
    running = asyncio.create_task(acceptor.run())
    server = Listener(taken.getsockname()[1], acceptor, table, refused, open_)
    try:
        yield server
    finally:
        acceptor.close()
        async with asyncio.timeout(DEADLINE_S):
            await running
        await server.until_empty()


class _Failing:
    """A listening socket whose first accepts, or those behind the first so many, find no free descriptor."""

    def __init__(self, taken: socket.socket, fails: int, succeeds: int) -> None:
        self._taken, self._fails, self._succeeds = taken, fails, succeeds

    def __getattr__(self, name: str) -> object:
        return getattr(self._taken, name)

    def accept(self) -> tuple[socket.socket, object]:
        if self._succeeds:
            self._succeeds -= 1
        elif self._fails:
            self._fails -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return self._taken.accept()


async def test_connection_beyond_the_limit_is_closed_at_once() -> None:
    async with listening(1) as server, server.hello() as first:
        server.open[0].recognize()
        async with server.hello() as second:
            assert (first, second, server.refused) == (b"hello\n", b"", ["connections"])


async def test_stranger_is_closed_for_a_new_connection() -> None:
    async with listening(1) as server, server.hello() as first, server.hello() as second:
        assert (first, second, server.refused) == (b"hello\n", b"hello\n", ["evicted"])


async def test_place_of_a_closed_connection_is_free_again() -> None:
    async with listening(1) as server:
        for _ in range(3):
            async with server.hello() as said:
                assert said == b"hello\n"
            await server.until_empty()


async def test_accept_without_a_free_descriptor_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE_S", 0.01)
    async with listening(fails=3) as server, server.hello() as said:
        assert (said, server.refused, server.acceptor.fault) == (b"hello\n", ["descriptors"] * 3, None)


@dataclass
class FewAtAll:
    """A pace that takes so many connections, and all of addresses that have shown a key."""

    left: int
    keyed: list[str] = field(default_factory=list)

    def refusal(self, address: str, now_s: float) -> str | None:
        self.left -= address not in self.keyed
        return "rate" if self.left < 0 else None

    def recognize(self, address: str) -> None:
        self.keyed.append(address)

    def release(self, address: str, now_s: float) -> None:
        self.keyed.remove(address)


async def test_connection_that_comes_too_soon_is_closed_before_its_handshake() -> None:
    async with listening(tls=True, pace=FewAtAll(0)) as server:
        with closing(socket.create_connection(("127.0.0.1", server.port))):
            await server.until_refused("rate")
        assert (server.refused, server.open) == (["rate"], [])


async def test_pace_hears_of_keys_and_of_the_ends_of_their_connections() -> None:
    pace = FewAtAll(1)
    async with listening(pace=pace) as server:
        async with server.hello():
            server.open[0].recognize()
            assert pace.keyed == ["127.0.0.1"]
            async with server.hello() as second:
                assert second == b"hello\n"
        await server.until_empty()
        assert pace.keyed == []
        server.open[1].recognize()
        assert pace.keyed == [], "the connection has ended"


async def test_lack_of_descriptors_is_over_when_it_is_over_and_not_with_the_next_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "PAUSE_S", 0.01)
    # The queue is empty when the descriptors are short.
    async with listening(fails=2, succeeds=1) as server, server.hello() as said:
        assert said == b"hello\n"
        async with asyncio.timeout(DEADLINE_S):
            while server.acceptor.fault is not None or len(server.refused) < 2:
                await asyncio.sleep(0.01)
    assert server.refused == ["descriptors"] * 2


async def test_handshake_that_does_not_come_is_ended() -> None:
    async with listening(tls=True) as server:
        with closing(socket.create_connection(("127.0.0.1", server.port))):
            await server.until_refused("handshake")
            assert len(server.table) == 0


async def test_end_does_not_wait_for_handshakes_under_way() -> None:
    async with listening(tls=True) as server:
        with closing(socket.create_connection(("127.0.0.1", server.port))):
            async with asyncio.timeout(DEADLINE_S):
                while not len(server.table):
                    await asyncio.sleep(0.001)
            server.acceptor.close()
            await server.until_refused("handshake")
