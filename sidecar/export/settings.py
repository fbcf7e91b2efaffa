"""Settings of the export, and their values in OpenTelemetry's standard variables."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from pod_runtime.config import setting
from sidecar.telemetry.resource import parse_attributes

DEFAULT_PORT = 4317
_HEADER_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_HEADER_VALUE = re.compile(r"[\x20-\x7e]*")
"""Values that gRPC can send as metadata: https://grpc.github.io/grpc/core/md_doc_p_r_o_t_o_c_o_l-_h_t_t_p2.html"""


@dataclass(frozen=True, slots=True, kw_only=True)
class OtlpSettings:
    """Section `otlp`: export of metrics and logs to a collector."""

    endpoint: str = setting(
        "", doc="collector's URL, http:// (plain) or https:// (TLS), port 4317 by default; empty: nothing is exported"
    )
    logs: bool = setting(True, doc="export log records")
    metrics: bool = setting(True, doc="push metrics, too; Prometheus should get them one way only")
    own_metrics: bool = setting(False, doc="push the sidecar's own metrics; /metrics always has them")
    compression: str = setting(
        "none",
        choices=("none", "gzip"),
        doc="gzip spares the network and costs about 6 µs a record (the standard's default: none)",
    )
    timeout_s: float = setting(10.0, minimum=0.1, maximum=300, doc="seconds for one request (the standard's default)")
    certificate_file: Path | None = setting(
        None, doc="authorities (PEM) for the collector's certificate; empty: those of the system"
    )
    client_certificate_file: Path | None = setting(None, doc="our certificate chain (PEM), for mutual TLS")
    client_key_file: Path | None = setting(None, doc="key (PEM) of client_certificate_file")
    headers: dict[str, str] = setting({}, doc="headers of each request; secret ones belong in headers_file")
    headers_file: Path | None = setting(
        None, doc="file of `name=value` lines with secret headers, read again when it changes"
    )
    metrics_interval_s: float = setting(15.0, minimum=0.1, maximum=3600, doc="seconds between two exports of metrics")
    temporality: str = setting(
        "cumulative",
        choices=("cumulative", "delta"),
        doc="temporality of counters and histograms; gauges and up-down counters stay cumulative",
    )
    max_request_records: int = setting(4096, minimum=1, maximum=65_536, doc="most log records of one request")
    max_request_bytes: int = setting(
        512 << 10, minimum=16 << 10, maximum=4_000_000, doc="most bytes of a request; collectors refuse over 4 MiB"
    )
    max_request_points: int = setting(1000, minimum=1, maximum=20_000, doc="most metric points of one request")
    requests_in_flight: int = setting(4, minimum=1, maximum=64, doc="most requests with logs without an answer yet")
    linger_s: float = setting(0.1, minimum=0, maximum=60, doc="seconds that log records wait for a request to fill")
    backoff_base_s: float = setting(0.5, minimum=0.001, doc="seconds before a failed request is first repeated")
    backoff_cap_s: float = setting(
        10.0,
        minimum=0.001,
        doc="longest pause in seconds between repeats; it delays the notice of a collector's return",
    )
    drain_s: float = setting(
        2.0, minimum=0, maximum=60, doc="seconds to send queued records on a stop; the journal keeps the rest"
    )
    rejected_bytes: int = setting(
        8 << 20,
        minimum=4096,
        doc="most bytes of the files with records that the collector refused for good; the oldest are deleted",
    )
    dataset: str = setting(
        "broker", doc="data_stream.dataset of log records; part of the name of the Elasticsearch data stream"
    )
    namespace: str = setting("default", doc="data_stream.namespace of log records")

    def __post_init__(self) -> None:
        if self.endpoint:
            parse_endpoint(self.endpoint)
        # A fault is told by number: somebody may have put a secret here.
        for number, (name, value) in enumerate(self.headers.items(), start=1):
            if fault := header_fault(name, value):
                raise ValueError(f"headers: entry {number} {fault}")
        if (self.client_certificate_file is None) != (self.client_key_file is None):
            raise ValueError("client_certificate_file and client_key_file go together: give both or none")
        if self.backoff_cap_s < self.backoff_base_s:
            raise ValueError("backoff_cap_s must be at least backoff_base_s")

    @property
    def routing(self) -> dict[str, str]:
        """Resource attributes by which the Collector's Elasticsearch exporter routes log records."""
        return {"data_stream.dataset": self.dataset, "data_stream.namespace": self.namespace}


def header_fault(name: str, value: str) -> str:
    """Fault of a header that gRPC cannot send, empty where it can; without its value, which may be secret."""
    if not _HEADER_NAME.fullmatch(name):
        return "is not name=value"
    return "" if _HEADER_VALUE.fullmatch(value) else "has a value with characters that a header cannot have"


class Endpoint(NamedTuple):
    """Target that gRPC connects to, with TLS or without."""

    target: str
    tls: bool


def parse_endpoint(url: str) -> Endpoint:
    """Read `http(s)://host[:port]`. Raises ValueError: it is none."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("endpoint must be http://host:port or https://host:port")
    if parts.username or parts.password:
        raise ValueError("endpoint must not hold credentials: put them in headers_file")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return Endpoint(target=f"dns:///{host}:{parts.port or DEFAULT_PORT}", tls=parts.scheme == "https")


_PREFIX = "OTEL_EXPORTER_OTLP_"
_PLAIN = {
    "ENDPOINT": "endpoint",
    "COMPRESSION": "compression",
    "CERTIFICATE": "certificate_file",
    "CLIENT_CERTIFICATE": "client_certificate_file",
    "CLIENT_KEY": "client_key_file",
}


def standard_settings(environ: Mapping[str, str]) -> dict[str, Any]:
    """Keys of section `otlp` from OpenTelemetry's variables; the file and SIDECAR__OTLP__… override them.

    https://opentelemetry.io/docs/specs/otel/protocol/exporter/

    Raises:
        ValueError: a variable's number or header list cannot be read.
    """
    given = {key: environ.get(_PREFIX + name) for name, key in _PLAIN.items()}
    found: dict[str, Any] = {key: text for key, text in given.items() if text}
    # OTLP over gRPC allows host:port without a scheme, and INSECURE only for that: TLS is the default.
    if "endpoint" in found and "://" not in found["endpoint"]:
        insecure = environ.get(_PREFIX + "INSECURE", "").lower() == "true"
        found["endpoint"] = f"{'http' if insecure else 'https'}://{found['endpoint']}"
    if headers := environ.get(_PREFIX + "HEADERS"):
        found["headers"] = parse_attributes(headers, _PREFIX + "HEADERS")
    for key, name in (("timeout_s", _PREFIX + "TIMEOUT"), ("metrics_interval_s", "OTEL_METRIC_EXPORT_INTERVAL")):
        if text := environ.get(name):
            found[key] = _seconds(name, text)
    if preference := environ.get(_PREFIX + "METRICS_TEMPORALITY_PREFERENCE"):
        found["temporality"] = preference.lower()
    return found


def _seconds(name: str, milliseconds: str) -> float:
    try:
        return int(milliseconds) / 1000
    except ValueError as error:
        shape = f"a text of {len(milliseconds)} characters"
        raise ValueError(f"{name}: must be whole milliseconds, is {shape}") from error
