"""Columns of one event group, decoded once, and the measurements that they make on each instrument.

A group holds the events of one type as columns, labels mostly as indexes into a dictionary. Nothing here walks
events one by one where a whole column can be sliced, counted or partitioned: that is what lets one core take
hundreds of thousands of events a second. Label texts are looked up once for each distinct combination, not for each
event.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import compress, repeat
from typing import NamedTuple, TypeVar, cast

from sidecar.metrics.series import GaugeSeries, HistogramSeries, InstrumentTable, Series, SumSeries
from sidecar.telemetry.model import EventType, Exemplar, Labels, MetricInstrument
from telemetry_contract.v1 import telemetry_pb2 as pb

TRACE_ID_BYTES = 16
SPAN_ID_BYTES = 8
SAMPLED = 1
MAX_EXEMPLAR_ROWS = 16
"""Sampled events used in one group: the latest ones, for exemplars are a sample."""

_EXEMPLAR_KINDS = frozenset({pb.INSTRUMENT_KIND_COUNTER, pb.INSTRUMENT_KIND_HISTOGRAM})

T = TypeVar("T")
Keys = Sequence[Hashable]
FindSeries = Callable[[tuple[str, ...], int], Series]
"""Finds the series of label values that takes so many measurements next."""


class LabelColumn(NamedTuple):
    """Label column: one code for each event, and the text of a code. An absent value is the empty text."""

    codes: Sequence[Hashable]
    texts: Sequence[str] | None

    def text(self, code: Hashable) -> str:
        """Label value that `code` stands for."""
        return str(code) if self.texts is None else self.texts[code]  # type: ignore[call-overload] # a code of a dictionary is its index


class GroupColumns:
    """Validated group of one event type. Each column is decoded at most once, for all instruments it feeds."""

    __slots__ = ("_keys", "_labels", "_measures", "count", "group", "kind")

    def __init__(self, group: pb.Group, kind: EventType) -> None:
        self.group = group
        self.kind = kind
        self.count = group.count
        self._labels: dict[int, LabelColumn] = {}
        self._keys: dict[tuple[int, ...], Keys] = {}
        self._measures: dict[int, tuple[Sequence[float], Sequence[int]]] = {}

    def label(self, place: int) -> LabelColumn:
        """Label column of field `place`."""
        found = self._labels.get(place)
        if found is None:
            # Kept: status or instrument is a label of several instruments of the type.
            self._labels[place] = found = _label_column(self.group.columns[place], self.kind.fields[place].type)
        return found

    def keys(self, places: tuple[int, ...]) -> Keys:
        """One key for each event: equal where the events agree in the labels of `places`."""
        found = self._keys.get(places)
        if found is None:
            codes = [self.label(place).codes for place in places]
            found = codes[0] if len(codes) == 1 else list(zip(*codes, strict=True))
            self._keys[places] = found
        return found

    def texts(self, places: tuple[int, ...], key: Hashable) -> tuple[str, ...]:
        """Label values that a key of `keys(places)` stands for."""
        if len(places) == 1:
            return (self.label(places[0]).text(key),)
        return tuple(self.label(place).text(code) for place, code in zip(places, key, strict=True))  # type: ignore[call-overload] # a key of several places is a tuple

    def measure(self, place: int) -> tuple[Sequence[float], Sequence[int]]:
        """Numbers of field `place`, and the rows that have none (their numbers are fillers)."""
        found = self._measures.get(place)
        if found is None:
            column = self.group.columns[place]
            values = column.doubles[:] if self.kind.fields[place].type == pb.FIELD_TYPE_DOUBLE else column.integers[:]
            self._measures[place] = found = (values, column.absent[:])
        return found

    def matching(self, wanted: Sequence[tuple[int, str]]) -> list[bool]:
        """For each event, True if its labels have the wanted values."""
        keep = [True] * self.count
        for place, text in wanted:
            label = self.label(place)
            if label.texts is None:
                keep = [kept and code == text for kept, code in zip(keep, label.codes, strict=True)]
            else:
                # Several codes may have one text: nothing in the contract makes a dictionary's values distinct.
                codes = {code for code, value in enumerate(label.texts) if value == text}
                keep = [kept and code in codes for kept, code in zip(keep, label.codes, strict=True)]
        return keep

    def offset(self, row: int) -> int:
        """Place of an event in the batch."""
        offsets = self.group.offsets
        return offsets[row] if offsets else row

    def time_ns(self, row: int) -> int:
        """Time of an event."""
        return self.group.base_time_unix_nano + self.group.time_offsets_nano[row]

    def sampled_rows(self) -> list[int]:
        """Rows of the latest events whose trace is sampled."""
        if not self.group.HasField("trace"):
            return []
        flags = self.group.trace.flags
        rows = (row for row in range(len(flags) - 1, -1, -1) if flags[row] & SAMPLED)
        # `zip` asks `rows` first and stops one row late, which is thrown away.
        latest = [row for row, _ in zip(rows, range(MAX_EXEMPLAR_ROWS), strict=False)]
        # An event without a trace has zeros there, which W3C Trace Context calls an invalid id.
        return [row for row in reversed(latest) if any(self.trace_ids(row)[0])]

    def trace_ids(self, row: int) -> tuple[bytes, bytes]:
        """Trace id and span id of an event."""
        trace = self.group.trace
        return (
            trace.trace_ids[row * TRACE_ID_BYTES : (row + 1) * TRACE_ID_BYTES],
            trace.span_ids[row * SPAN_ID_BYTES : (row + 1) * SPAN_ID_BYTES],
        )


def _label_column(column: pb.Column, kind: int) -> LabelColumn:
    if kind == pb.FIELD_TYPE_STRING and column.indexes:
        codes = column.indexes[:]
        # One more text for absent values, whose own code is a filler.
        texts = [*column.values, ""]
        for row in column.absent:
            codes[row] = len(texts) - 1
        return LabelColumn(codes, texts)
    plain = _plain_texts(column, kind)
    for row in column.absent:
        plain[row] = ""
    return LabelColumn(plain, None)


def _plain_texts(column: pb.Column, kind: int) -> list[str]:
    if kind == pb.FIELD_TYPE_STRING:
        return column.values[:]
    if kind == pb.FIELD_TYPE_BOOL:
        return ["true" if value else "false" for value in column.booleans]
    return list(map(str, column.integers if kind == pb.FIELD_TYPE_INT64 else column.doubles))


@dataclass(slots=True)
class InstrumentFeed:
    """Route from one event type to one instrument: places of its labels and its measure among the columns."""

    table: InstrumentTable
    names: tuple[str, ...]
    labels: tuple[int, ...]
    measure: int | None
    wanted: Sequence[tuple[int, str]]
    constant: Labels
    presets: tuple[tuple[str, ...], ...] = ()
    absent_ends: bool = False
    cache: dict[tuple[str, ...], Series] = field(default_factory=dict)
    """Series by label values, in front of the table's sorted keys."""

    @classmethod
    def of(cls, kind: EventType, instrument: MetricInstrument, table: InstrumentTable) -> InstrumentFeed:
        """Feed of `instrument` by events of `kind`."""
        places = {item.name: place for place, item in enumerate(kind.fields)}
        return cls(
            table=table,
            names=instrument.labels,
            labels=tuple(places[name] for name in instrument.labels),
            measure=places[instrument.measure] if instrument.measure else None,
            wanted=[(places[name], text) for name, text in instrument.only_when],
            constant=instrument.constant_labels,
            presets=instrument.presets,
            absent_ends=instrument.absent_ends,
        )


class MetricUpdate:
    """Measurements of one group on one instrument. `refused` counts the numbers that the instrument cannot take."""

    __slots__ = ("_columns", "_feed", "_find", "_first_sequence", "_keep", "_keys", "_now_ns", "refused")

    def __init__(
        self, columns: GroupColumns, feed: InstrumentFeed, find: FindSeries, first_sequence: int, now_ns: int
    ) -> None:
        self._columns = columns
        self._feed = feed
        self._find = find
        self._first_sequence = first_sequence
        self._now_ns = now_ns
        self._keys: Keys | None = columns.keys(feed.labels) if feed.labels else None
        self._keep = columns.matching(feed.wanted) if feed.wanted else None
        self.refused = 0

    def record(self) -> None:
        """Take every measurement."""
        kind = self._feed.table.instrument.kind
        if self._feed.measure is None:
            self._count()
        elif kind == pb.INSTRUMENT_KIND_GAUGE:
            self._set(self._numbers(monotonic=False)[0])
        else:
            self._add(self._numbers(monotonic=kind == pb.INSTRUMENT_KIND_COUNTER)[1])

    def ended(self) -> list[tuple[str, ...]]:
        """Label values whose last event has no value, if that ends a series of this instrument."""
        feed = self._feed
        absent = self._columns.measure(feed.measure)[1] if feed.absent_ends and feed.measure is not None else ()
        if not absent:
            return []
        rows, texts = frozenset(absent), self._columns.texts
        keep = self._columns.matching(feed.wanted) if feed.wanted else None
        last = last_rows(self._keys, keep, self._columns.count)
        return [texts(feed.labels, key) if feed.labels else () for key, row in last if row in rows]

    def keep_exemplars(self, rows: Sequence[int]) -> None:
        """Keep the traces of the measurements of `rows`, on counters and histograms."""
        if self._feed.table.instrument.kind not in _EXEMPLAR_KINDS:
            return
        values = None if self._feed.measure is None else self._columns.measure(self._feed.measure)[0]
        for row in rows:
            if self._keep is None or self._keep[row]:
                key = () if self._keys is None else self._keys[row]
                value = 1 if values is None else values[row]
                series = cast("SumSeries | HistogramSeries", self._series(key, 0))
                series.keep_exemplar(Exemplar(value, self._columns.time_ns(row), *self._columns.trace_ids(row)))

    def _series(self, key: Hashable, events: int) -> Series:
        labels = self._feed.labels
        return self._find(self._columns.texts(labels, key) if labels else (), events)

    def _count(self) -> None:
        keys = None if self._keys is None else kept(self._keep, self._keys)
        if keys is None:
            events = self._columns.count if self._keep is None else sum(self._keep)
            tally: dict[Hashable, int] = {(): events} if events else {}
        else:
            tally = Counter(keys)
        for key, events in tally.items():
            cast("SumSeries", self._series(key, events)).count(events, self._now_ns)

    def _numbers(self, *, monotonic: bool) -> tuple[Sequence[float], Sequence[float]]:
        """All numbers, and those that are present and valid; `_keep` then names the latter."""
        values, absent = self._columns.measure(cast("int", self._feed.measure))
        self._keep = without(absent, self._columns.count, self._keep)
        taken = kept(self._keep, values)
        # One sum finds NaN and infinity in a whole column. A sum of finite numbers may overflow, too: then each
        # number is looked at, and all are kept.
        if taken and (not math.isfinite(sum(taken)) or (monotonic and min(taken) < 0)):
            keep = [True] * len(values) if self._keep is None else self._keep
            self._keep = [
                kept and math.isfinite(value) and (value >= 0 or not monotonic)
                for kept, value in zip(keep, values, strict=True)
            ]
            self.refused = sum(keep) - sum(self._keep)
            taken = kept(self._keep, values)
        return values, taken

    def _add(self, values: Sequence[float]) -> None:
        keys = None if self._keys is None else kept(self._keep, self._keys)
        for key, part in partition(keys, values):
            series = self._series(key, len(part))
            if isinstance(series, HistogramSeries):
                series.record(part, self._now_ns)
            else:
                cast("SumSeries", series).add(part, self._now_ns)

    def _set(self, values: Sequence[float]) -> None:
        columns = self._columns
        for key, row in last_rows(self._keys, self._keep, columns.count):
            series = cast("GaugeSeries", self._series(key, 1))
            sequence = self._first_sequence + columns.offset(row)
            series.set(values[row], sequence, columns.time_ns(row), self._now_ns)


def partition(keys: Keys | None, values: Sequence[float]) -> Iterable[tuple[Hashable, Sequence[float]]]:
    """Split `values` by key. One key for all is common, and needs no dictionary."""
    if keys is None:
        return [((), values)] if values else []
    if not keys:
        return []
    # A count in C over the whole column is cheaper than one look-up for each event.
    if keys.count(keys[0]) == len(keys):
        return [(keys[0], values)]
    parts: defaultdict[Hashable, list[float]] = defaultdict(list)
    for key, value in zip(keys, values, strict=True):
        parts[key].append(value)
    return parts.items()


def kept(keep: Sequence[bool] | None, items: Sequence[T]) -> Sequence[T]:
    """Items that `keep` names; all of them without it."""
    return items if keep is None else list(compress(items, keep))


def without(rows: Sequence[int], count: int, keep: list[bool] | None) -> list[bool] | None:
    """Take `rows` out of `keep`."""
    if not rows:
        return keep
    # `keep` belongs to this update alone, so it is changed in place.
    keep = [True] * count if keep is None else keep
    for row in rows:
        keep[row] = False
    return keep


def last_rows(keys: Keys | None, keep: Sequence[bool] | None, count: int) -> Iterator[tuple[Hashable, int]]:
    """Last row of each key."""
    every: Iterable[Hashable] = repeat((), count) if keys is None else keys
    pairs = zip(every, range(count), strict=True)
    # A dictionary keeps the last value of a key: the pairs come in the order of the events.
    return iter(dict(pairs if keep is None else compress(pairs, keep)).items())
