"""Encoder of OTLP metrics: a snapshot as requests, one ResourceMetrics a producer, cumulative or as differences.

It uses the official classes: an interval has some thousand points, and their encoding is spread over the loop by
`requests`, which yields after `max_points`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.metrics.v1 import metrics_pb2 as otlp
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from sidecar.telemetry.model import Distribution, Exemplar, Family, Number, ProducerMetrics, Snapshot
from sidecar.telemetry.resource import producer_resource
from telemetry_contract.v1 import telemetry_pb2 as pb

SCOPE = "telemetry.v1"
# Kinds that the temporality preference `delta` turns into differences. Up-down counters stay cumulative:
# https://opentelemetry.io/docs/specs/otel/metrics/sdk_exporters/otlp/#additional-environment-variable-configuration
DIFFERENCES = frozenset({pb.INSTRUMENT_KIND_COUNTER, pb.INSTRUMENT_KIND_HISTOGRAM})
CUMULATIVE = otlp.AGGREGATION_TEMPORALITY_CUMULATIVE
DELTA = otlp.AGGREGATION_TEMPORALITY_DELTA

Point = Number | Distribution


def requests(
    snapshot: Snapshot, own: Mapping[str, str], *, max_points: int, delta: bool = False
) -> Iterator[tuple[ExportMetricsServiceRequest, int]]:
    """Requests for a snapshot, each with its number of points, `max_points` at most.

    `delta` says that the snapshot is a `difference`.
    """
    request = ExportMetricsServiceRequest()
    room = max_points
    for producer in snapshot.producers:
        scope = None
        for family in producer.families:
            for start in range(0, len(family.points), max_points):
                points = family.points[start : start + max_points]
                if len(points) > room:
                    yield request, max_points - room
                    request, room, scope = ExportMetricsServiceRequest(), max_points, None
                if scope is None:
                    scope = _scope(request, own, producer)
                _metric(scope.metrics.add(), family, points, (snapshot.time_ns, producer.seen_ns), delta=delta)
                room -= len(points)
    if room < max_points:
        yield request, max_points - room


def _scope(
    request: ExportMetricsServiceRequest, own: Mapping[str, str], producer: ProducerMetrics
) -> otlp.ScopeMetrics:
    attributes = producer_resource(own, producer.producer_id, producer.resource)
    resource = Resource(attributes=[_attribute(key, value) for key, value in attributes.items()])
    whole = request.resource_metrics.add(resource=resource)
    return whole.scope_metrics.add(scope=InstrumentationScope(name=SCOPE))


# The same labels come with every snapshot, and a KeyValue costs more to make than to find.
@lru_cache(maxsize=20_000)
def _attribute(key: str, value: str) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(string_value=value))


def _metric(
    metric: otlp.Metric, family: Family, points: Sequence[Point], times_ns: tuple[int, int], *, delta: bool
) -> None:
    """Fill a metric. `times_ns` are the snapshot's, at which sums hold, and the last at which gauges are known to."""
    now_ns, seen_ns = times_ns
    metric.name, metric.unit, metric.description = family.name, family.unit, family.description
    temporality = DELTA if delta and family.kind in DIFFERENCES else CUMULATIVE
    if family.kind == pb.INSTRUMENT_KIND_HISTOGRAM:
        metric.histogram.aggregation_temporality = temporality
        made = (_distribution(each, family.bounds, now_ns) for each in points if isinstance(each, Distribution))
        metric.histogram.data_points.extend(made)
        return
    numbers = [each for each in points if isinstance(each, Number)]
    if family.kind == pb.INSTRUMENT_KIND_GAUGE:
        metric.gauge.data_points.extend(_number(each, max(each.time_ns, seen_ns)) for each in numbers)
        return
    metric.sum.is_monotonic = family.kind == pb.INSTRUMENT_KIND_COUNTER
    metric.sum.aggregation_temporality = temporality
    metric.sum.data_points.extend(_number(each, now_ns) for each in numbers)


def _number(point: Number, time_ns: int) -> otlp.NumberDataPoint:
    made = otlp.NumberDataPoint(
        attributes=[_attribute(key, value) for key, value in point.labels],
        start_time_unix_nano=point.start_ns,
        time_unix_nano=time_ns,
    )
    # A counter beyond 2**53 would be inexact as a double.
    if isinstance(point.value, int):
        made.as_int = point.value
    else:
        made.as_double = point.value
    if point.exemplar is not None:
        made.exemplars.append(_exemplar(point.exemplar))
    return made


def _distribution(point: Distribution, bounds: tuple[float, ...], time_ns: int) -> otlp.HistogramDataPoint:
    return otlp.HistogramDataPoint(
        attributes=[_attribute(key, value) for key, value in point.labels],
        start_time_unix_nano=point.start_ns,
        time_unix_nano=time_ns,
        count=point.count,
        sum=point.sum,
        bucket_counts=point.buckets,
        explicit_bounds=bounds,
        exemplars=[_exemplar(each) for each in point.exemplars if each is not None],
    )


def _exemplar(exemplar: Exemplar) -> otlp.Exemplar:
    return otlp.Exemplar(
        as_double=exemplar.value, time_unix_nano=exemplar.time_ns, trace_id=exemplar.trace_id, span_id=exemplar.span_id
    )


def difference(snapshot: Snapshot, earlier: Snapshot) -> Snapshot:
    """Gains of counters and histograms since `earlier`; gauges and up-down counters stay as they are.

    A series that began anew since (another start time) gained all it has. A series without a gain is left out, as
    the data model allows: https://opentelemetry.io/docs/specs/otel/metrics/data-model/#temporality
    """
    before = {
        (producer.producer_id, family.name, point.labels): point
        for producer in earlier.producers
        for family in producer.families
        if family.kind in DIFFERENCES
        for point in family.points
    }

    def gained(producer: ProducerMetrics, family: Family) -> Family:
        if family.kind not in DIFFERENCES:
            return family
        found = [(point, before.get((producer.producer_id, family.name, point.labels))) for point in family.points]
        gains = (_gain(point, previous, earlier.time_ns) for point, previous in found)
        return replace(family, points=[gain for gain in gains if gain is not None])

    producers = (
        replace(producer, families=tuple(gained(producer, family) for family in producer.families))
        for producer in snapshot.producers
    )
    return replace(snapshot, producers=tuple(producers))


def _gain(point: Point, before: Point | None, since_ns: int) -> Point | None:
    if before is None or before.start_ns != point.start_ns:
        return point
    if isinstance(point, Number) and isinstance(before, Number):
        gained = max(0, point.value - before.value)  # a loss of power may have taken what was pushed
        # An exemplar that the last request had belongs to its interval.
        exemplar = point.exemplar if point.exemplar != before.exemplar else None
        return point._replace(value=gained, start_ns=since_ns, exemplar=exemplar) if gained else None
    if isinstance(point, Distribution) and isinstance(before, Distribution) and point.count > before.count:
        return point._replace(
            start_ns=since_ns,
            count=point.count - before.count,
            sum=point.sum - before.sum,
            buckets=tuple(now - then for now, then in zip(point.buckets, before.buckets, strict=True)),
            exemplars=tuple(item for item in point.exemplars if item not in before.exemplars),
        )
    return None
