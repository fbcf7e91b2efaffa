"""The sidecar's own metrics, from the table that registers them."""

from __future__ import annotations

from sidecar.prometheus.names import family_name
from sidecar.selfmetrics.table import TABLE, SelfMetric
from telemetry_contract.v1 import telemetry_pb2 as pb
from tools.reference.markdown import code, made, table

KINDS = {"counter": pb.INSTRUMENT_KIND_COUNTER, "gauge": pb.INSTRUMENT_KIND_GAUGE}
HEAD = """# Metrics of the sidecar

{made}
They stand on `/metrics` beside those of the producers ([the broker's](../telemetry.md)), and are pushed to the
collector too where `otlp.own_metrics` says so. Two histograms besides: `sidecar_loop_lag_seconds` (how much later
than asked the event loop came back) and `telemetry_export_duration_seconds` (time that the collector took to answer,
by `signal` and `outcome`).

This page is the sidecar's, port 9464. The broker's own process has one of its own, on the order API's port:
[metrics of the broker's process](process-metrics.md). Both have `process_open_fds` and `process_start_time_seconds`.
CPU time and memory have two names: `process_cpu_time_seconds_total` and `process_memory_usage_bytes` here, after
OpenTelemetry; `process_cpu_seconds_total` and `process_resident_memory_bytes` there, after the Prometheus client.
"""


def page() -> str:
    """The page."""
    rows = [(code(row.name), code(_exposed(row)), row.kind, row.unit, row.help + ".") for row in TABLE]
    head = ("metric", "on /metrics", "kind", "unit", "what it says")
    return HEAD.format(made=made("the table that registers them")) + "\n" + table(head, sorted(rows))


def _exposed(row: SelfMetric) -> str:
    family, _ = family_name(row.name, KINDS[row.kind], row.unit)
    return family + ("_total" if row.kind == "counter" else "")
