"""What a request to Vault can end with besides an answer."""

from __future__ import annotations

from enum import StrEnum


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
