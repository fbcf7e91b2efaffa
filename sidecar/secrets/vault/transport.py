"""A worker thread's connection to Vault. Imported where it is used: hvac takes 130 ms to load."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from urllib3.exceptions import NewConnectionError, ReadTimeoutError

from pod_runtime.secret import Secret
from sidecar.secrets.vault.answer import MAX_ANSWER_BYTES, Answer, read_answer
from sidecar.secrets.vault.connection import Connection
from sidecar.secrets.vault.fault import Fault, VaultError
from sidecar.secrets.vault.lean_requests import RawAdapter, requests

Transport = Callable[[str, str, Secret | None, Mapping[str, Any] | None], Answer]
_CHUNK = 64 << 10


class _Adapter(RawAdapter):  # type: ignore[misc] # hvac has no types
    """hvac's adapter, whose answers keep their status and headers."""

    def _raise_for_error(self, method: str, url: str, response: requests.Response) -> None:
        """Leaves the answer to `read_answer`: hvac's exceptions lose the status and carry the body."""


def make_transport(connection: Connection) -> Transport:
    """A function that makes one request at a time; for one thread.

    `hvac.Client` is passed by: it takes tokens and certificates from the environment when it is given none.
    """
    session = requests.Session()
    session.trust_env = False  # no proxy, .netrc or REQUESTS_CA_BUNDLE from the environment
    if connection.ca_cert:
        session.verify = str(connection.ca_cert)  # hvac puts a session's own setting, by default true, before its own
    adapter = _Adapter(
        base_uri=connection.address.rstrip("/"),
        token="",
        timeout=(connection.connect_timeout_s, connection.request_timeout_s),
        allow_redirects=False,
        session=session,
        namespace=connection.namespace or None,
    )

    def transport(method: str, path: str, token: Secret | None, body: Mapping[str, Any] | None) -> Answer:
        operation = f"{method} {path}"
        headers = {"X-Vault-Token": token.reveal()} if token else {}
        left = _deadline(connection.connect_timeout_s + connection.request_timeout_s)
        try:
            with adapter.request(
                method.lower(), f"/v1/{path}", headers=headers, stream=True, data=_encoded(body)
            ) as answer:
                return read_answer(operation, answer.status_code, answer.headers, _read(answer, operation, left))
        except requests.RequestException as error:
            raise _translated(operation, error) from None  # the cause holds the request, and that its headers

    return transport


def _encoded(body: Mapping[str, Any] | None) -> bytes | None:
    return None if body is None else json.dumps(body).encode()


def _read(answer: requests.Response, operation: str, left: Callable[[], float]) -> bytes:
    """The body, within its limits of size and time: a read timeout alone lets a server dribble for ever."""
    parts = []
    size = 0
    for part in answer.iter_content(_CHUNK):
        parts.append(part)
        size += len(part)
        if size > MAX_ANSWER_BYTES:
            raise VaultError(Fault.PROTOCOL, operation, f"an answer of more than {MAX_ANSWER_BYTES} bytes")
        if left() < 0:
            raise VaultError(Fault.TIMEOUT, operation, "the answer did not end in time")
    return b"".join(parts)


def _translated(operation: str, error: requests.RequestException) -> VaultError:
    """Whether the request can have reached the server decides whether it may have left something there."""
    kinds: tuple[tuple[type[requests.RequestException], Fault, str], ...] = (
        (requests.exceptions.SSLError, Fault.TLS, "the server's certificate is not trusted, or TLS failed"),
        (requests.exceptions.ConnectTimeout, Fault.UNREACHABLE, "no connection in time"),
        (requests.exceptions.Timeout, Fault.TIMEOUT, "no answer in time"),
        (requests.exceptions.ChunkedEncodingError, Fault.PROTOCOL, "the answer broke off"),
    )
    for kind, fault, text in kinds:
        if isinstance(error, kind):
            return VaultError(fault, operation, text)
    if isinstance(error, requests.exceptions.ConnectionError):
        reason = getattr(error.args[0] if error.args else None, "reason", None)
        if isinstance(reason, NewConnectionError):
            return VaultError(Fault.UNREACHABLE, operation, "no connection: refused, no route or unknown host")
        if isinstance(reason, ReadTimeoutError) or "Read timed out" in str(error):
            return VaultError(Fault.TIMEOUT, operation, "the answer did not end in time")
        return VaultError(Fault.CONNECTION, operation, "the connection broke")
    return VaultError(Fault.PROTOCOL, operation, type(error).__name__)


def _deadline(seconds: float) -> Callable[[], float]:
    """A function that says the seconds left."""
    end = time.monotonic() + seconds
    return lambda: end - time.monotonic()
