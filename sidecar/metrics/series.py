"""Series of an instrument: single series, the table that holds them, and a capture that reads them while they change.

A series says everything of itself in one `row` of plain values, which a checkpoint keeps, and one `freeze` point,
which a snapshot shows. A point is made again only after a change, so a snapshot of idle series costs almost
nothing. `touched_ns` is the time of the last measurement, by the sidecar's clock.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from sidecar.telemetry.model import Distribution, Exemplar, Family, Labels, MetricInstrument, Number
from telemetry_contract.v1 import telemetry_pb2 as pb

MAX_INTEGER = (1 << 63) - 1  # OTLP says integers in 64 bits

CAPTURE_ROWS = 100
"""Rows read from a capture at once: a third of a millisecond of encoding."""

_number = tuple.__new__
"""Makes a point in two thirds of the time that its class takes: a snapshot makes thousands at once."""

_COMMON = ("labels", "point", "reader", "start_ns", "touched_ns")

Row = Sequence[Any]
"""State of a series as plain values. Tuples: garbage collection passes them by."""


def exact_sum(high: float, low: float, values: Sequence[float]) -> tuple[float, float]:
    """Add `values` to a sum kept as two doubles: correctly rounded in practice, in whatever portions values come.

    `math.fsum` is exact (Shewchuk); the second call finds what the first one rounded off.
    """
    # Plain addition would make a sum depend on how a producer cut its batches, and would lose small measurements
    # beside a large total.
    try:
        total = math.fsum((high, low, *values))
        return total, math.fsum((high, low, *values, -total)) if math.isfinite(total) else 0.0
    except OverflowError:
        return sum(values, high), 0.0


class SumSeries:
    """Series of a counter or up-down counter. Integers stay integers."""

    __slots__ = (*_COMMON, "exemplar", "low", "value")

    def __init__(self, labels: Labels, now_ns: int) -> None:
        self.labels = labels
        self.start_ns = self.touched_ns = now_ns
        self.value: float = 0
        self.low = 0.0
        self.exemplar: Exemplar | None = None
        self.point: Number | None = None
        self.reader: object = None

    def add(self, values: Sequence[float], now_ns: int) -> None:
        """Add measurements."""
        if isinstance(values[0], int) and isinstance(self.value, int):
            self.value += sum(values)
            if abs(self.value) > MAX_INTEGER:
                # A double from here on: a counter that stops at the end of 64 bits would be worse than one that
                # rounds.
                self.value = float(self.value)
        else:
            self.value, self.low = exact_sum(self.value, self.low, values)
        self.touched_ns = now_ns
        self.point = None

    def count(self, events: int, now_ns: int) -> None:
        """Add 1 for each of `events` events."""
        self.value += events
        self.touched_ns = now_ns
        self.point = None

    def freeze(self) -> Number:
        """Point of the series; the same object until the series changes."""
        if self.point is None:
            self.point = _number(Number, (self.labels, self.start_ns, self.touched_ns, self.value, self.exemplar))
        return self.point

    def keep_exemplar(self, exemplar: Exemplar) -> None:
        """Keep the latest exemplar."""
        self.exemplar = exemplar
        self.point = None

    def row(self) -> Row:
        """State as plain values."""
        return (self.labels, self.start_ns, self.touched_ns, self.value, self.low, exemplar_row(self.exemplar))

    def restore(self, row: Row) -> None:
        """Load a `row` into an empty series."""
        _, _, self.touched_ns, self.value, self.low, exemplar = row
        self.exemplar = exemplar_of(exemplar)


class GaugeSeries:
    """Series of a gauge: the value with the highest sequence."""

    __slots__ = (*_COMMON, "sequence", "time_ns", "value")

    def __init__(self, labels: Labels, now_ns: int) -> None:
        self.labels = labels
        self.start_ns = self.time_ns = self.touched_ns = now_ns
        self.value: float = 0
        self.sequence = 0
        self.point: Number | None = None
        self.reader: object = None

    def set(self, value: float, sequence: int, time_ns: int, now_ns: int) -> None:
        """Take a value unless a later one was taken."""
        # By sequence and not by time: a producer's wall clock may be set back.
        if sequence >= self.sequence:
            self.value, self.sequence, self.time_ns, self.touched_ns = value, sequence, time_ns, now_ns
            self.point = None

    def freeze(self) -> Number:
        """Point of the series; the same object until the series changes."""
        if self.point is None:
            self.point = Number(self.labels, self.start_ns, self.time_ns, self.value)
        return self.point

    def row(self) -> Row:
        """State as plain values."""
        return (self.labels, self.start_ns, self.time_ns, self.touched_ns, self.value, self.sequence)

    def restore(self, row: Row) -> None:
        """Load a `row` into an empty series."""
        _, _, self.time_ns, self.touched_ns, self.value, self.sequence = row


class HistogramSeries:
    """Series of a histogram over explicit bounds; a value equal to a bound is in the bucket below it."""

    __slots__ = (*_COMMON, "bounds", "buckets", "exemplars", "low", "total")

    def __init__(self, labels: Labels, now_ns: int, bounds: Sequence[float]) -> None:
        self.labels = labels
        self.start_ns = self.touched_ns = now_ns
        self.total = self.low = 0.0
        self.bounds = bounds
        self.buckets = [0] * (len(bounds) + 1)
        self.exemplars: list[Exemplar | None] = []
        self.point: Distribution | None = None
        self.reader: object = None

    def record(self, values: Sequence[float], now_ns: int) -> None:
        """Add measurements: sort them once, then look each bound up among them."""
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
        self.touched_ns = now_ns
        self.point = None

    def freeze(self) -> Distribution:
        """Point of the series; the same object until the series changes."""
        if self.point is None:
            buckets, exemplars = tuple(self.buckets), tuple(self.exemplars)
            times = (self.start_ns, self.touched_ns)
            self.point = Distribution(self.labels, *times, sum(buckets), self.total, buckets, exemplars)
        return self.point

    def keep_exemplar(self, exemplar: Exemplar) -> None:
        """Keep the latest exemplar of its bucket."""
        if not self.exemplars:
            # Made late: most histograms never see a sampled trace.
            self.exemplars = [None] * len(self.buckets)
        self.exemplars[bisect_left(self.bounds, exemplar.value)] = exemplar
        self.point = None

    def row(self) -> Row:
        """State as plain values."""
        exemplars = tuple(map(exemplar_row, self.exemplars))
        times = (self.start_ns, self.touched_ns)
        return (self.labels, *times, self.total, self.low, tuple(self.buckets), exemplars)

    def restore(self, row: Row) -> None:
        """Load a `row` into an empty series."""
        _, _, self.touched_ns, self.total, self.low, buckets, exemplars = row
        self.buckets = list(buckets)
        self.exemplars = list(map(exemplar_of, exemplars))


Series = SumSeries | GaugeSeries | HistogramSeries


def new_series(instrument: MetricInstrument, labels: Labels, now_ns: int) -> Series:
    """Empty series of an instrument."""
    if instrument.kind == pb.INSTRUMENT_KIND_HISTOGRAM:
        return HistogramSeries(labels, now_ns, instrument.bounds)
    return GaugeSeries(labels, now_ns) if instrument.kind == pb.INSTRUMENT_KIND_GAUGE else SumSeries(labels, now_ns)


def exemplar_row(exemplar: Exemplar | None) -> Row | None:
    """Exemplar as plain values, ids in hex."""
    if exemplar is None:
        return None
    return (exemplar.value, exemplar.time_ns, exemplar.trace_id.hex(), exemplar.span_id.hex())


def exemplar_of(row: Row | None) -> Exemplar | None:
    """Exemplar of a row."""
    return None if row is None else Exemplar(row[0], row[1], bytes.fromhex(row[2]), bytes.fromhex(row[3]))


def labels_of(rows: Sequence[Sequence[str]]) -> Labels:
    """Labels of plain values."""
    return tuple((name, value) for name, value in rows)


class SeriesCapture:
    """Rows of series as at the moment of the call, read once.

    A checkpoint of many series takes longer to write than ingest may wait. So it reads a part at a time, and a series
    that is about to change before its turn hands over its row first: copy on write. A series names in `reader` the
    capture that has its row; its next change need not be reported.
    """

    def __init__(self, series: Iterable[Series]) -> None:
        self._series = list(series)
        self._held: dict[int, Row] = {}
        self.done = False

    def hold(self, series: Series) -> None:
        """Keep the row of a series that is about to change, unless it was read."""
        if series.reader is not self:
            series.reader = self
            self._held[id(series)] = series.row()

    def parts(self) -> Iterator[list[Row]]:
        """Yield the rows, some at a time; between two parts the series may change."""
        source, held = iter(self._series), self._held
        while some := list(islice(source, CAPTURE_ROWS)):
            rows = [held[id(series)] if series.reader is self else series.row() for series in some]
            for series in some:
                series.reader = self
            yield rows
        self.done = True
        self._series, self._held = [], {}


class InstrumentTable:
    """Instrument of one producer and its series. `owner` is the stream that last claimed its definition.

    Labels in alphabetical order are the key of a series: two event types may name them in different orders.
    """

    __slots__ = ("capture", "frozen", "instrument", "kept", "owner", "owner_session", "retired", "series")

    def __init__(self, instrument: MetricInstrument, owner: int, owner_session: str) -> None:
        self.instrument = instrument
        self.owner = owner
        self.owner_session = owner_session
        self.series: dict[Labels, Series] = {}
        self.kept: set[Labels] = set()
        """Series that a definition names as presets: they do not expire, in a replay either."""
        self.retired = False
        """True after a newer definition took the name: event types of older streams still point here."""
        self.frozen: Family | None = None
        self.capture: SeriesCapture | None = None
        """Capture that a checkpoint has begun to read; `before_change` keeps it true."""

    def idle(self, before_ns: int) -> list[Labels]:
        """Series without a measurement since `before_ns`, except kept ones."""
        return [key for key, series in self.series.items() if series.touched_ns < before_ns and key not in self.kept]

    def freeze(self) -> Family:
        """Family of the snapshot; the same object until a series changes."""
        if self.frozen is None:
            item = self.instrument
            self.frozen = Family(
                name=item.name,
                kind=item.kind,
                unit=item.unit,
                description=item.description,
                bounds=item.bounds,
                points=[series.freeze() for series in self.series.values()],
            )
        return self.frozen

    def before_change(self, series: Series) -> None:
        """Hand the row of a series that takes measurements next to the capture that may still want it."""
        if self.capture is not None:
            if self.capture.done:
                self.capture = None
            else:
                self.capture.hold(series)
        series.reader = self.capture

    def captured(self) -> Row:
        """State as plain values; the rows of the series are a capture of this moment."""
        item = self.instrument
        self.capture = SeriesCapture(self.series.values())
        definition = [item.name, int(item.kind), item.unit, item.description, item.bounds]
        return [definition, self.owner, self.owner_session, self.capture, sorted(self.kept)]

    @classmethod
    def from_capture(cls, captured: Sequence[Any]) -> InstrumentTable:
        """Table of a `captured` state."""
        (name, kind, unit, description, bounds), owner, owner_session, rows, kept = captured
        instrument = MetricInstrument(name=name, kind=kind, unit=unit, description=description, bounds=tuple(bounds))
        table = cls(instrument, owner, owner_session)
        table.kept = set(map(labels_of, kept))
        for row in rows:
            # A row begins with labels and start, of whatever kind the series is.
            series = new_series(instrument, labels_of(row[0]), row[1])
            series.restore(row)
            table.series[tuple(sorted(series.labels))] = series
        return table


def identity(instrument: MetricInstrument) -> tuple[int, str, tuple[float, ...]]:
    """Properties on which all definitions of one instrument's name must agree."""
    return instrument.kind, instrument.unit, instrument.bounds
