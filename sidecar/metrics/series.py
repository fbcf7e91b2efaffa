"""One series of an instrument: what it has measured so far, and its point in a snapshot."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Any

from sidecar.telemetry.model import Distribution, Exemplar, Instrument, Labels, Number
from telemetry_contract.v1 import telemetry_pb2 as pb

MAX_INTEGER = (1 << 63) - 1  # OTLP says integers in 64 bits

_number = tuple.__new__
"""Makes a point in two thirds of the time that its class takes: a snapshot makes thousands at once."""

Row = Sequence[Any]
"""The state of a series as plain values: what a checkpoint holds. Tuples: garbage collection passes them by."""


def exact_sum(high: float, low: float, values: Sequence[float]) -> tuple[float, float]:
    """Adds `values` to a sum kept as two doubles: correctly rounded in practice, in whatever portions values come.

    `math.fsum` is exact (Shewchuk); the second call finds what the first one rounded off.
    """
    try:
        total = math.fsum((high, low, *values))
        return total, math.fsum((high, low, *values, -total)) if math.isfinite(total) else 0.0
    except OverflowError:
        return sum(values, high), 0.0


class Sum:
    """A counter's or up-down counter's series. Integers stay integers."""

    __slots__ = ("exemplar", "labels", "low", "point", "reader", "start_ns", "time_ns", "value")

    def __init__(self, labels: Labels, now_ns: int) -> None:
        self.labels = labels
        self.start_ns = self.time_ns = now_ns
        self.value: float = 0
        self.low = 0.0
        self.exemplar: Exemplar | None = None
        self.point: Number | None = None
        self.reader: object = None

    @property
    def touched_ns(self) -> int:
        """When it last took a measurement, by our clock."""
        return self.time_ns

    def add(self, values: Sequence[float], now_ns: int) -> None:
        """Adds measurements."""
        if isinstance(values[0], int) and isinstance(self.value, int):
            self.value += sum(values)
            if abs(self.value) > MAX_INTEGER:
                self.value = float(self.value)
        else:
            self.value, self.low = exact_sum(self.value, self.low, values)
        self.time_ns = now_ns
        self.point = None

    def count(self, events: int, now_ns: int) -> None:
        """Adds 1 for each of `events` events."""
        self.value += events
        self.time_ns = now_ns
        self.point = None

    def freeze(self) -> Number:
        """The point of the series; the same object until the series changes."""
        point = self.point
        if point is None:
            values = (self.labels, self.start_ns, self.time_ns, self.value, self.exemplar)
            self.point = point = _number(Number, values)
        return point

    def keep_exemplar(self, exemplar: Exemplar) -> None:
        """Takes the latest exemplar."""
        self.exemplar = exemplar
        self.point = None

    def row(self) -> Row:
        """The state as plain values."""
        return (self.labels, self.start_ns, self.time_ns, self.value, self.low, exemplar_row(self.exemplar))

    @classmethod
    def from_row(cls, row: Row) -> Sum:
        """The series whose `row` this was."""
        series = cls(labels_of(row[0]), row[1])
        series.time_ns, series.value, series.low = row[2], row[3], row[4]
        series.exemplar = exemplar_of(row[5])
        return series


class Last:
    """A gauge's series: the value with the highest sequence."""

    __slots__ = ("labels", "point", "reader", "sequence", "start_ns", "time_ns", "touched_ns", "value")

    def __init__(self, labels: Labels, now_ns: int) -> None:
        self.labels = labels
        self.start_ns = self.time_ns = self.touched_ns = now_ns
        self.value: float = 0
        self.sequence = 0
        self.point: Number | None = None
        self.reader: object = None

    def set(self, value: float, sequence: int, time_ns: int, now_ns: int) -> None:
        """Takes a value unless a later one has been taken."""
        if sequence >= self.sequence:
            self.value, self.sequence, self.time_ns, self.touched_ns = value, sequence, time_ns, now_ns
            self.point = None

    def freeze(self) -> Number:
        """The point of the series; the same object until the series changes."""
        point = self.point
        if point is None:
            self.point = point = Number(self.labels, self.start_ns, self.time_ns, self.value)
        return point

    def row(self) -> Row:
        """The state as plain values."""
        return (self.labels, self.start_ns, self.time_ns, self.touched_ns, self.value, self.sequence)

    @classmethod
    def from_row(cls, row: Row) -> Last:
        """The series whose `row` this was."""
        series = cls(labels_of(row[0]), row[1])
        series.time_ns, series.touched_ns, series.value, series.sequence = row[2:6]
        return series


class Histogram:
    """A histogram's series over explicit bounds; a value equal to a bound is in the bucket below it."""

    __slots__ = ("bounds", "buckets", "exemplars", "labels", "low", "point", "reader", "start_ns", "time_ns", "total")

    def __init__(self, labels: Labels, now_ns: int, bounds: Sequence[float]) -> None:
        self.labels = labels
        self.start_ns = self.time_ns = now_ns
        self.total = self.low = 0.0
        self.bounds = bounds
        self.buckets = [0] * (len(bounds) + 1)
        self.exemplars: list[Exemplar | None] = []
        self.point: Distribution | None = None
        self.reader: object = None

    @property
    def touched_ns(self) -> int:
        """When it last took a measurement, by our clock."""
        return self.time_ns

    def record(self, values: Sequence[float], now_ns: int) -> None:
        """Adds measurements: sorted once, then each bound is looked up among them."""
        ordered = sorted(values)
        buckets = self.buckets
        below = 0
        for place, bound in enumerate(self.bounds):
            # OTLP buckets are (lower, upper]: a value equal to the bound lies at or below it.
            reached = bisect_right(ordered, bound, below)
            buckets[place] += reached - below
            below = reached
        buckets[-1] += len(ordered) - below
        self.total, self.low = exact_sum(self.total, self.low, values)
        self.time_ns = now_ns
        self.point = None

    def freeze(self) -> Distribution:
        """The point of the series; the same object until the series changes."""
        point = self.point
        if point is None:
            buckets = tuple(self.buckets)
            times = (self.start_ns, self.time_ns)
            point = Distribution(self.labels, *times, sum(buckets), self.total, buckets, tuple(self.exemplars))
            self.point = point
        return point

    def keep_exemplar(self, exemplar: Exemplar) -> None:
        """Takes the latest exemplar of its bucket."""
        if not self.exemplars:
            self.exemplars = [None] * len(self.buckets)
        self.exemplars[bisect_left(self.bounds, exemplar.value)] = exemplar
        self.point = None

    def row(self) -> Row:
        """The state as plain values."""
        exemplars = tuple(map(exemplar_row, self.exemplars))
        times = (self.start_ns, self.time_ns)
        return (self.labels, *times, self.total, self.low, tuple(self.buckets), exemplars)

    @classmethod
    def from_row(cls, row: Row, bounds: Sequence[float]) -> Histogram:
        """The series whose `row` this was."""
        series = cls(labels_of(row[0]), row[1], bounds)
        series.time_ns, series.total, series.low = row[2:5]
        series.buckets = list(row[5])
        series.exemplars = [exemplar_of(item) for item in row[6]]
        return series


Series = Sum | Last | Histogram


def new_series(instrument: Instrument, labels: Labels, now_ns: int) -> Series:
    """An empty series of an instrument."""
    if instrument.kind == pb.INSTRUMENT_KIND_HISTOGRAM:
        return Histogram(labels, now_ns, instrument.bounds)
    return Last(labels, now_ns) if instrument.kind == pb.INSTRUMENT_KIND_GAUGE else Sum(labels, now_ns)


def series_of(instrument: Instrument, row: Row) -> Series:
    """The series whose `row` this was."""
    if instrument.kind == pb.INSTRUMENT_KIND_HISTOGRAM:
        return Histogram.from_row(row, instrument.bounds)
    return Last.from_row(row) if instrument.kind == pb.INSTRUMENT_KIND_GAUGE else Sum.from_row(row)


def exemplar_row(exemplar: Exemplar | None) -> Row | None:
    """An exemplar as plain values, ids in hex."""
    if exemplar is None:
        return None
    return (exemplar.value, exemplar.time_ns, exemplar.trace_id.hex(), exemplar.span_id.hex())


def exemplar_of(row: Row | None) -> Exemplar | None:
    """The exemplar whose row this was."""
    return None if row is None else Exemplar(row[0], row[1], bytes.fromhex(row[2]), bytes.fromhex(row[3]))


def labels_of(rows: Sequence[Sequence[str]]) -> Labels:
    """Labels as the model holds them."""
    return tuple((name, value) for name, value in rows)
