from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from prometheus_client.parser import text_string_to_metric_families as parse_text

from sidecar.export.metric_encoder import difference, requests
from sidecar.prometheus.names import TYPES, MetricNames, label_pairs
from sidecar.prometheus.render import Exposition, Format
from sidecar.telemetry.model import Number, Snapshot
from tests.otlp_receiver import plain_attributes, plain_points
from tests.unit.sidecar.snapshots import NOW, START, TRACE, counter, family, gauge, histogram, snapshot, snapshots

OWN = {"service.name": "sidecar", "service.instance.id": "i1", "k8s.pod.name": "p"}
CUMULATIVE, DELTA = 2, 1


def made(snapshot_: Snapshot, *, max_points: int = 1000, delta: bool = False) -> list[ExportMetricsServiceRequest]:
    return [request for request, _ in requests(snapshot_, OWN, max_points=max_points, delta=delta)]


def points(found: list[ExportMetricsServiceRequest]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Producer and name → points, each with its labels."""
    seen: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for request in found:
        for resource in request.resource_metrics:
            attributes = plain_attributes(resource.resource.attributes)
            for metric in resource.scope_metrics[0].metrics:
                for (name, labels), point in plain_points(metric, attributes).items():
                    seen.setdefault((attributes["service.name"], name), []).append({**point, "labels": labels})
    return seen


def test_a_counter_is_a_cumulative_monotonic_sum_up_to_now() -> None:
    [point] = points(made(snapshot(broker=[counter(value=7)])))["broker", "broker.orders"]
    assert point == {
        "kind": "sum",
        "unit": "{order}",
        "description": "About broker.orders",
        "monotonic": True,
        "temporality": CUMULATIVE,
        "start": START,
        "time": NOW,
        "value": 7,
        "labels": (("status", "filled"),),
        "resource": {"service.name": "broker", "service.instance.id": "i1", "k8s.pod.name": "p"},
    }


def test_a_fraction_is_a_double_and_a_whole_number_an_int() -> None:
    both = made(snapshot(p=[counter("a", 7), counter("b", 7.5)]))[0].resource_metrics[0].scope_metrics[0].metrics
    assert [metric.sum.data_points[0].WhichOneof("value") for metric in both] == ["as_int", "as_double"]


def test_an_up_down_counter_is_not_monotonic_and_stays_cumulative_in_delta() -> None:
    open_orders = family("open", 2, "", (Number((), START, NOW, -3),))
    [point] = points(made(snapshot(p=[open_orders]), delta=True))["p", "open"]
    assert (point["monotonic"], point["temporality"], point["value"]) == (False, CUMULATIVE, -3)


def test_a_gauge_of_a_producer_that_is_connected_holds_now() -> None:
    it = snapshot(p=[gauge("g", 1.5)])
    seen = replace(it, producers=tuple(replace(each, seen_ns=NOW + 7) for each in it.producers))
    assert points(made(seen))["p", "g"][0]["time"] == NOW + 7


def test_a_gauge_of_a_producer_that_was_not_seen_keeps_the_time_it_was_set() -> None:
    old = family("age", 3, "s", (Number((), START, NOW - 5, 1.5),))
    [point] = points(made(snapshot(p=[old])))["p", "age"]
    assert (point["kind"], point["time"], point["value"]) == ("gauge", NOW - 5, 1.5)


def test_a_histogram_has_bounds_buckets_and_exemplars() -> None:
    [request] = made(snapshot(p=[histogram()]))
    [point] = request.resource_metrics[0].scope_metrics[0].metrics[0].histogram.data_points
    assert (point.count, point.sum, list(point.bucket_counts)) == (6, 4.5, [1, 2, 3])
    assert list(point.explicit_bounds) == [0.1, 1.0]
    [exemplar] = point.exemplars
    assert (exemplar.as_double, exemplar.trace_id, exemplar.span_id) == (0.25, TRACE.trace_id, TRACE.span_id)


def test_each_producer_has_its_own_resource() -> None:
    assert sorted(points(made(snapshot(p=[counter()], q=[counter()])))) == [
        ("p", "broker.orders"),
        ("q", "broker.orders"),
    ]


@given(snapshots, st.integers(1, 5))
def test_requests_are_cut_at_the_limit_and_lose_nothing(given_: Snapshot, limit: int) -> None:
    cut = [(points([request]), number) for request, number in requests(given_, OWN, max_points=limit)]
    assert all(sum(map(len, found.values())) == number <= limit for found, number in cut)
    whole = points(made(given_))
    rejoined: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for found, _ in cut:
        for key, each in found.items():
            rejoined.setdefault(key, []).extend(each)
    assert rejoined == whole


@given(snapshots)
def test_every_series_of_the_page_equals_the_otlp_export(given_: Snapshot) -> None:
    names = MetricNames()
    text = "".join(Exposition(Format.TEXT, names).chunks(given_))
    page = {
        (
            sample.name,
            frozenset(item for item in sample.labels.items() if item[1] and item[0] != "otel_series"),
        ): sample.value
        for each in parse_text(text)
        for sample in each.samples
    }
    kinds = {(p.producer_id, each.name): each for p in given_.producers for each in p.families}
    exported = {}
    for (producer, name), each in points(made(given_)).items():
        family_ = kinds[producer, name]
        shown, _ = names.name(name, family_.kind, family_.unit)
        for point in each:
            labels = frozenset(
                item for item in [*label_pairs(point["labels"], ("producer", "le")), ("producer", producer)] if item[1]
            )
            exported.update(_as_series(shown, TYPES[family_.kind], labels, point["value"]))
    assert exported == page


def _as_series(name: str, kind: str, labels: frozenset[tuple[str, str]], value: Any) -> dict[Any, float]:
    if kind != "histogram":
        return {(f"{name}_total" if kind == "counter" else name, labels): value}
    found = {(f"{name}_sum", labels): value["sum"], (f"{name}_count", labels): value["count"]}
    for at, bound in enumerate([*map(repr, value["bounds"]), "+Inf"]):
        found[f"{name}_bucket", labels | {("le", bound)}] = sum(value["buckets"][: at + 1])
    return found


def test_a_difference_is_what_was_gained_since() -> None:
    earlier = snapshot(p=[counter(value=5), histogram(buckets=(1, 1, 1)), gauge("g", 4)])
    later = snapshot(p=[counter(value=12), histogram(buckets=(1, 4, 1)), gauge("g", 3)])
    found = points(made(difference(later, earlier), delta=True))
    [orders], [durations], [level] = found["p", "broker.orders"], found["p", "broker.order.duration"], found["p", "g"]
    assert (orders["value"], orders["start"], orders["temporality"]) == (7, earlier.time_ns, DELTA)
    assert (durations["value"]["count"], durations["value"]["buckets"]) == (3, (0, 3, 0))
    assert level["value"] == 3


def test_a_series_without_a_gain_is_left_out_of_a_difference() -> None:
    same = snapshot(p=[counter(value=5), histogram()])
    assert points(made(difference(same, same), delta=True)) == {}


def test_a_new_series_gained_all_it_has() -> None:
    found = points(made(difference(snapshot(p=[counter(value=5)]), snapshot(p=[])), delta=True))
    assert found["p", "broker.orders"][0]["value"] == 5


def test_a_series_that_began_anew_gained_all_it_has() -> None:
    anew = family("broker.orders", 1, "{order}", (Number((("status", "filled"),), START + 1, NOW, 2),))
    found = points(made(difference(snapshot(p=[anew]), snapshot(p=[counter(value=9)])), delta=True))
    assert (found["p", "broker.orders"][0]["value"], found["p", "broker.orders"][0]["start"]) == (2, START + 1)
