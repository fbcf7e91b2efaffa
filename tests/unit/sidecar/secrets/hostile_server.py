"""An HTTP server that misbehaves on demand, and remembers what it was sent."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from pod_runtime.secret import Secret
from sidecar.secrets.errors import VaultError
from sidecar.secrets.settings import SecretsSettings
from sidecar.secrets.vault.client import VaultClient


@dataclass
class HostileServer:
    """`behave` is called with the handler of each request."""

    behave: Callable[[Any], None]
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    address: str = ""
    released: threading.Event = field(default_factory=threading.Event)


@contextlib.contextmanager
def serving(behave: Callable[[Any], None]) -> Iterator[HostileServer]:
    """Serves until the end; handlers that wait for `released` are let go then."""
    server = HostileServer(behave)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            server.requests.append((self.path, {key.lower(): value for key, value in self.headers.items()}))
            self.server_state = server
            with contextlib.suppress(OSError):
                server.behave(self)

        do_GET = do_POST = _serve  # noqa: N815 - http.server looks for these names

        def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - its parent's name
            """Silent."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    server.address = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        http.shutdown()
        thread.join()
        http.server_close()


def answering(status: int, body: bytes = b"{}", **headers: str) -> Callable[[Any], None]:
    """A behaviour: this answer."""

    def behave(handler: Any) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return behave


@contextlib.asynccontextmanager
async def client_of(address: str, **changes: Any) -> AsyncIterator[VaultClient]:
    """A client of a server, closed at the end."""
    values: dict[str, Any] = {"address": address, "connect_timeout_s": 1.0, "request_timeout_s": 1.0} | changes
    client = VaultClient(SecretsSettings(**values))
    try:
        yield client
    finally:
        client.close()


async def failing(behave: Callable[[Any], None]) -> tuple[VaultError, int]:
    """The error that a behaviour becomes, and how many requests it took."""
    with serving(behave) as server:
        async with client_of(server.address, request_timeout_s=0.3) as client:
            with pytest.raises(VaultError) as raised:
                await client.call("GET", "secret/data/x", token=Secret("t0ken"))
        return raised.value, len(server.requests)
