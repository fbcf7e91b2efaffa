"""Dashboard: the path of an event from the broker to the collector."""

from __future__ import annotations

from tools.grafana.panel import Panel, Rows, latest, quantiles, rate, rise

TELEMETRY_BOARD: Rows = {
    "Ledger": [
        Panel(
            title="Events",
            description="Received and counted, a second.",
            unit="ops",
            queries=[
                rate("telemetry_events_received_total", "producer", name="received"),
                rate("telemetry_events_counted_total", "producer", name="counted"),
            ],
        ),
        Panel(
            title="Not counted",
            description="Dropped by the producer, rejected by the sidecar, in an interval. Empty: none ever was.",
            unit="none",
            queries=[
                rise("telemetry_dropped_total", "reason", name="dropped"),
                rise("telemetry_events_rejected_total", "reason", name="rejected"),
            ],
        ),
        Panel(
            title="Held by producers",
            description="Events between emit() and acknowledgement.",
            unit="none",
            queries=[latest("telemetry_producer_held", "producer")],
        ),
        Panel(
            title="Heartbeat age",
            description="Of each producer.",
            unit="s",
            queries=[latest("telemetry_producer_heartbeat_age_seconds", "producer")],
        ),
    ],
    "Logs": [
        Panel(
            title="Records",
            description="Accepted and exported, a second.",
            unit="ops",
            queries=[
                rate("telemetry_logs_accepted_total", "pod", name="accepted"),
                rate("telemetry_logs_exported_total", "pod", name="exported"),
            ],
        ),
        Panel(
            title="Backlog",
            description="Records that wait for the collector.",
            unit="none",
            queries=[latest("telemetry_logs_queued", "pod")],
        ),
        Panel(
            title="Time without an export",
            description="By signal; 0 while they succeed.",
            unit="s",
            queries=[latest("telemetry_export_failing_seconds", "signal")],
        ),
        Panel(
            title="Export requests, p99",
            description="How long the collector takes.",
            unit="s",
            queries=quantiles("telemetry_export_duration_seconds", "signal")[1:],
        ),
    ],
    "Journal and series": [
        Panel(
            title="Journal",
            description="Bytes used, and the limit.",
            unit="bytes",
            queries=[
                latest("telemetry_journal_size_bytes", "pod", name="used"),
                latest("telemetry_journal_limit_bytes", "pod", name="limit"),
            ],
        ),
        Panel(
            title="Series",
            description="By producer; overflow means that a label has too many values.",
            unit="none",
            queries=[latest("telemetry_series", "producer")],
        ),
    ],
}
