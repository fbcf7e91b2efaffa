"""The one way to Vault: hvac without its ambient settings, redirects and lost status codes."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from runtime.secret import Secret

MAX_ANSWER_BYTES = 4 << 20


class Fault(StrEnum):
    """What kind of failure a request met."""

    INVALID = "invalid"
    DENIED = "denied"
    NOT_FOUND = "not_found"
    RATE_LIMITED = "rate_limited"
    SEALED = "sealed"
    SERVER = "server"
    REDIRECT = "redirect"
    TIMEOUT = "timeout"
    TLS = "tls"
    UNREACHABLE = "unreachable"
    CONNECTION = "connection"
    PROTOCOL = "protocol"


_BY_STATUS = {
    400: Fault.INVALID,
    403: Fault.DENIED,
    404: Fault.NOT_FOUND,
    429: Fault.RATE_LIMITED,
    503: Fault.SEALED,
}


class VaultError(Exception):
    """A request failed. Holds no body: the server's text may repeat what it was sent."""

    def __init__(
        self, fault: Fault, operation: str, detail: str, *, status: int = 0, retry_after_s: float = 0.0
    ) -> None:
        super().__init__(f"{operation}: {detail}")
        self.fault = fault
        self.operation = operation
        self.status = status
        self.retry_after_s = retry_after_s

    @property
    def ambiguous(self) -> bool:
        """Whether the server may have done what it was asked although no answer came."""
        unanswered = {Fault.TIMEOUT, Fault.PROTOCOL, Fault.CONNECTION}
        return self.fault in unanswered or (self.fault is Fault.SERVER and self.status >= 500)  # noqa: PLR2004 - HTTP's server errors


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A successful answer. `data` and `auth` may hold secrets, so they are not shown."""

    status: int
    request_id: str = ""
    data: Mapping[str, Any] = field(default_factory=dict, repr=False)
    auth: Mapping[str, Any] = field(default_factory=dict, repr=False)
    lease_id: str = field(default="", repr=False)
    lease_duration: int = 0
    renewable: bool = False


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """Where Vault is, and how long it may take."""

    address: str
    ca_cert: Path | None = None
    namespace: str = ""
    connect_timeout_s: float = 2.0
    request_timeout_s: float = 5.0


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
            from sidecar.secrets.transport import make_transport  # noqa: PLC0415 - 130 ms, in a worker's thread

            transport = self._local.transport = make_transport(self._connection)
        return transport(method, path, token, body)


def read_answer(operation: str, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
    """An answer from its parts.

    Raises:
        VaultError: the status is not a success, or the body is not what Vault sends.
    """
    if status >= 300:  # noqa: PLR2004 - all that is no success
        raise _failure(operation, status, headers)
    if not body:
        return Answer(status=status)
    try:
        tree = json.loads(body)
        return Answer(
            status=status,
            request_id=str(tree.get("request_id") or ""),
            data=tree.get("data") or {},
            auth=tree.get("auth") or {},
            lease_id=tree.get("lease_id") or "",
            lease_duration=int(tree.get("lease_duration") or 0),
            renewable=bool(tree.get("renewable")),
        )
    except (ValueError, AttributeError, TypeError):
        raise VaultError(Fault.PROTOCOL, operation, f"{status} with a body that is not Vault's JSON") from None


def _failure(operation: str, status: int, headers: Mapping[str, str]) -> VaultError:
    if status < 400:  # noqa: PLR2004 - redirects
        host = urlsplit(headers.get("Location", "")).netloc or "nowhere"
        detail = f"{status} to {host}, which is not followed; set address to the server that answers itself"
        return VaultError(Fault.REDIRECT, operation, detail, status=status)
    fault = _BY_STATUS.get(status, Fault.SERVER if status >= 500 or status in {412, 472, 473} else Fault.INVALID)  # noqa: PLR2004 - server errors and standby nodes
    return VaultError(fault, operation, f"status {status}", status=status, retry_after_s=_retry_after(headers))


def _retry_after(headers: Mapping[str, str]) -> float:
    """Seconds of Retry-After; dates are not used by Vault and count as none."""
    text = headers.get("Retry-After", "")
    return min(float(text), 3600.0) if text.isascii() and text.isdigit() else 0.0


def deadline(seconds: float) -> Callable[[], float]:
    """A function that says the seconds left."""
    end = time.monotonic() + seconds
    return lambda: end - time.monotonic()
