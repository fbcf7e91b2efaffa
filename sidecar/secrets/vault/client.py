"""The one way to Vault: hvac without its ambient settings, redirects and lost status codes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from pod_runtime.secret import Secret
from sidecar.secrets.vault.answer import Answer
from sidecar.secrets.vault.connection import Connection
from sidecar.secrets.vault.fault import Fault, VaultError


class Caller(Protocol):
    """What makes requests."""

    async def call(
        self, method: str, path: str, *, token: Secret | None = None, body: Mapping[str, Any] | None = None
    ) -> Answer:
        """One request of the HTTP API, `path` without /v1/.

        Raises:
            VaultError: it failed.
        """
        ...


class VaultClient:
    """Makes requests in threads of its own, one connection pool a thread; `close` ends them.

    requests.Session promises no thread safety, so no two threads share one.
    """

    def __init__(self, connection: Connection, *, workers: int = 4) -> None:
        self._connection = connection
        self._local = threading.local()
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="vault")

    async def call(
        self, method: str, path: str, *, token: Secret | None = None, body: Mapping[str, Any] | None = None
    ) -> Answer:
        """See `Caller`. The deadline holds although the thread may take a moment longer to notice."""
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._pool, self._request, method, path, token, body)
        limit = self._connection.connect_timeout_s + self._connection.request_timeout_s
        try:
            async with asyncio.timeout(limit + 0.5):
                return await work
        except TimeoutError:
            raise VaultError(Fault.TIMEOUT, f"{method} {path}", f"no answer within {limit:g} s") from None

    def close(self) -> None:
        """Lets running requests end by their deadlines and takes no more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _request(self, method: str, path: str, token: Secret | None, body: Mapping[str, Any] | None) -> Answer:
        transport: Callable[..., Answer] | None = getattr(self._local, "transport", None)
        if transport is None:
            from sidecar.secrets.vault.transport import make_transport  # noqa: PLC0415 - 130 ms, in a worker's thread

            transport = self._local.transport = make_transport(self._connection)
        return transport(method, path, token, body)
