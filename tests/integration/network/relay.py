"""`python -m tests.integration.network.relay NAMESPACE PORT…`: listens in a namespace, and connects to loopback.

Each port is relayed to the same port of 127.0.0.1 of the namespace in which it was started. Lines of standard input:
`mute` leaves all connections, present and coming, without an answer and open; `hear` relays new ones again.
"""

from __future__ import annotations

import asyncio
import socket
import sys

from tests.integration.network.namespaces import enter


class Side(asyncio.Protocol):
    """One half of a relayed connection."""

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.transport: asyncio.Transport | None = None
        self.other: Side | None = None
        self.waiting: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.relay.sides.add(self)
        for data in self.waiting:
            transport.write(data)

    def data_received(self, data: bytes) -> None:
        if self.other is None:
            return
        if self.other.transport is None:
            self.other.waiting.append(data)
        else:
            self.other.transport.write(data)

    def connection_lost(self, error: Exception | None) -> None:
        self.relay.sides.discard(self)
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()


class Relay:
    """The relayed connections."""

    def __init__(self) -> None:
        self.sides: set[Side] = set()
        self.muted: set[Side] = set()
        self.is_mute = False

    def obey(self, word: str) -> None:
        self.is_mute = word == "mute"
        if self.is_mute:
            for side in self.sides:
                self._mute(side)

    def _mute(self, side: Side) -> None:
        side.other = None
        self.muted.add(side)
        assert side.transport is not None
        if not side.transport.is_closing():
            side.transport.pause_reading()

    async def accept(self, port: int, taken: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        near = Side(self)
        await loop.connect_accepted_socket(lambda: near, taken)
        if self.is_mute:
            self._mute(near)
            return
        far = Side(self)
        near.other, far.other = far, near
        try:
            await loop.create_connection(lambda: far, "127.0.0.1", port)
        except OSError:
            assert near.transport is not None
            near.transport.abort()

    async def listen(self, port: int, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as tasks:
            while True:
                taken, _ = await loop.sock_accept(listening)
                tasks.create_task(self.accept(port, taken))


def _listener(port: int) -> socket.socket:
    made = socket.create_server(("0.0.0.0", port))
    made.setblocking(False)
    return made


async def _main(listeners: dict[int, socket.socket]) -> None:
    relay = Relay()
    loop = asyncio.get_running_loop()

    def read() -> None:
        for word in sys.stdin.readline().split():
            relay.obey(word)

    loop.add_reader(sys.stdin.fileno(), read)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.gather(*(relay.listen(port, listening) for port, listening in listeners.items()))


if __name__ == "__main__":
    outside = "/proc/self/ns/net"
    with open(outside, "rb") as home:  # noqa: PTH123 - the descriptor stays open while the name changes its meaning
        enter(sys.argv[1])
        found = {int(port): _listener(int(port)) for port in sys.argv[2:]}
        enter(f"/proc/self/fd/{home.fileno()}")
    asyncio.run(_main(found))
