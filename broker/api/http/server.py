"""HTTP server of the order API, and the address at which other brokers reach it."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from broker.api.settings import ApiSettings
from pod_runtime.ports import name_of, parse_address

_ALL_INTERFACES = frozenset({"0.0.0.0", "::"})


class ApiServer(uvicorn.Server):
    """Uvicorn without signal handlers: the process has its own. Set `should_exit` to end it."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the process."""
        yield


def build_server(application: ASGIApp, settings: ApiSettings, tls: ssl.SSLContext | None) -> ApiServer:
    """A server whose `serve(sockets=[…])` runs until `should_exit`; it closes the sockets."""
    return ApiServer(
        uvicorn.Config(
            application,
            loop="none",  # the process runs one already
            http="auto",
            ws="none",
            lifespan="off",
            log_config=None,  # `pod_runtime.log` has configured logging
            log_level="warning",
            access_log=False,  # each request is an event already
            server_header=False,
            proxy_headers=False,  # they could be anybody's, and nothing here asks for the caller's address
            timeout_keep_alive=settings.keep_alive_s,
            timeout_graceful_shutdown=max(1, round(settings.drain_s)),
            limit_concurrency=settings.connections,
            h11_max_incomplete_event_size=32768,
            # One context for the life of the process: `broker.credentials` loads each new certificate into it.
            ssl_context_factory=(lambda _config, _default: tls) if tls is not None else None,
        )
    )


def advertised_address(listening: socket.socket, host: str) -> str:
    """`host:port` that the owner of an account publishes for the account's other brokers.

    `host` is the setting. If it is empty, the host that is listened on, or the machine's name for all interfaces.
    """
    bound, port = parse_address(name_of(listening))
    host = host or (socket.gethostname() if bound in _ALL_INTERFACES else bound)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
