"""The sidecar's HTTP servers: bound first, so that a taken port is a clear fault, then served together."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass

from aiohttp import web

from runtime.ports import listen, name_of, parse_address

PARTING_S = 1.0
"""Seconds that open requests have when the server ends."""


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
    runner = web.AppRunner(server.application, access_log=None, handle_signals=False, shutdown_timeout=PARTING_S)
    await runner.setup()
    try:
        await web.SockSite(runner, server.socket).start()
        await stop.wait()
    finally:
        await runner.cleanup()
