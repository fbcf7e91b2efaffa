"""HTTP servers of the sidecar: TCP ones are bound before they serve, and the control socket is private.

None of them asks for a key, so everybody is held to the same bounds: CONNECTIONS a listener, of which a new one takes
the place of the oldest (see `pod_runtime.listener.table`); HEAD_BYTES and HEAD_FIELDS; and IDLE_S for the head of a
request and between two. A probe is so answered whoever else is connected.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from aiohttp import web, web_response

from pod_runtime.cancellation import PersistentTaskGroup
from pod_runtime.listener.acceptor import Acceptor, Connection
from pod_runtime.listener.descriptors import raise_descriptor_limit
from pod_runtime.listener.table import ConnectionTable
from pod_runtime.ports import listen, name_of, parse_address

log = logging.getLogger(__name__)
CLOSE_S = 1.0
"""Seconds for open requests when a server ends."""
MODE = 0o600
"""Mode of the control socket: only the sidecar's own user may open it."""
CONNECTIONS = 128
HEAD_BYTES = 32768
"""Of a request line and its headers, and of a body, which nothing here needs."""
HEAD_FIELDS = 100
IDLE_S = 10.0
REFUSALS = ("connections", "address", "evicted", "descriptors", "head")
_DESCRIPTOR_SHARE = 8
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
# Else each answer, even that to a request which cannot be parsed, names the versions of aiohttp and Python. There is no
# setting for it.
web_response.SERVER_SOFTWARE = "sidecar"  # type: ignore[attr-defined]


@dataclass(slots=True)
class Server:
    """One application on one listening socket."""

    name: str
    application: web.Application
    socket: socket.socket
    refused: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(REFUSALS, 0)))
    """Connections that were not taken or not kept, by reason."""

    @property
    def address(self) -> str:
        """Its own address, as `host:port`."""
        return name_of(self.socket)


def bind(name: str, application: web.Application, address: str) -> Server:
    """A server that listens and does not answer yet: the kernel queues connections until it does.

    Raises AddressError: the address cannot be bound; the text names its holder.
    """
    return Server(name, application, listen(*parse_address(address)))


class BoundedHandler(web.RequestHandler):
    """One connection of aiohttp's server, with a bound on all of a head: its parser bounds each field alone."""

    __slots__ = ("_connection", "_refused", "_unparsed")

    def __init__(self, connection: Connection, manager: web.Server, refused: Counter[str]) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(
            manager,
            loop=loop,
            access_log=None,  # type: ignore[arg-type]  # None is what the library's own runner passes for "no log"
            keepalive_timeout=IDLE_S,
            max_headers=HEAD_FIELDS,
        )
        self._connection = connection
        self._refused = refused
        self._unparsed = 0

    def connection_lost(self, exc: BaseException | None) -> None:
        """Release the connection's place."""
        self._connection.release()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse in pieces, so that no more of an incomplete request is held than a head may have."""
        for start in range(0, len(data), HEAD_BYTES):
            piece, count = data[start : start + HEAD_BYTES], self._request_count
            super().data_received(piece)
            self._unparsed = 0 if self._request_count != count else self._unparsed + len(piece)
            if self._unparsed >= HEAD_BYTES:
                self._refused["head"] += 1
                if self.transport is not None and not self._request_in_progress:
                    self.transport.write(_TOO_LARGE)
                self.force_close()
                return


async def serve_http(server: Server, stop: asyncio.Event) -> None:
    """Answer until `stop`, then close the socket."""
    runner = web.AppRunner(server.application, handle_signals=False, shutdown_timeout=CLOSE_S)
    await runner.setup()
    manager = runner.server
    if manager is None:
        raise RuntimeError("the runner of a server was set up, and has none")
    # A listener that is flooded must leave descriptors to the others, to the secrets and to the journal.
    limit = max(1, min(CONNECTIONS, raise_descriptor_limit() // _DESCRIPTOR_SHARE))
    acceptor = Acceptor(
        server.socket,
        lambda connection: BoundedHandler(connection, manager, server.refused),
        ConnectionTable[Connection](limit, limit),
        refused=partial(_count, server.refused),
    )
    try:
        async with PersistentTaskGroup() as tasks:
            tasks.create_task(acceptor.run())
            await stop.wait()
            acceptor.close()
    finally:
        acceptor.close()
        await runner.cleanup()


def _count(refused: Counter[str], reason: str) -> None:
    refused[reason] += 1


async def serve_control(application: web.Application, path: Path, stop: asyncio.Event) -> None:
    """Answer on the control socket until `stop`. A socket that cannot be bound is logged, and done without."""
    try:
        listening = _listen_privately(path)
    except OSError as error:
        log.warning("control.unavailable", extra={"path": str(path), "reason": str(error)})
        return
    try:
        await serve_http(Server("control", application, listening), stop)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)  # noqa: PTH108 - pathlib in a coroutine is refused, and this is one call


def _listen_privately(path: Path) -> socket.socket:
    # We hold the journal's lock, so no other process serves this path: a killed predecessor left it.
    path.unlink(missing_ok=True)
    taken = socket.socket(socket.AF_UNIX)
    try:
        taken.bind(os.fspath(path))
        path.chmod(MODE)
        taken.listen()
    except OSError:
        taken.close()
        raise
    taken.setblocking(False)
    return taken
