"""What one event type's columns measure on one instrument."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar, cast

from sidecar.metrics.columns import Columns, Keys, kept, kept_keys, last_rows, partition, without
from sidecar.metrics.series import Histogram, Last, Series, Sum
from sidecar.telemetry.model import EventType, Exemplar, Instrument, Labels
from telemetry_contract.v1 import telemetry_pb2 as pb

Find = Callable[[tuple[str, ...], int], Series]
"""The series of label values, for so many measurements."""


class Fed(Protocol):
    """What a feed fills: the instrument's series, as the aggregate keeps them."""

    instrument: Instrument


T = TypeVar("T", bound=Fed)


@dataclass(slots=True)
class Feed(Generic[T]):
    """How one event type feeds one instrument: places of its labels and its measure among the columns."""

    table: T
    names: tuple[str, ...]
    labels: tuple[int, ...]
    measure: int | None
    wanted: Sequence[tuple[int, str]]
    constant: Labels
    presets: tuple[tuple[str, ...], ...] = ()
    cache: dict[tuple[str, ...], Series] = field(default_factory=dict)

    @classmethod
    def of(cls, kind: EventType, instrument: Instrument, table: T) -> Feed[T]:
        """The feed of `instrument` by events of `kind`."""
        places = {item.name: place for place, item in enumerate(kind.fields)}
        return cls(
            table=table,
            names=instrument.labels,
            labels=tuple(places[name] for name in instrument.labels),
            measure=places[instrument.measure] if instrument.measure else None,
            wanted=[(places[name], text) for name, text in instrument.only_when],
            constant=instrument.constant_labels,
            presets=instrument.presets,
        )


class Measuring(Generic[T]):
    """One group on one feed. `refused` counts the numbers that the instrument cannot take."""

    __slots__ = ("_columns", "_feed", "_find", "_first_sequence", "_keep", "_keys", "_now_ns", "refused")

    def __init__(self, columns: Columns, feed: Feed[T], find: Find, first_sequence: int, now_ns: int) -> None:
        self._columns = columns
        self._feed = feed
        self._find = find
        self._first_sequence = first_sequence
        self._now_ns = now_ns
        self._keys: Keys | None = columns.keys(feed.labels) if feed.labels else None
        self._keep = columns.matching(feed.wanted) if feed.wanted else None
        self.refused = 0

    def record(self) -> None:
        """Takes every measurement."""
        kind = self._feed.table.instrument.kind
        if self._feed.measure is None:
            self._count()
        elif kind == pb.INSTRUMENT_KIND_GAUGE:
            self._set(self._numbers(monotonic=False)[0])
        else:
            self._add(self._numbers(monotonic=kind == pb.INSTRUMENT_KIND_COUNTER)[1])

    def keep_exemplars(self, rows: Sequence[int]) -> None:
        """Keeps the traces of the measurements of `rows`, on counters and histograms."""
        if self._feed.table.instrument.kind not in _EXEMPLAR_KINDS:
            return
        values = None if self._feed.measure is None else self._columns.measure(self._feed.measure)[0]
        for row in rows:
            if self._keep is None or self._keep[row]:
                key = () if self._keys is None else self._keys[row]
                value = 1 if values is None else values[row]
                series = cast("Sum | Histogram", self._series(key, 0))
                series.keep_exemplar(Exemplar(value, self._columns.time_ns(row), *self._columns.trace_ids(row)))

    def _series(self, key: Hashable, events: int) -> Series:
        labels = self._feed.labels
        return self._find(self._columns.texts(labels, key) if labels else (), events)

    def _count(self) -> None:
        keys = kept_keys(self._keep, self._keys)
        if keys is None:
            events = self._columns.count if self._keep is None else sum(self._keep)
            tally: dict[Hashable, int] = {(): events} if events else {}
        else:
            tally = Counter(keys)
        for key, events in tally.items():
            cast("Sum", self._series(key, events)).count(events, self._now_ns)

    def _numbers(self, *, monotonic: bool) -> tuple[Sequence[float], Sequence[float]]:
        """All numbers, and those that are there and sound; `_keep` then names the latter."""
        values, absent = self._columns.measure(cast("int", self._feed.measure))
        self._keep = without(absent, self._columns.count, self._keep)
        taken = kept(self._keep, values)
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
        for key, part in partition(kept_keys(self._keep, self._keys), values):
            series = self._series(key, len(part))
            if isinstance(series, Histogram):
                series.record(part, self._now_ns)
            else:
                cast("Sum", series).add(part, self._now_ns)

    def _set(self, values: Sequence[float]) -> None:
        columns = self._columns
        for key, row in last_rows(self._keys, self._keep, columns.count):
            series = cast("Last", self._series(key, 1))
            sequence = self._first_sequence + columns.offset(row)
            series.set(values[row], sequence, columns.time_ns(row), self._now_ns)


_EXEMPLAR_KINDS = frozenset({pb.INSTRUMENT_KIND_COUNTER, pb.INSTRUMENT_KIND_HISTOGRAM})
