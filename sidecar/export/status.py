"""How the export of each signal goes: its figures, and when it began to fail."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sidecar.export.verdict import Failure

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalStatus:
    """How the export of one signal goes; times are nanoseconds since the epoch, 0 for never."""

    enabled: bool = False
    exported: int = 0
    """Log records or metric points, since the process began."""
    rejected: Mapping[str, int] = field(default_factory=dict)
    requests: int = 0
    retries: int = 0
    in_flight: int = 0
    last_success_ns: int = 0
    failing_since_ns: int = 0
    """0 while exports succeed."""
    last_error: str = ""
    last_error_ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportStatus:
    """How the export goes."""

    endpoint: str
    logs: SignalStatus
    metrics: SignalStatus


@dataclass(slots=True)
class Signal:
    """The running figures of one signal."""

    name: str
    path: str
    response: Any
    clock: Callable[[], int]
    enabled: bool
    exported: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    retries: int = 0
    in_flight: int = 0
    last_success_ns: int = 0
    failing_since_ns: int = 0
    last_error: str = ""
    last_error_ns: int = 0

    def succeed(self) -> None:
        """Notes an export that was taken."""
        self.last_success_ns = self.clock()
        if self.failing_since_ns:
            _log.info("export_recovered", extra={"signal": self.name})
        self.failing_since_ns = 0

    def fail(self, failure: Failure) -> None:
        """Notes one that was not."""
        self.last_error, self.last_error_ns = f"{failure.reason}: {failure.message}", self.clock()
        if not self.failing_since_ns:
            self.failing_since_ns = self.last_error_ns
            extra = {"signal": self.name, "reason": failure.reason, "error": failure.message}
            _log.warning("export_failing", extra=extra)

    def status(self) -> SignalStatus:
        """The figures of this moment."""
        return SignalStatus(
            enabled=self.enabled,
            exported=self.exported,
            rejected=dict(self.rejected),
            requests=self.requests,
            retries=self.retries,
            in_flight=self.in_flight,
            last_success_ns=self.last_success_ns,
            failing_since_ns=self.failing_since_ns,
            last_error=self.last_error,
            last_error_ns=self.last_error_ns,
        )
