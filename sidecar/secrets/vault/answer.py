"""What Vault answers, told apart by its status."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from sidecar.secrets.vault.fault import Fault, VaultError

MAX_ANSWER_BYTES = 4 << 20
_BY_STATUS = {
    400: Fault.INVALID,
    403: Fault.DENIED,
    404: Fault.NOT_FOUND,
    429: Fault.RATE_LIMITED,
    503: Fault.SEALED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A successful answer. `data` and `auth` may hold secrets, so they are not shown."""

    status: int
    server_time: datetime | None = field(default=None, compare=False)
    """By the server's clock (Date), which its moments are of; None where it does not say."""
    request_id: str = ""
    data: Mapping[str, Any] = field(default_factory=dict, repr=False)
    auth: Mapping[str, Any] = field(default_factory=dict, repr=False)
    lease_id: str = field(default="", repr=False)
    lease_duration: int = 0
    renewable: bool = False


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
            server_time=_date(headers),
            request_id=str(tree.get("request_id") or ""),
            data=tree.get("data") or {},
            auth=tree.get("auth") or {},
            lease_id=tree.get("lease_id") or "",
            lease_duration=int(tree.get("lease_duration") or 0),
            renewable=bool(tree.get("renewable")),
        )
    except (ValueError, AttributeError, TypeError):
        raise VaultError(Fault.PROTOCOL, operation, f"{status} with a body that is not Vault's JSON") from None


def _date(headers: Mapping[str, str]) -> datetime | None:
    try:
        return parsedate_to_datetime(headers["Date"])
    except (KeyError, ValueError):
        return None


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
