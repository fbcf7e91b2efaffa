"""`/metrics` of the broker's own process: what nobody else can say of it while its sidecar is away.

Orders, the venue and the API's requests are on the sidecar's page alone: they go one way to Prometheus, never two.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry, GCCollector, Metric, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from producer.health import EmitterLedger

ROUTE = "/metrics"


@dataclass(frozen=True, slots=True, kw_only=True)
class Carriage:
    """How one emitter of the process stands: its ledger, and whether the sidecar has welcomed its stream."""

    ledger: EmitterLedger
    connected: bool


def families(version: str, carriages: Sequence[Carriage]) -> Iterator[Metric]:
    """What the broker says of itself. Emitters are added up: several are one an account, whose id is not for here."""
    ledgers = [item.ledger for item in carriages]
    yield InfoMetricFamily("broker_build", "Version of the broker that runs.", {"version": version})
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
    yield _by_reason(
        "broker_emitter_dropped_events", "Events refused or lost.", [ledger.dropped for ledger in ledgers]
    )
    yield _by_reason(
        "broker_emitter_mended_values",
        "Values left out of events because they did not fit their column.",
        [ledger.coerced for ledger in ledgers],
    )
    yield GaugeMetricFamily(
        "broker_emitter_spool_bytes",
        "Bytes of events in the spool's files.",
        sum(ledger.spool_bytes for ledger in ledgers),
    )
    yield GaugeMetricFamily("broker_emitter_streams", "Streams to the sidecar that should stand.", len(carriages))
    yield GaugeMetricFamily(
        "broker_emitter_connected_streams",
        "Streams that the sidecar has welcomed and that are open.",
        sum(item.connected for item in carriages),
    )


def _by_reason(name: str, words: str, counts: Iterable[Mapping[tuple[str, str], int]]) -> Metric:
    total = Counter[tuple[str, str]]()
    for each in counts:
        total.update(each)
    family = CounterMetricFamily(name, words, labels=["event", "reason"])
    for labels, count in sorted(total.items()):
        family.add_metric(labels, count)
    return family


class ProcessMetrics(Collector):
    """The page. `carriages` is asked at each scrape."""

    def __init__(self, version: str, carriages: Callable[[], Sequence[Carriage]]) -> None:
        self._version = version
        self._carriages = carriages
        # Not the library's own registry: what any import registers there is not ours to show.
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)
        self._registry.register(self)

    def collect(self) -> Iterable[Metric]:
        """Called by the registry."""
        return families(self._version, self._carriages())

    def render(self, accept: str) -> tuple[bytes, str]:
        """The page and its media type, which an Accept header chooses."""
        try:
            encode, media_type = choose_encoder(accept)
        except (TypeError, ValueError):  # a version that is no number
            encode, media_type = choose_encoder("")
        return encode(self._registry), media_type


def metrics_route(page: ProcessMetrics) -> APIRouter:
    """Serves the page without a key: it holds no secret and no account, and Prometheus is let in by the network."""
    routes = APIRouter(include_in_schema=False)

    @routes.get(ROUTE)
    async def metrics(request: Request) -> Response:
        """Made on the spot: a few files of /proc and a handful of numbers."""
        content, media_type = page.render(request.headers.get("accept", ""))
        return Response(content, headers={"Content-Type": media_type, "Vary": "Accept"})

    return routes
