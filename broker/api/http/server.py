"""HTTP server of the order API, and the address at which other brokers reach it."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from broker.api.http.pace import ConnectionPace
from broker.api.http.protocol import ApiProtocol
from broker.api.settings import ApiSettings
from broker.events.process import HttpRefusals
from pod_runtime.cancellation import PersistentTaskGroup
from pod_runtime.listener.acceptor import Acceptor, Connection
from pod_runtime.listener.ports import name_of, parse_address
from pod_runtime.listener.table import ConnectionTable

_ALL_INTERFACES = frozenset({"0.0.0.0", "::"})
_TICKS_A_SECOND = 10


class ApiServer(uvicorn.Server):
    """Uvicorn behind our own acceptor, and without signal handlers: the process has its own.

    Set `should_exit` to end it. `refused` counts refusals by reason: the server's own, and those of the application.
    `report` gets the fault while connections cannot be accepted, and then None.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        settings: ApiSettings,
        tls: ssl.SSLContext | None,
        *,
        refused: Counter[str],
        emit: Callable[[tuple[Any, ...]], None],
        report: Callable[[str | None], None],
    ) -> None:
        super().__init__(config)
        self._acceptor: Acceptor | None = None
        self._fault: str | None = None
        self._settings = settings
        self._tls = tls
        self._refused = refused
        self._emit = emit
        self._report = report

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the process."""
        yield

    async def listen(self, listening: socket.socket) -> None:
        """Serve on a listening socket until `should_exit`; close it."""
        table = ConnectionTable[Connection](self._settings.connections, self._settings.connections_per_address)
        self._acceptor = Acceptor(
            listening,
            self._protocol,
            table,
            refused=self._count,
            pace=ConnectionPace(self._settings),
            tls=self._tls,
            handshake_s=self._settings.receive_s,
        )
        try:
            async with PersistentTaskGroup() as tasks:
                tasks.create_task(self._acceptor.run())
                await self.serve(sockets=[])
        finally:
            self._acceptor.close()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Let the acceptor stand for the server's own listeners; uvicorn closes it at the end."""
        await super().startup(sockets=sockets)
        self.servers = [self._acceptor]  # type: ignore[list-item]  # it has the two methods that uvicorn calls

    async def on_tick(self, counter: int) -> bool:
        """Once a second: close what is late, and report what was refused."""
        if counter % _TICKS_A_SECOND == 0:
            now_s = asyncio.get_running_loop().time()
            for connection in list(self.server_state.connections):
                if isinstance(connection, ApiProtocol):
                    connection.close_if_late(now_s)
            for reason, count in self._refused.items():
                self._emit(HttpRefusals(reason=reason, refusals=count))
            self._refused.clear()
            if self._acceptor is not None and self._acceptor.fault != self._fault:
                self._fault = self._acceptor.fault
                self._report(self._fault)
        return await super().on_tick(counter)

    def _protocol(self, connection: Connection) -> ApiProtocol:
        return ApiProtocol(
            connection,
            self._settings,
            self._refused,
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )

    def _count(self, reason: str) -> None:
        self._refused[reason] += 1


def build_server(
    application: ASGIApp,
    settings: ApiSettings,
    tls: ssl.SSLContext | None,
    *,
    refused: Counter[str],
    emit: Callable[[tuple[Any, ...]], None],
    report: Callable[[str | None], None],
) -> ApiServer:
    """A server for `listen`. `tls` is one context for the life of the process: new certificates are loaded into it."""
    config = uvicorn.Config(
        application,
        loop="none",  # the process runs one already
        http=HttpToolsProtocol,
        ws="none",
        lifespan="off",
        log_config=None,  # `pod_runtime.log` has configured logging
        log_level="warning",
        access_log=False,  # each request is an event already
        server_header=False,
        proxy_headers=False,  # they could be anybody's
        timeout_keep_alive=settings.keep_alive_s,
        timeout_graceful_shutdown=max(1, round(settings.drain_s)),
    )
    return ApiServer(config, settings, tls, refused=refused, emit=emit, report=report)


def advertised_address(listening: socket.socket, host: str) -> str:
    """`host:port` that the owner of an account publishes for the account's other brokers.

    `host` is the setting. If it is empty, the host that is listened on, or the machine's name for all interfaces.
    """
    bound, port = parse_address(name_of(listening))
    host = host or (socket.gethostname() if bound in _ALL_INTERFACES else bound)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
