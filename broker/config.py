"""The broker's configuration: one file, overridden by `BROKER__SECTION__KEY`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from broker.api.settings import ApiSettings
from broker.history.settings import HistorySettings
from broker.orders.settings import OrderSettings
from broker.venue.settings import VenueSettings
from pod_runtime.config import load, setting
from producer.settings import ProducerSettings

PREFIX = "BROKER"


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialSettings:
    """Settings of the volume where secrets appear."""

    directory: Path = setting(
        Path("/run/secrets/broker"), doc="directory with the link `..data` to the current generation of secrets"
    )
    poll_s: float = setting(2.0, minimum=0.05, doc="seconds between polls of the directory, besides its notifications")
    prove_s: float = setting(10.0, minimum=0.1, doc="seconds in which a new credential must work once")
    retry_s: float = setting(
        5.0, minimum=0.1, doc="seconds before a generation that failed for a passing reason is tried again"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchdogSettings:
    """Settings of the watchdog, which ends a process whose event loop has stalled."""

    stall_s: float = setting(
        10.0,
        minimum=0,
        doc="seconds without a turn of the event loop, but for those in which it waits for a disk or gets no "
        "processor; 0 is no watchdog",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerLogSettings:
    """Settings of the process's own log on standard output."""

    level: str = setting("INFO", choices=("DEBUG", "INFO", "WARNING", "ERROR"), doc="lowest severity that is written")


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


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerConfig:
    """Configuration of the broker."""

    venue: VenueSettings = setting(doc="the venue and the account that is traded")
    api: ApiSettings = setting(doc="the order API")
    orders: OrderSettings = setting(doc="the order path and its limits")
    telemetry: BrokerTelemetrySettings = setting(doc="the way to the sidecar")
    history: HistorySettings = setting(doc="the database of orders, fills and transactions")
    credentials: CredentialSettings = setting(doc="the volume where secrets appear")
    watchdog: WatchdogSettings = setting(doc="the watchdog of the event loop")
    log: BrokerLogSettings = setting(doc="the process's own log")


def read_config(path: Path | None, environ: Mapping[str, str]) -> BrokerConfig:
    """Read the configuration of this process; without a file, from the environment alone.

    Raises:
        pod_runtime.config.ConfigError: names every fault, not the first alone.
    """
    return load(BrokerConfig, path=path, environ=environ, prefix=PREFIX)
