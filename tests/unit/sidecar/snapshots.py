"""Snapshots that tests render, and a strategy that makes any of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from hypothesis import strategies as st
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from sidecar.telemetry.model import Distribution, Exemplar, Family, Labels, Number, ProducerMetrics, Snapshot
from telemetry_contract.v1 import telemetry_pb2 as pb

NOW = 1_700_000_000_000_000_000
START = NOW - 60_000_000_000
TRACE = Exemplar(0.25, NOW - 1_000_000_000, bytes(range(16)), bytes(range(8)))


def parse_openmetrics(text: str) -> list[Metric]:
    """Families of a page, by the official parser."""
    return list(text_string_to_metric_families(text))  # type: ignore[no-untyped-call] # prometheus_client leaves it so


@dataclass
class FakeMetrics:
    """Metrics of producers, as a test makes them."""

    make: Callable[[], Snapshot]
    files: dict[str, bytes] = field(default_factory=dict)

    def snapshot(self) -> Snapshot:
        return self.make()

    def kept(self, name: str) -> bytes:
        return self.files.get(name, b"")

    async def keep(self, name: str, data: bytes) -> bool:
        self.files[name] = data
        return True


def family(name: str, kind: int, unit: str, points: Sequence[Number | Distribution], **more: object) -> Family:
    parts = {"description": f"About {name}", "bounds": (), **more}
    return Family(name=name, kind=kind, unit=unit, points=points, **parts)  # type: ignore[arg-type] # by keyword


def snapshot(**families: Sequence[Family]) -> Snapshot:
    """A snapshot of producers by name; underscores in a name stand for themselves."""
    producers = [
        ProducerMetrics(producer_id=name, resource=(("service.name", name),), families=tuple(each))
        for name, each in families.items()
    ]
    return Snapshot(time_ns=NOW, producers=tuple(producers))


def counter(
    name: str = "broker.orders", value: float = 7, labels: Labels = (("status", "filled"),), unit: str = "{order}"
) -> Family:
    return family(name, pb.INSTRUMENT_KIND_COUNTER, unit, (Number(labels, START, NOW, value, TRACE),))


def gauge(name: str, value: float, labels: Labels = (), unit: str = "") -> Family:
    return family(name, pb.INSTRUMENT_KIND_GAUGE, unit, (Number(labels, START, NOW, value),))


def histogram(
    name: str = "broker.order.duration",
    bounds: tuple[float, ...] = (0.1, 1.0),
    buckets: tuple[int, ...] = (1, 2, 3),
    labels: Labels = (),
    unit: str = "s",
) -> Family:
    exemplars = (TRACE, *[None] * len(bounds))
    point = Distribution(labels, START, NOW, sum(buckets), 4.5, buckets, exemplars)
    return family(name, pb.INSTRUMENT_KIND_HISTOGRAM, unit, (point,), bounds=bounds)


_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_NAMES = st.sampled_from(
    ["a", "a.b", "a_b", "a.total", "a.count", "a.sum", "a.bucket", "a.seconds", "target.info", "b"]
)
_UNITS = st.sampled_from(["", "s", "1", "{order}", "By", "By/s", "weird unit"])
_LABELS = st.dictionaries(
    st.sampled_from(["status", "a.b", "a_b", "le", "producer", "otel.metric.overflow"]), _TEXT, max_size=3
).map(lambda found: tuple(found.items()))
_FLOATS = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def _families(draw: st.DrawFn) -> Family:
    kind = draw(st.sampled_from([1, 2, 3, 4]))
    labels = draw(st.lists(_LABELS, min_size=1, max_size=4, unique=True))
    bounds = tuple(sorted(draw(st.sets(st.floats(-5, 5), max_size=4)))) if kind == pb.INSTRUMENT_KIND_HISTOGRAM else ()
    points: list[Number | Distribution] = []
    for each in labels:
        if kind == pb.INSTRUMENT_KIND_HISTOGRAM:
            buckets = tuple(draw(st.lists(st.integers(0, 9), min_size=len(bounds) + 1, max_size=len(bounds) + 1)))
            exemplars = tuple(draw(st.sampled_from([None, TRACE])) for _ in buckets)
            total = float(draw(st.floats(0, 1e6)))
            points.append(Distribution(each, START, NOW, sum(buckets), total, buckets, exemplars))
        else:
            value = draw(st.integers(0, 2**53)) if kind == pb.INSTRUMENT_KIND_COUNTER else draw(_FLOATS)
            points.append(Number(each, START, NOW, value, draw(st.sampled_from([None, TRACE]))))
    return family(draw(_NAMES), kind, draw(_UNITS), points, bounds=bounds, description=draw(_TEXT))


def _one_name_each(found: list[Family]) -> tuple[Family, ...]:
    return tuple({each.name: each for each in found}.values())


snapshots = st.lists(st.lists(_families(), max_size=4).map(_one_name_each), min_size=1, max_size=3).map(
    lambda each: snapshot(**{f"p{at}": families for at, families in enumerate(each)})
)
"""Any snapshot: names that collide, labels that collide, empty labels, odd units, bounds below zero."""
