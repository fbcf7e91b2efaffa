"""Where Vault is, and how long it may take."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """Where Vault is, and how long it may take."""

    address: str
    ca_cert: Path | None = None
    namespace: str = ""
    connect_timeout_s: float = 2.0
    request_timeout_s: float = 5.0
