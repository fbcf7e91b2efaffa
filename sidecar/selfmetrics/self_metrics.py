"""The sidecar measured by the OpenTelemetry SDK: for /metrics, and by setting pushed to the collector too."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import grpc
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricReader
from opentelemetry.sdk.resources import Resource
from prometheus_client import CollectorRegistry

from sidecar.export.client import Headers, SetupError, credentials
from sidecar.export.settings import OtlpSettings, parse_endpoint
from sidecar.selfmetrics.measure import Measure, Read

if TYPE_CHECKING:
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter

_log = logging.getLogger(__name__)
SCOPE = "sidecar"
LAG_INTERVAL_S = 0.25
PUSH_TIMEOUT_S = 2
"""A push holds a thread, and a thread that waits for a dead collector would hold the process's end."""
_REQUEST_BOUNDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_LAG_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)


class SelfMetrics:
    """The SDK's provider and its readers; `run` until told to stop.

    What has a ledger already is observed, never counted a second time. Reading happens on the event loop only.
    """

    def __init__(self, resource: Mapping[str, str], otlp: OtlpSettings) -> None:
        self._otlp = otlp
        self.registry = CollectorRegistry()
        readers: list[MetricReader] = [PrometheusMetricReader(registry=self.registry, scope_info_enabled=False)]
        self._pushed = InMemoryMetricReader() if otlp.own_metrics and otlp.endpoint else None
        if self._pushed is not None:
            readers.append(self._pushed)
        self._provider = MeterProvider(readers, Resource(dict(resource)), shutdown_on_exit=False)
        self._meter = self._provider.get_meter(SCOPE)
        self._requests = self._meter.create_histogram(
            "telemetry.export.duration",
            "s",
            "Time that the collector took to answer an export request",
            explicit_bucket_boundaries_advisory=_REQUEST_BOUNDS,
        )
        self._lag = self._meter.create_histogram(
            "sidecar.loop.lag",
            "s",
            "How much later than asked the event loop came back to a task",
            explicit_bucket_boundaries_advisory=_LAG_BOUNDS,
        )

    def add(self, measures: Iterable[Measure]) -> None:
        """Registers figures under their names."""
        for measure in measures:
            create = (
                self._meter.create_observable_counter
                if measure.kind == "counter"
                else self._meter.create_observable_gauge
            )
            create(measure.name, [_callback(measure.read)], measure.unit, measure.description)

    def observe_request(self, signal: str, outcome: str, seconds: float) -> None:
        """Records an export request (what `OtlpExporter` calls)."""
        self._requests.record(seconds, {"signal": signal, "outcome": outcome})

    async def run(self, stop: asyncio.Event) -> None:
        """Measures the loop, and pushes where the settings say so, until `stop`."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch_loop(stop))
            if self._pushed is not None:
                group.create_task(self._push(stop, self._pushed))

    def close(self) -> None:
        """Ends the readers."""
        self._provider.shutdown()

    async def _watch_loop(self, stop: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        while not stop.is_set():
            due = loop.time() + LAG_INTERVAL_S
            await _pause(stop, LAG_INTERVAL_S)
            if not stop.is_set():
                self._lag.record(max(loop.time() - due, 0.0))

    async def _push(self, stop: asyncio.Event, reader: InMemoryMetricReader) -> None:
        exporter: OTLPMetricExporter | None = None
        while not stop.is_set():
            await _pause(stop, self._otlp.metrics_interval_s)
            try:
                exporter = exporter or _exporter(self._otlp)
            except SetupError as error:
                _log.warning("own_metrics_not_pushed", extra={"reason": error.reason, "error": str(error)})
                continue
            data = reader.get_metrics_data()
            if data is not None:
                await asyncio.to_thread(exporter.export, data)
        if exporter is not None:
            exporter.shutdown()


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()


def _callback(read: Read) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def observe(_: CallbackOptions) -> Iterable[Observation]:
        return [Observation(value, dict(labels)) for labels, value in read()]

    return observe


def _exporter(otlp: OtlpSettings) -> OTLPMetricExporter:
    """The official exporter, by our settings: it would read only the environment."""
    # Only where it is used: its import takes a tenth of a second and some megabytes.
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter  # noqa: PLC0415

    endpoint = parse_endpoint(otlp.endpoint)
    options: dict[str, Any] = {"insecure": True}
    if endpoint.tls:
        options = {"insecure": False, "credentials": credentials(otlp)}
    return OTLPMetricExporter(
        endpoint=endpoint.target,
        headers=Headers(otlp).metadata(),
        timeout=PUSH_TIMEOUT_S,
        compression=grpc.Compression.Gzip if otlp.compression == "gzip" else grpc.Compression.NoCompression,
        **options,
    )
