"""The sidecar's own metrics, from the tables that register them."""

from __future__ import annotations

from typing import Any, cast

from sidecar.prometheus.names import family_name
from sidecar.selfmetrics.export import export_measures
from sidecar.selfmetrics.health_and_secrets import health_measures, secrets_measures
from sidecar.selfmetrics.journal import journal_measures
from sidecar.selfmetrics.ledger import ledger_measures, producer_measures
from sidecar.selfmetrics.measure import Measure
from sidecar.selfmetrics.process import process_measures
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
[metrics of the broker's process](process-metrics.md).
"""


def page() -> str:
    """The page."""
    rows = [
        (code(item.name), code(_exposed(item)), item.kind, item.unit, item.description + ".") for item in _measures()
    ]
    head = ("metric", "on /metrics", "kind", "unit", "what it says")
    return HEAD.format(made=made("the tables that register them")) + "\n" + table(head, sorted(rows))


def _measures() -> list[Measure]:
    nothing = cast("Any", None)  # a figure is read when somebody looks, and nobody does
    return [
        *ledger_measures(nothing),
        *producer_measures(nothing, nothing),
        *journal_measures(nothing),
        *export_measures(nothing, nothing),
        *process_measures(nothing),
        *health_measures(nothing),
        *secrets_measures(nothing),
    ]


def _exposed(item: Measure) -> str:
    family, _ = family_name(item.name, KINDS[item.kind], item.unit)
    return family + ("_total" if item.kind == "counter" else "")
