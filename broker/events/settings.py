"""Settings of the broker as a producer of events."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pod_runtime.config import setting
from producer.settings import ProducerSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerTelemetrySettings(ProducerSettings):
    """Section `telemetry`: how events reach the sidecar, and what holds them until then."""

    producer_id: str = setting(
        "broker", doc="name of this producer, the same over restarts: counters belong to it; [a-z0-9._-]"
    )
    venue: str = setting("oanda", doc="value of the label `broker` of every metric; empty: no such label")
    spool_directory: Path = setting(
        Path("/var/lib/broker/spool"), doc="where events wait for their acknowledgement; outlives the process"
    )

    @property
    def constant_labels(self) -> dict[str, str]:
        """Labels of every metric of the broker."""
        return {"broker": self.venue} if self.venue else {}
