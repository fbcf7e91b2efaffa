"""The sidecar's configuration: one file, the environment over it, the standard variables beneath."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pod_runtime.config import load, setting
from pod_runtime.ports import parse_address
from sidecar.console.settings import ConsoleSettings
from sidecar.export.settings import OtlpSettings, standard_settings
from sidecar.health.conditions import HealthSettings
from sidecar.secrets.settings import SecretsSettings
from sidecar.telemetry.settings import TelemetrySettings

PREFIX = "SIDECAR"
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")

# VAULT_TOKEN is not among them: a token in the environment is inherited, and shown by /proc. It comes from a file.
_VAULT = {"VAULT_ADDR": "address", "VAULT_CACERT": "ca_cert", "VAULT_NAMESPACE": "namespace"}


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsSettings:
    """Section `metrics`: the page that Prometheus scrapes."""

    address: str = setting(":9464", doc="host:port of /metrics; without a host every interface, IPv6 and IPv4")

    def __post_init__(self) -> None:
        parse_address(self.address)


@dataclass(frozen=True, slots=True, kw_only=True)
class SidecarLogSettings:
    """Section `log`: the sidecar's own log, JSON lines on standard output."""

    level: str = setting("INFO", choices=LEVELS, doc="lowest severity that is written")


@dataclass(frozen=True, slots=True, kw_only=True)
class SidecarConfig:
    """The sidecar's configuration."""

    telemetry: TelemetrySettings = setting(doc="intake of events from producers, and their journal")
    otlp: OtlpSettings = setting(doc="export of metrics and logs to a collector")
    secrets: SecretsSettings = setting(doc="source of the secrets, and their publication")
    health: HealthSettings = setting(doc="probes")
    metrics: MetricsSettings = setting(doc="the page that Prometheus scrapes")
    console: ConsoleSettings = setting(doc="the status page")
    log: SidecarLogSettings = setting(doc="the sidecar's own log")


def read_config(path: Path | None, environ: Mapping[str, str]) -> SidecarConfig:
    """Read the configuration of this process. Raises ConfigError: faults of file and environment, all at once."""
    vault = {key: environ[name] for name, key in _VAULT.items() if environ.get(name)}
    beneath = {"otlp": standard_settings(environ)[0], "secrets": vault}
    return load(SidecarConfig, path=path, environ=environ, prefix=PREFIX, beneath=beneath)
