"""Base of differences: the values of counters and histograms that a collector has, in a file beside the journal.

JSON: version, the time of the snapshot, then a row for each series: producer, instrument, kind, labels, start, and
either a number or count, sum and buckets. JSON keeps every double and every integer exactly.
"""

from __future__ import annotations

import json
from typing import Any

from sidecar.export.metric_encoder import DIFFERENCES
from sidecar.telemetry.model import Distribution, Family, Number, ProducerMetrics, Snapshot

BASE_FILE = "delta-base"
VERSION = 1


def write_base(snapshot: Snapshot) -> bytes:
    """Content of the file."""
    rows = [
        [producer.producer_id, family.name, family.kind, point.labels, point.start_ns, *_values(point)]
        for producer in snapshot.producers
        for family in producer.families
        if family.kind in DIFFERENCES
        for point in family.points
    ]
    return json.dumps([VERSION, snapshot.time_ns, rows], separators=(",", ":")).encode()


def read_base(data: bytes) -> Snapshot | None:
    """The snapshot, as far as `difference` needs it; None without a file, or for one that cannot be read."""
    try:
        version, time_ns, rows = json.loads(data or b"[0,0,[]]")
        return Snapshot(time_ns=int(time_ns), producers=tuple(map(_producer, rows))) if version == VERSION else None
    except (ValueError, TypeError):
        return None


def _values(point: Number | Distribution) -> list[Any]:
    return [point.count, point.sum, point.buckets] if isinstance(point, Distribution) else [point.value]


def _producer(row: list[Any]) -> ProducerMetrics:
    producer_id, name, kind, pairs, start_ns, *values = row
    labels = tuple((str(key), str(value)) for key, value in pairs)
    if len(values) == 1:
        point: Number | Distribution = Number(labels, start_ns, 0, values[0])
    else:
        count, total, buckets = values
        point = Distribution(labels, start_ns, 0, count, total, tuple(buckets))
    family = Family(name=name, kind=kind, unit="", description="", bounds=(), points=(point,))
    return ProducerMetrics(producer_id=producer_id, resource=(), families=(family,))
