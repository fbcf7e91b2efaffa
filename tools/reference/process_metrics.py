"""Metrics of the broker's own process, read from its page."""

from __future__ import annotations

from typing import Any, cast

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from broker.api.process_metrics import ProcessMetrics
from producer.health import EmitterLedger
from tools.reference.markdown import code, made, table

HEAD = """# Metrics of the broker's process

{made}
They stand on `/metrics` of the order API's port (8080), as Prometheus text or OpenMetrics: the figures of the broker
that are still there while its sidecar is away. No key is needed, and the page is there before the broker is ready and
while it drains. It has no secret and no account: a broker with several accounts adds their emitters up. Prometheus
finds it by the ServiceMonitor `broker-api`, whose job is `broker-api`.

The broker's counts of orders, the venue and the API's requests go one way, over the sidecar
([its metrics](../telemetry.md)), and are not here. The `process_*` figures of this page are those of the Prometheus
client library; the sidecar's page names its own after OpenTelemetry (`process_memory_usage_bytes`, not
`process_resident_memory_bytes`; `process_cpu_time_seconds_total`, not `process_cpu_seconds_total`), so a panel for
both processes needs both names. The emitter's figures begin anew with the process; the sidecar's go on.
"""
EXAMPLE = EmitterLedger(
    emitted=1, acknowledged=0, held=0, dropped={("event", "reason"): 1}, coerced={("event", "reason"): 1}
)
"""One series of each label: the parser shows a label only if a series has it."""


class _Example:
    """An emitter and its stream."""

    connected = False

    def ledger(self) -> EmitterLedger:
        """Counts of events that have each label."""
        return EXAMPLE


def page() -> str:
    """The page."""
    text, _ = ProcessMetrics("", [(cast("Any", _Example()), cast("Any", _Example()))]).render("")
    rows = [_row(family) for family in text_string_to_metric_families(text.decode())]
    head = ("on /metrics", "kind", "labels", "what it says")
    return HEAD.format(made=made("the page itself")) + "\n" + table(head, sorted(rows))


def _row(family: Metric) -> tuple[str, str, str, str]:
    labels = dict.fromkeys(name for sample in family.samples for name in sample.labels)
    name = family.name + ("_total" if family.type == "counter" else "")
    return code(name), family.type, ", ".join(map(code, labels)), family.documentation.rstrip(".") + "."
