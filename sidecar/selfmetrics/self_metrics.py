"""Export of the sidecar's own metrics by the OpenTelemetry SDK: on /metrics, and to the collector where asked for.

The SDK asks each instrument's callback by itself. One snapshot of the process is therefore taken before each
collection, and every callback reads that one: the rows of a page belong to one moment, and the ledgers balance.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Protocol

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider, TraceBasedExemplarFilter
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricExportResult, MetricReader
from opentelemetry.sdk.resources import Resource
from prometheus_client import CollectorRegistry, Metric

from pod_runtime.cancellation import PersistentTaskGroup
from pod_runtime.run import persist
from sidecar.export.client import COMPRESSION, NO_PROXY, Headers, SetupError, credentials
from sidecar.export.settings import OtlpSettings, parse_endpoint
from sidecar.selfmetrics.table import TABLE, ProcessSnapshot, SelfMetric

if TYPE_CHECKING:
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter

_log = logging.getLogger(__name__)
SCOPE = "sidecar"
LAG_INTERVAL_S = 0.25
# A push holds a thread, and a thread that waits for a dead collector would hold up the process's end.
PUSH_TIMEOUT_S = 2
# After a push that failed the next one comes sooner: the first on a connection that died in the pause shows it only.
RETRY_S = 5.0
# Requests take milliseconds to a collector beside us, and up to `otlp.timeout_s`; the loop's lag should stay below
# 10 ms, and probes time out at seconds.
_REQUEST_BOUNDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_LAG_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)


class SnapshotSource(Protocol):
    """Source of the figures in the table."""

    def process_snapshot(self) -> ProcessSnapshot:
        """All figures at this moment."""


class SelfMetrics:
    """The SDK's provider with the rows of the table and two histograms. `run` until `stop`, then `close`.

    One event loop only: callbacks read the parts of the process without a lock.
    """

    def __init__(
        self,
        source: SnapshotSource,
        resource: Mapping[str, str],
        otlp: OtlpSettings,
        table: Sequence[SelfMetric] = TABLE,
    ) -> None:
        self._source = source
        self._otlp = otlp
        self._registry = CollectorRegistry()
        readers: list[MetricReader] = [PrometheusMetricReader(registry=self._registry, scope_info_enabled=False)]
        self._pushed = InMemoryMetricReader() if otlp.own_metrics and otlp.endpoint else None
        if self._pushed is not None:
            readers.append(self._pushed)
        # Without the SDK's exit handler: it would read the parts of a process that has ended them already.
        # And with a filter of its own: one in the environment that it does not know would end the start.
        self._provider = MeterProvider(
            readers, Resource(dict(resource)), TraceBasedExemplarFilter(), shutdown_on_exit=False
        )
        meter = self._provider.get_meter(SCOPE)
        self._requests = meter.create_histogram(
            "telemetry.export.duration",
            "s",
            "Time that the collector took to answer an export request",
            explicit_bucket_boundaries_advisory=_REQUEST_BOUNDS,
        )
        self._lag = meter.create_histogram(
            "sidecar.loop.lag",
            "s",
            "How much later than asked the event loop came back to a task",
            explicit_bucket_boundaries_advisory=_LAG_BOUNDS,
        )
        creators = {"counter": meter.create_observable_counter, "gauge": meter.create_observable_gauge}
        for row in table:
            creators[row.kind](row.name, [self._callback(row)], row.unit, row.help)
        self._snapshot: ProcessSnapshot | None = None
        self._exporter: OTLPMetricExporter | None = None
        self._failed = False
        """True after a push that failed."""

    def collect(self) -> list[Metric]:
        """Families for /metrics, all read from one snapshot."""
        self._snapshot = self._source.process_snapshot()
        return list(self._registry.collect())

    def observe_request(self, signal: str, outcome: str, seconds: float) -> None:
        """Record an export request: `logs` or `metrics`, `ok` or the reason of the failure, and its duration."""
        self._requests.record(seconds, {"signal": signal, "outcome": outcome})

    async def run(self, stop: asyncio.Event) -> None:
        """Measure the loop, and push where the settings say so, until `stop`."""
        async with PersistentTaskGroup() as group:
            group.create_task(self._watch_loop(stop))
            if self._pushed is not None:
                group.create_task(self._push(stop, self._pushed))

    def close(self) -> None:
        """End the readers."""
        self._provider.shutdown()

    def _callback(self, row: SelfMetric) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_: CallbackOptions) -> Iterable[Observation]:
            readings = () if self._snapshot is None else row.read(self._snapshot)
            return [Observation(value, dict(labels)) for labels, value in readings]

        return observe

    async def _watch_loop(self, stop: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        while not stop.is_set():
            due = loop.time() + LAG_INTERVAL_S
            await _pause(stop, LAG_INTERVAL_S)
            # The wait ended early where `stop` is set: its end says nothing about the loop.
            if not stop.is_set():
                self._lag.record(max(loop.time() - due, 0.0))

    async def _push(self, stop: asyncio.Event, reader: InMemoryMetricReader) -> None:
        while not stop.is_set():
            interval_s = self._otlp.metrics_interval_s
            await _pause(stop, min(interval_s, RETRY_S) if self._failed else interval_s)
            await persist("own metrics", partial(self._push_once, reader), stop)
        self._close_exporter()

    async def _push_once(self, reader: InMemoryMetricReader) -> None:
        self._failed = True
        try:
            self._exporter = self._exporter or _exporter(self._otlp)
        except SetupError as error:  # a file that is missing may come yet
            _log.warning("own_metrics_not_pushed", extra={"reason": error.reason, "error": str(error)})
            return
        self._snapshot = self._source.process_snapshot()
        data = reader.get_metrics_data()
        # The official exporter blocks, on a collector that is away for PUSH_TIMEOUT_S.
        self._failed = (
            data is not None and await asyncio.to_thread(self._exporter.export, data) is not MetricExportResult.SUCCESS
        )
        if self._failed:
            # The next push has a connection of its own: gRPC keeps one for ever whose other end is gone without a
            # word. Certificates that were replaced are read again, too.
            self._close_exporter()

    def _close_exporter(self) -> None:
        exporter, self._exporter = self._exporter, None
        if exporter is not None:
            exporter.shutdown()


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()


def _exporter(otlp: OtlpSettings) -> OTLPMetricExporter:
    """The official exporter, by our settings: by itself it would read only the environment."""
    # Imported only where it is used: the import takes a tenth of a second and some megabytes.
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter  # noqa: PLC0415 - see above

    endpoint = parse_endpoint(otlp.endpoint)
    return OTLPMetricExporter(
        endpoint=endpoint.target,
        insecure=not endpoint.tls,
        credentials=credentials(otlp) if endpoint.tls else None,
        headers=Headers(otlp).metadata(),
        timeout=PUSH_TIMEOUT_S,
        compression=COMPRESSION[otlp.compression],
        channel_options=(NO_PROXY,),  # type: ignore[arg-type] # it says texts, and gRPC takes a number here
    )
