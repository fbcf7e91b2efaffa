"""Requests to the collector, and what they met, as measures."""

from __future__ import annotations

from collections.abc import Callable

from sidecar.export.status import ExportStatus, SignalStatus
from sidecar.selfmetrics.measure import Measure, Reading, alone, counter, each, gauge

_NS = 1_000_000_000


def export_measures(status: Callable[[], ExportStatus], clock: Callable[[], int]) -> list[Measure]:
    """The exporter, by signal. Exported log records are the ledger's; here are requests and what they met."""

    def signals(pick: Callable[[SignalStatus], float]) -> Callable[[], list[Reading]]:
        def read() -> list[Reading]:
            now = status()
            both = (("logs", now.logs), ("metrics", now.metrics))
            return each("signal", ((name, pick(signal)) for name, signal in both if signal.enabled))

        return read

    def failing(signal: SignalStatus) -> float:
        return max(clock() - signal.failing_since_ns, 0) / _NS if signal.failing_since_ns else 0.0

    def points_rejected() -> list[Reading]:
        return each("reason", status().metrics.rejected.items())

    return [
        counter(
            "telemetry.export.requests",
            "{request}",
            "Requests to the collector",
            signals(lambda signal: signal.requests),
        ),
        counter("telemetry.export.retries", "{request}", "Of these, repeats", signals(lambda signal: signal.retries)),
        gauge(
            "telemetry.export.in_flight",
            "{record}",
            "Log records that wait for an answer",
            signals(lambda signal: signal.in_flight),
        ),
        gauge(
            "telemetry.export.failing", "s", "For how long no export has succeeded; 0 while they do", signals(failing)
        ),
        counter(
            "telemetry.export.points",
            "{point}",
            "Metric points that the collector has",
            lambda: alone(status().metrics.exported),
        ),
        counter(
            "telemetry.export.points.rejected", "{point}", "Metric points that the collector refused", points_rejected
        ),
    ]
