"""HTTP servers of the sidecar: TCP ones are bound before they serve, and the control socket is private."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web, web_response

from pod_runtime.ports import listen, name_of, parse_address

log = logging.getLogger(__name__)
CLOSE_S = 1.0
"""Seconds for open requests when a server ends."""
MODE = 0o600
"""Mode of the control socket: only the sidecar's own user may open it."""
# Else each answer, even that to a request which cannot be parsed, names the versions of aiohttp and Python. There is no
# setting for it.
web_response.SERVER_SOFTWARE = "sidecar"  # type: ignore[attr-defined]


@dataclass(slots=True)
class Server:
    """One application on one listening socket."""

    name: str
    application: web.Application
    socket: socket.socket

    @property
    def address(self) -> str:
        """Its own address, as `host:port`."""
        return name_of(self.socket)


def bind(name: str, application: web.Application, address: str) -> Server:
    """A server that listens and does not answer yet: the kernel queues connections until it does.

    Raises AddressError: the address cannot be bound; the text names its holder.
    """
    return Server(name, application, listen(*parse_address(address)))


async def serve_http(server: Server, stop: asyncio.Event) -> None:
    """Answer until `stop`, then close the socket."""
    runner = web.AppRunner(server.application, access_log=None, handle_signals=False, shutdown_timeout=CLOSE_S)
    await runner.setup()
    try:
        await web.SockSite(runner, server.socket).start()
        await stop.wait()
    finally:
        await runner.cleanup()


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
