"""Figures of the export, for health, console and metrics."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field, replace

from sidecar.export.verdict import ExportFailure

_log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class SignalStatus:
    """Export of one signal since the process began; times are nanoseconds since the epoch, 0 for never."""

    enabled: bool = False
    exported: int = 0
    """Log records or metric points that the collector accepted."""
    rejected: Counter[str] = field(default_factory=Counter)
    """Those that it refused for good, by reason."""
    requests: int = 0
    retries: int = 0
    in_flight: int = 0
    """Log records in requests without an answer."""
    last_success_ns: int = 0
    failing_since_ns: int = 0
    """0 while exports succeed."""
    last_error: str = ""
    """`<reason>: <message>`; kept after a success."""
    last_error_ns: int = 0

    def succeed(self, signal: str, now_ns: int) -> None:
        """Record a request that the collector accepted."""
        self.last_success_ns = now_ns
        if self.failing_since_ns:
            _log.info("export_recovered", extra={"signal": signal})
        self.failing_since_ns = 0

    def fail(self, signal: str, failure: ExportFailure, now_ns: int) -> None:
        """Record a request that failed."""
        self.last_error, self.last_error_ns = f"{failure.reason}: {failure.message}", now_ns
        # Each repeat fails likewise: a line for each would fill the log while the collector is away.
        if not self.failing_since_ns:
            self.failing_since_ns = now_ns
            extra = {"signal": signal, "reason": failure.reason, "error": failure.message}
            _log.warning("export_failing", extra=extra)

    def copy(self) -> SignalStatus:
        """The figures of this moment, apart from the running ones."""
        return replace(self, rejected=Counter(self.rejected))


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportStatus:
    """Export of both signals at one moment; `endpoint` is empty where nothing is exported."""

    endpoint: str
    logs: SignalStatus
    metrics: SignalStatus
