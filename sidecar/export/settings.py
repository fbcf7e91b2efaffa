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


class StandardVariable(NamedTuple):
    """One of OpenTelemetry's variables: the setting beneath which its value lies, and the values that it takes."""

    name: str
    setting: str
    values: str


_PREFIX = "OTEL_EXPORTER_OTLP_"
STANDARD = (
    StandardVariable(_PREFIX + "ENDPOINT", "otlp.endpoint", "a URL, or host:port; ignored if the protocol is not gRPC"),
    StandardVariable(_PREFIX + "INSECURE", "otlp.endpoint", "true, false; for an endpoint without a scheme"),
    StandardVariable(_PREFIX + "PROTOCOL", "", "grpc; any other makes the endpoint one that is ignored"),
    StandardVariable(_PREFIX + "COMPRESSION", "otlp.compression", "none, gzip"),
    StandardVariable(_PREFIX + "CERTIFICATE", "otlp.certificate_file", "a path"),
    StandardVariable(_PREFIX + "CLIENT_CERTIFICATE", "otlp.client_certificate_file", "a path; together with the key"),
    StandardVariable(_PREFIX + "CLIENT_KEY", "otlp.client_key_file", "a path; together with the certificate"),
    StandardVariable(_PREFIX + "HEADERS", "otlp.headers", "key=value, comma-separated"),
    StandardVariable(_PREFIX + "TIMEOUT", "otlp.timeout_s", "milliseconds, 100 to 300000"),
    StandardVariable("OTEL_METRIC_EXPORT_INTERVAL", "otlp.metrics_interval_s", "milliseconds, 100 to 3600000"),
    StandardVariable(
        _PREFIX + "METRICS_TEMPORALITY_PREFERENCE",
        "otlp.temporality",
        "cumulative, delta, lowmemory (read as delta, for all counters and histograms)",
    ),
    StandardVariable("OTEL_RESOURCE_ATTRIBUTES", "", "key=value, comma-separated: attributes of every resource"),
    StandardVariable("OTEL_SERVICE_NAME", "", "`service.name` of the sidecar's own metrics"),
)
_PLAIN = {
    "CERTIFICATE": "certificate_file",
    "CLIENT_CERTIFICATE": "client_certificate_file",
    "CLIENT_KEY": "client_key_file",
}
_TEMPORALITY = {"cumulative": "cumulative", "delta": "delta", "lowmemory": "delta"}


def standard_settings(environ: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """Keys of section `otlp` from OpenTelemetry's variables, and the faults of those that are ignored.

    The file and SIDECAR__OTLP__… go before them. A fault names its variable and never repeats the value.
    https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/ asks to warn and go on.
    """
    faults: list[str] = []
    found: dict[str, Any] = {key: text for name, key in _PLAIN.items() if (text := environ.get(_PREFIX + name))}
    if ("client_certificate_file" in found) != ("client_key_file" in found):
        found.pop("client_certificate_file", None)
        found.pop("client_key_file", None)
        faults.append(f"{_PREFIX}CLIENT_CERTIFICATE and {_PREFIX}CLIENT_KEY: go together, give both or none")
    for name, key, read in (
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "endpoint", lambda text: _endpoint(text, environ)),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "compression", lambda text: _choice(text, {"none": "none", "gzip": "gzip"})),
        ("OTEL_EXPORTER_OTLP_HEADERS", "headers", _headers),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "timeout_s", lambda text: _seconds(text, 0.1, 300.0)),
        ("OTEL_METRIC_EXPORT_INTERVAL", "metrics_interval_s", lambda text: _seconds(text, 0.1, 3600.0)),
        (_PREFIX + "METRICS_TEMPORALITY_PREFERENCE", "temporality", lambda text: _choice(text, _TEMPORALITY)),
    ):
        if text := environ.get(name, "").strip():
            try:
                found[key] = read(text)
            except ValueError as error:
                faults.append(f"{name}: {error}")
    try:
        parse_attributes(environ.get("OTEL_RESOURCE_ATTRIBUTES", ""))
    except ValueError as error:
        faults.append(f"OTEL_RESOURCE_ATTRIBUTES: {error}")
    return found, faults


def _endpoint(text: str, environ: Mapping[str, str]) -> str:
    protocol = environ.get(_PREFIX + "PROTOCOL", "").strip().lower()
    if protocol not in {"", "grpc"}:
        raise ValueError(f"is for another protocol than gRPC, by {_PREFIX}PROTOCOL; give otlp.endpoint (port 4317)")
    # OTLP over gRPC allows host:port without a scheme, and INSECURE only for that: TLS is the default.
    if "://" not in text:
        insecure = environ.get(_PREFIX + "INSECURE", "").strip().lower() == "true"
        text = f"{'http' if insecure else 'https'}://{text}"
    parse_endpoint(text)
    return text


def _choice(text: str, choices: Mapping[str, str]) -> str:
    if text.lower() not in choices:
        raise ValueError(f"must be one of {', '.join(choices)}, is a text of {len(text)} characters")
    return choices[text.lower()]


def _headers(text: str) -> dict[str, str]:
    found = parse_attributes(text)
    for number, (name, value) in enumerate(found.items(), start=1):
        if fault := header_fault(name, value):
            raise ValueError(f"entry {number} {fault}")
    return found


def _seconds(text: str, least_s: float, most_s: float) -> float:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"must be whole milliseconds, is a text of {len(text)} characters")
    if not least_s <= (seconds := int(text) / 1000) <= most_s:
        raise ValueError(f"is in milliseconds: {seconds:g} s is not within {least_s:g} and {most_s:g} s")
    return seconds
