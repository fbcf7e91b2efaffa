"""Client of Vault's HTTP API: requests in worker threads, with one deadline each and no retries.

A request is one attempt. The schedule (`lease/schedule.py`) alone decides about the next one, so that no layer
below multiplies the requests of an outage.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Protocol
from urllib.parse import urlsplit

from pod_runtime.secret import Secret
from sidecar.secrets.errors import VaultError, VaultFault
from sidecar.secrets.settings import SecretsSettings
from sidecar.secrets.vault.answers import Speaker, judge

MAX_ANSWER_BYTES = 4 << 20
# A proxy that answers with days must not switch the agent off until somebody notices.
MAX_RETRY_AFTER_S = 3600.0
MAX_WORKERS = 16
# Threads beside one for each secret: the token and the revocations must not queue behind reads that hang.
SPARE_WORKERS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultAnswer:
    """A successful answer. `data` and `auth` may hold secrets, so its text shows neither."""

    status: int
    server_time: datetime | None = field(default=None, compare=False)
    """Date of the answer by the server's clock, the clock of all times in it; None if the header is missing."""
    request_id: str = ""
    data: Mapping[str, Any] = field(default_factory=dict, repr=False)
    auth: Mapping[str, Any] = field(default_factory=dict, repr=False)
    lease_id: str = field(default="", repr=False)
    lease_duration: int = 0
    renewable: bool = False


class VaultCaller(Protocol):
    """Maker of requests: the client, the sessions that count them, or a test's fake."""

    async def call(
        self, method: str, path: str, *, token: Secret | None = None, body: Mapping[str, Any] | None = None
    ) -> VaultAnswer:
        """Make one request of the HTTP API, or raise VaultError; `path` goes without /v1/."""
        ...


class VaultClient:
    """Caller over HTTP. Its owner calls `close`."""

    def __init__(self, settings: SecretsSettings) -> None:
        self._settings = settings
        # requests.Session promises no thread safety, so each thread keeps a session of its own.
        self._local = threading.local()
        workers = min(MAX_WORKERS, len(settings.secrets) + SPARE_WORKERS)
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="vault")

    async def call(
        self, method: str, path: str, *, token: Secret | None = None, body: Mapping[str, Any] | None = None
    ) -> VaultAnswer:
        """See `VaultCaller`. The deadline holds although the thread may need a moment longer to notice it."""
        work = asyncio.get_running_loop().run_in_executor(self._pool, self._request, method, path, token, body)
        limit = self._settings.connect_timeout_s + self._settings.request_timeout_s
        try:
            # Half a second more than the transport's own deadline: its error tells more than this one.
            async with asyncio.timeout(limit + 0.5):
                return await work
        except TimeoutError:
            raise VaultError(VaultFault.TIMEOUT, f"{method} {path}", f"no answer within {limit:g} s") from None
        except OSError as error:  # the transport could not be made, or its authorities not be read
            raise VaultError(VaultFault.UNREACHABLE, f"{method} {path}", error.strerror or str(error)) from None

    def close(self) -> None:
        """Accept no more requests; running ones end by their deadlines."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _request(self, method: str, path: str, token: Secret | None, body: Mapping[str, Any] | None) -> VaultAnswer:
        transport: Callable[..., VaultAnswer] | None = getattr(self._local, "transport", None)
        if transport is None:
            from sidecar.secrets.vault.transport import make_transport  # noqa: PLC0415 - 130 ms, in a worker's thread

            transport = self._local.transport = make_transport(self._settings)
        return transport(method, path, token, body)


def read_answer(operation: str, status: int, headers: Mapping[str, str], body: bytes) -> VaultAnswer:
    """Parse an answer. Raises VaultError if the status is not a success, or the body is not Vault's JSON."""
    if status >= 300:  # noqa: PLR2004 - every status above is no success
        raise _failure(operation, status, headers, body)
    if not body:
        return VaultAnswer(status=status)
    try:
        tree = json.loads(body)
        return VaultAnswer(
            status=status,
            server_time=_date(headers),
            request_id=str(tree.get("request_id") or ""),
            data=tree.get("data") or {},
            auth=tree.get("auth") or {},
            lease_id=tree.get("lease_id") or "",
            lease_duration=int(tree.get("lease_duration") or 0),
            renewable=bool(tree.get("renewable")),
        )
    except (ValueError, AttributeError, TypeError):
        raise VaultError(VaultFault.PROTOCOL, operation, f"{status} with a body that is not Vault's JSON") from None


def _date(headers: Mapping[str, str]) -> datetime | None:
    try:
        return parsedate_to_datetime(headers["Date"])
    except (KeyError, ValueError):
        return None


def _failure(operation: str, status: int, headers: Mapping[str, str], body: bytes) -> VaultError:
    row, text = judge(status, body), headers.get("Retry-After", "")
    detail = f"status {status}"
    if row.fault is VaultFault.REDIRECT:
        host = urlsplit(headers.get("Location", "")).netloc or "nowhere"
        detail = f"{status} to {host}, which is not followed; set address to the server that answers itself"
    elif row.speaker is Speaker.FRONT:
        detail = f"status {status} with a body that is not Vault's: something in front of it answered"
    # Vault sends seconds, never the date that RFC 9110 (10.2.3) allows as well.
    retry_after_s = min(float(text), MAX_RETRY_AFTER_S) if text.isascii() and text.isdigit() else 0.0
    return VaultError(row.fault, operation, detail, status=status, retry_after_s=retry_after_s, proof=row.proof)
