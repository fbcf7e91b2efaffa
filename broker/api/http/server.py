"""The HTTP server of the order API."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from broker.api.settings import ApiSettings


class ApiServer(uvicorn.Server):
    """Uvicorn without signal handlers: the process has its own. Set `should_exit` to end it."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves signals to the process."""
        yield


def build_server(application: ASGIApp, settings: ApiSettings, tls: ssl.SSLContext | None) -> ApiServer:
    """A server whose `serve(sockets=[…])` runs until `should_exit`; it closes the sockets."""
    return ApiServer(
        uvicorn.Config(
            application,
            loop="none",
            http="auto",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=settings.keep_alive_s,
            timeout_graceful_shutdown=max(1, round(settings.drain_s)),
            limit_concurrency=settings.connections,
            h11_max_incomplete_event_size=32768,
            ssl_context_factory=(lambda _config, _default: tls) if tls is not None else None,
        )
    )
