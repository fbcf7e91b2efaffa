"""`/metrics` of the broker's own process: the figures that nobody else can give while its sidecar is away.

Orders, the venue and the API's requests are on the sidecar's page alone: they go one way to Prometheus, never two.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry, GCCollector, Metric, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from producer.emitter import Emitter
from producer.stream.client import TelemetryStream

ROUTE = "/metrics"


class ProcessMetrics(Collector):
    """The page. Emitters are added up: each account may have one, and an account's id has no place on this page."""

    def __init__(self, version: str, emitters: Sequence[tuple[Emitter, TelemetryStream]]) -> None:
        self._version = version
        self._emitters = emitters
        # Not the library's own registry: whatever an import registers there would be on the page.
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)
        self._registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """Metric families as of now; the registry calls it at each scrape."""
        ledgers = [emitter.ledger() for emitter, _ in self._emitters]
        yield InfoMetricFamily("broker_build", "Version of the broker that runs.", {"version": self._version})
        yield CounterMetricFamily(
            "broker_emitter_events",
            "Events emitted since the process began; they are acknowledged, held or dropped.",
            sum(ledger.emitted for ledger in ledgers),
        )
        yield CounterMetricFamily(
            "broker_emitter_acknowledged_events",
            "Events that the sidecar has acknowledged.",
            sum(ledger.acknowledged for ledger in ledgers),
        )
        yield GaugeMetricFamily(
            "broker_emitter_held_events",
            "Events that wait in the spool for the sidecar.",
            sum(ledger.held for ledger in ledgers),
        )
        yield _counter_by_reason(
            "broker_emitter_dropped_events", "Events refused or lost.", (ledger.dropped for ledger in ledgers)
        )
        yield _counter_by_reason(
            "broker_emitter_mended_values",
            "Values left out of events because they did not fit their column.",
            (ledger.coerced for ledger in ledgers),
        )
        yield GaugeMetricFamily(
            "broker_emitter_spool_bytes",
            "Bytes of events in the spool's files.",
            sum(ledger.spool_bytes for ledger in ledgers),
        )
        yield GaugeMetricFamily(
            "broker_emitter_streams", "Streams that the process keeps open to the sidecar.", len(self._emitters)
        )
        yield GaugeMetricFamily(
            "broker_emitter_connected_streams",
            "Streams that the sidecar has welcomed and that are open.",
            sum(stream.connected for _, stream in self._emitters),
        )

    def render(self, accept: str) -> tuple[bytes, str]:
        """The page and its media type, which an Accept header chooses."""
        try:
            encode, media_type = choose_encoder(accept)
        except (TypeError, ValueError):  # the header has a version that is no number
            encode, media_type = choose_encoder("")
        return encode(self._registry), media_type


def _counter_by_reason(name: str, text: str, counts: Iterable[Mapping[tuple[str, str], int]]) -> Metric:
    total = Counter[tuple[str, str]]()
    for each in counts:
        total.update(each)
    family = CounterMetricFamily(name, text, labels=["event", "reason"])
    for labels, count in sorted(total.items()):
        family.add_metric(labels, count)
    return family


def metrics_route(page: ProcessMetrics) -> APIRouter:
    """A route for the page. It asks for no key: the page has no secret, and the network policy admits Prometheus."""
    routes = APIRouter(include_in_schema=False)

    @routes.get(ROUTE)
    async def metrics(request: Request) -> Response:
        # On the event loop: it takes a few files of /proc and a handful of numbers.
        content, media_type = page.render(request.headers.get("accept", ""))
        return Response(content, headers={"Content-Type": media_type, "Vary": "Accept"})

    return routes
