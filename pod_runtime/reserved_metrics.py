"""Names of metrics that Prometheus and the sidecar make themselves; no program may declare them.

`up`, `scrape_*` and `target_*` come with each scrape (https://prometheus.io/docs/concepts/jobs_instances/, and
`target_info` of the OpenTelemetry exporter); `sidecar.*` and `telemetry.*` are the sidecar's own. A program's metric
of such a name would answer queries and alerts that are about somebody else.
"""

from __future__ import annotations

RESERVED = "up, scrape.*, target.*, sidecar.* and telemetry.*"
_PREFIXES = ("scrape_", "target_", "sidecar_", "telemetry_")


def is_reserved(name: str) -> bool:
    """True for a reserved name; dots and underscores are one, as they are on a page of metrics."""
    shown = name.replace(".", "_")
    return shown == "up" or shown.startswith(_PREFIXES)
