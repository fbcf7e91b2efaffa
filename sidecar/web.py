"""The sidecar's HTTP servers: bound first, so that a taken port is a clear fault, then served together."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from pod_runtime.ports import listen, name_of, parse_address

log = logging.getLogger(__name__)
PARTING_S = 1.0
"""Seconds that open requests have when the server ends."""
MODE = 0o600


@dataclass(slots=True)
class Server:
    """One application on one listening socket."""

    name: str
    application: web.Application
    socket: socket.socket

    @property
    def address(self) -> str:
        """Where it listens, as `host:port`."""
        return name_of(self.socket)


def bind(name: str, application: web.Application, address: str) -> Server:
    """A server that listens and does not answer yet.

    Raises:
        AddressError: the address cannot be had; the text says who holds it.
    """
    return Server(name, application, listen(*parse_address(address)))


async def serve_http(server: Server, stop: asyncio.Event) -> None:
    """Answers until `stop`, then closes the socket."""
    runner = _runner(server.application)
    await runner.setup()
    try:
        await web.SockSite(runner, server.socket).start()
        await stop.wait()
    finally:
        await runner.cleanup()


async def serve_control(application: web.Application, path: Path, stop: asyncio.Event) -> None:
    """Answers on a Unix socket that only our user may open. Where it cannot be had, the sidecar works without it."""
    try:
        listening = _listen_privately(path)
    except OSError as error:
        log.warning("control.unavailable", extra={"path": str(path), "reason": str(error)})
        return
    runner = _runner(application)
    await runner.setup()
    try:
        await web.SockSite(runner, listening).start()
        await stop.wait()
    finally:
        await runner.cleanup()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)  # noqa: PTH108 - pathlib in a coroutine is refused, and this is one call


def _listen_privately(path: Path) -> socket.socket:
    # The journal's lock is ours: a socket that lies here is what a killed predecessor left.
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


def _runner(application: web.Application) -> web.AppRunner:
    return web.AppRunner(application, access_log=None, handle_signals=False, shutdown_timeout=PARTING_S)
