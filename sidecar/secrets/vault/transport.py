"""HTTP transport of one worker thread: hvac's adapter over a requests session.

hvac.Client is not used: it takes tokens and certificates from the environment, follows redirects and loses status
codes. Import this module in a worker thread only: hvac takes 130 ms to load.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from urllib3.connection import HTTPConnection
from urllib3.exceptions import NewConnectionError, ReadTimeoutError

from pod_runtime.connection.keepalive import keepalive_options
from pod_runtime.secret import Secret
from sidecar.secrets.errors import Proof, VaultError, VaultFault
from sidecar.secrets.settings import SecretsSettings
from sidecar.secrets.vault.client import MAX_ANSWER_BYTES, VaultAnswer, read_answer

# requests imports charset_normalizer, if it is there, for `Response.text`, which nothing here reads. Leaving it out
# saves 3.1 MiB of the process (20.7 MiB with it, 17.6 without; the sidecar's goal for all is 64); requests only warns
# (requests/compat.py). None in sys.modules makes an import fail (Python reference, "The module cache"); the entry is
# taken away again at once, so that other modules can still import it.
_UNWANTED = "charset_normalizer"
_loaded = sys.modules.get(_UNWANTED)
sys.modules[_UNWANTED] = None  # type: ignore[assignment] # see above
warnings.filterwarnings("ignore", message="Unable to find acceptable character detection")
try:
    import requests
    from hvac.adapters import RawAdapter
finally:
    del sys.modules[_UNWANTED]
    if _loaded is not None:
        sys.modules[_UNWANTED] = _loaded


class _KeptAlive(requests.adapters.HTTPAdapter):
    """Pool whose idle connections end with the server's end, so that no request that makes a lease is lost on one."""

    def init_poolmanager(self, *arguments: Any, **changed: Any) -> None:
        """Make the pool, with the socket's options; called by the parent."""
        options = [*HTTPConnection.default_socket_options, *keepalive_options()]
        super().init_poolmanager(*arguments, socket_options=options, **changed)


Transport = Callable[[str, str, Secret | None, Mapping[str, Any] | None], VaultAnswer]
_CHUNK = 64 << 10


class _PlainAdapter(RawAdapter):  # type: ignore[misc] # hvac has no types
    """Adapter whose answers keep their status and headers."""

    def _raise_for_error(self, method: str, url: str, response: requests.Response) -> None:
        """Leave errors to `read_answer`: hvac's exceptions lose the status and carry the body."""


def make_transport(settings: SecretsSettings) -> Transport:
    """Return a function that makes one request at a time; for one thread."""
    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, _KeptAlive())
    session.trust_env = False  # no proxy, .netrc or REQUESTS_CA_BUNDLE from the environment
    if settings.ca_cert:
        # hvac prefers the session's setting, true by default, to the one that it is given itself.
        session.verify = str(settings.ca_cert)
    adapter = _PlainAdapter(
        base_uri=settings.address.rstrip("/"),
        token="",
        timeout=(settings.connect_timeout_s, settings.request_timeout_s),
        allow_redirects=False,
        session=session,
        namespace=settings.namespace or None,
    )

    def transport(method: str, path: str, token: Secret | None, body: Mapping[str, Any] | None) -> VaultAnswer:
        operation = f"{method} {path}"
        headers = {"X-Vault-Token": token.reveal()} if token else {}
        data = None if body is None else json.dumps(body).encode()
        deadline = time.monotonic() + settings.connect_timeout_s + settings.request_timeout_s
        try:
            with adapter.request(
                method.lower(), f"/v1/{quote(path)}", headers=headers, stream=True, data=data
            ) as answer:
                content = _read(answer, operation, deadline)
                return read_answer(operation, answer.status_code, answer.headers, content)
        except requests.RequestException as error:
            raise _translated(operation, error) from None  # the cause holds the request, and with it the token

    return transport


def _read(answer: requests.Response, operation: str, deadline: float) -> bytes:
    parts, size = [], 0
    for part in answer.iter_content(_CHUNK):
        parts.append(part)
        size += len(part)
        if size > MAX_ANSWER_BYTES:
            raise VaultError(VaultFault.PROTOCOL, operation, f"an answer of more than {MAX_ANSWER_BYTES} bytes")
        # requests' timeout bounds each read; a server that sends a byte a second would hold the thread for ever.
        if time.monotonic() > deadline:
            raise VaultError(VaultFault.TIMEOUT, operation, "the answer did not end in time")
    return b"".join(parts)


def _translated(operation: str, error: requests.RequestException) -> VaultError:
    """Tell a request that never left from one that may have left a lease behind (`VaultError.ambiguous`)."""
    kinds: tuple[tuple[type[requests.RequestException], VaultFault, str], ...] = (
        (requests.exceptions.ConnectTimeout, VaultFault.UNREACHABLE, "no connection in time"),
        (requests.exceptions.Timeout, VaultFault.TIMEOUT, "no answer in time"),
        (requests.exceptions.ChunkedEncodingError, VaultFault.PROTOCOL, "the answer broke off"),
    )
    if isinstance(error, requests.exceptions.SSLError):
        return _tls_error(operation, str(error))
    for kind, fault, text in kinds:
        if isinstance(error, kind):
            return VaultError(fault, operation, text)
    if isinstance(error, requests.exceptions.ConnectionError):
        return _broken(operation, error)
    return VaultError(VaultFault.PROTOCOL, operation, type(error).__name__)


def _tls_error(operation: str, text: str) -> VaultError:
    if "certificate verify failed" in text:
        return VaultError(VaultFault.TLS, operation, "the server's certificate is not trusted")
    # The handshake and an alert after the request was read raise the same error.
    return VaultError(VaultFault.TLS, operation, "TLS failed", proof=Proof.NOTHING)


def _broken(operation: str, error: requests.exceptions.ConnectionError) -> VaultError:
    reason = getattr(error.args[0] if error.args else None, "reason", None)
    if isinstance(reason, NewConnectionError):
        return VaultError(VaultFault.UNREACHABLE, operation, "no connection: refused, no route or unknown host")
    if isinstance(reason, ReadTimeoutError) or "Read timed out" in str(error):
        return VaultError(VaultFault.TIMEOUT, operation, "the answer did not end in time")
    return VaultError(VaultFault.CONNECTION, operation, "the connection broke")
