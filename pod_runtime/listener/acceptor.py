"""Acceptor: takes the connections of a listening socket, within the bounds of a table.

It accepts by itself, where `loop.create_server` would: uvloop closes a listening socket whose accept fails, so that a
process that is out of descriptors for a moment would never listen again; and a bound that a protocol keeps comes after
the TLS handshake, which is what costs. A pace bounds how often that is paid.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from pod_runtime.cancellation import PersistentTaskGroup
from pod_runtime.listener.table import ConnectionTable, network_of

_LOG = logging.getLogger(__name__)
BACKLOG = 1024
"""Connections that the kernel keeps while the event loop is busy (listen(2))."""
PAUSE_S = 1.0
"""Time after an accept that failed for want of descriptors or memory."""
_AT_ONCE = 64
_CLOSE_S = 2.0


class Pace(Protocol):
    """Bound on the rate of new connections, by address."""

    def refusal(self, address: str, now_s: float) -> str | None:
        """Count a new connection; the reason not to take it, if it comes too soon."""

    def recognize(self, address: str) -> None:
        """Note that a connection of the address has shown a good key."""

    def release(self, address: str, now_s: float) -> None:
        """Note that such a connection has ended."""


class Connection:
    """An accepted connection: its protocol says when a request begins and ends, and releases it when it is lost."""

    __slots__ = ("_address", "_pace", "_socket", "_table", "accepted_s", "known")

    def __init__(
        self,
        taken: socket.socket,
        table: ConnectionTable[Connection],
        accepted_s: float,
        *,
        address: str,
        pace: Pace | None,
    ) -> None:
        self._socket = taken
        self._table = table
        self._address = address
        self._pace = pace
        self.accepted_s = accepted_s
        """Of the event loop's clock."""
        self.known = False
        """True after a good key."""

    def recognize(self) -> None:
        """Note that a good key came: from now on the connection is never dropped for another."""
        if not self.known:
            self.known = True
            self._table.recognize(self)
            if self._pace is not None:
                self._pace.recognize(self._address)

    def begin(self) -> None:
        """Note that a request is under way."""
        self._table.begin(self)

    def end(self) -> None:
        """Note that no request is under way any more."""
        self._table.end(self)

    def release(self) -> None:
        """Note that the connection is lost."""
        self._table.remove(self)
        if self.known and self._pace is not None:
            self._pace.release(self._address, asyncio.get_running_loop().time())
        # A request whose peer has left may still show its key.
        self._pace = None

    def cut(self) -> None:
        """End the connection, in the midst of a handshake as well: its transport sees the end and closes."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the socket of a connection that never had a protocol, or whose protocol could not be made."""
        self.release()
        self._socket.close()


Factory = Callable[[Connection], asyncio.BaseProtocol]


class Acceptor:
    """Connections of one listening socket, which it closes. `close` ends `run`; open connections are the protocols'.

    `refused` is told the reason of each connection that was not taken: `connections`, `address`, `evicted`,
    `handshake`, `descriptors`, or what `pace` says.
    """

    def __init__(
        self,
        listening: socket.socket,
        factory: Factory,
        table: ConnectionTable[Connection],
        *,
        refused: Callable[[str], None],
        pace: Pace | None = None,
        tls: ssl.SSLContext | None = None,
        handshake_s: float = 10.0,
    ) -> None:
        self.fault: str | None = None
        """The operating system's words while connections cannot be accepted."""
        self._listening = listening
        self._factory = factory
        self._table = table
        self._refused = refused
        self._pace = pace
        self._tls = tls
        self._handshake_s = handshake_s
        self._opening: set[Connection] = set()
        self._readable = asyncio.Event()
        self._watched = False
        self._closed = False

    async def run(self) -> None:
        """Accept until `close`."""
        self._listening.listen(BACKLOG)
        async with PersistentTaskGroup() as tasks:
            while not self._closed:
                # Behind a fault nobody need come: accept4(2) asks for a descriptor before it looks at the queue.
                if self.fault is None:
                    self._watch(on=True)
                    # It returns a turn of the loop later. By then, what had come on open connections is read: a caller
                    # that sent its key in time is known before anybody has to make room.
                    await self._readable.wait()
                    self._watch(on=False)
                if self._accept(tasks):
                    await asyncio.sleep(0)
                else:
                    await asyncio.sleep(PAUSE_S)

    def close(self) -> None:
        """Stop accepting, and end the handshakes under way."""
        if not self._closed:
            self._closed = True
            self._watch(on=False)
            self._readable.set()
            self._listening.close()
            for connection in self._opening:
                connection.cut()

    async def wait_closed(self) -> None:
        """Nothing to wait for: `close` has closed the socket. A server of asyncio has the method."""

    def _watch(self, *, on: bool) -> None:
        if on == self._watched or self._listening.fileno() < 0:
            return
        loop = asyncio.get_running_loop()
        self._watched = on
        if on:
            self._readable.clear()
            loop.add_reader(self._listening, self._readable.set)
        else:
            loop.remove_reader(self._listening)

    def _accept(self, tasks: asyncio.TaskGroup) -> bool:
        """Take what waits, but leave the loop its turn; False if the system has no descriptor or memory for it."""
        for _ in range(_AT_ONCE):
            if self._closed:
                break
            try:
                taken, peer = self._listening.accept()
            except (BlockingIOError, InterruptedError):
                break
            except ConnectionError:
                continue  # the peer has left before it was accepted
            except OSError as error:
                self._refused("descriptors")
                if self.fault is None:
                    _LOG.warning("connections cannot be accepted", extra={"fault": f"{error.strerror}"})
                self.fault = f"{error.strerror}"
                return False
            self._admit(tasks, taken, peer)
        if self.fault is not None:
            _LOG.warning("connections are accepted again")
            self.fault = None
        return True

    def _admit(self, tasks: asyncio.TaskGroup, taken: socket.socket, peer: object) -> None:
        now_s = asyncio.get_running_loop().time()
        # A Unix socket's peers have no address: they are one.
        address = network_of(peer[0]) if isinstance(peer, tuple) else ""
        if self._pace is not None and (refusal := self._pace.refusal(address, now_s)) is not None:
            self._refused(refusal)
            taken.close()
            return
        taken.setblocking(False)
        connection = Connection(taken, self._table, now_s, address=address, pace=self._pace)
        admission = self._table.admit(connection, address, now_s)
        if admission.refusal is not None:
            self._refused(admission.refusal)
            taken.close()
            return
        if admission.evicted is not None:
            self._refused("evicted")
            admission.evicted.cut()
        self._opening.add(connection)
        tasks.create_task(self._open(connection, taken))

    async def _open(self, connection: Connection, taken: socket.socket) -> None:
        loop, opened = asyncio.get_running_loop(), False
        try:
            await loop.connect_accepted_socket(
                lambda: self._factory(connection),
                taken,
                ssl=self._tls,
                ssl_handshake_timeout=self._handshake_s if self._tls else None,
                ssl_shutdown_timeout=_CLOSE_S if self._tls else None,
            )
            opened = True
        except OSError:  # every fault of TLS is one, the deadline's too
            self._refused("handshake")
        finally:
            self._opening.discard(connection)
            if not opened:
                connection.close()
