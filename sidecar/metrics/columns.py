"""The columns of one group, decoded once for all the instruments that it feeds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import compress, repeat

from sidecar.ingest.validate import SPAN_ID_BYTES, TRACE_ID_BYTES
from sidecar.telemetry.model import EventType
from telemetry_contract.v1 import telemetry_pb2 as pb

SAMPLED = 1
MAX_EXEMPLAR_ROWS = 16
"""Sampled events looked at in one group: the latest ones, for exemplars are a sample."""

Keys = Sequence[Hashable]


class Label:
    """A label column: one code for each event, and the text of a code. An absent value is the empty text."""

    __slots__ = ("codes", "texts")

    def __init__(self, codes: Sequence[Hashable], texts: Sequence[str] | None) -> None:
        self.codes = codes
        self.texts = texts

    def text(self, code: Hashable) -> str:
        """The label's value that `code` stands for."""
        return str(code) if self.texts is None else self.texts[code]  # type: ignore[call-overload] # a code of a dictionary is its index


class Columns:
    """A validated group of one event type."""

    __slots__ = ("_keys", "_labels", "_measures", "count", "group", "kind")

    def __init__(self, group: pb.Group, kind: EventType) -> None:
        self.group = group
        self.kind = kind
        self.count = group.count
        self._labels: dict[int, Label] = {}
        self._keys: dict[tuple[int, ...], Keys] = {}
        self._measures: dict[int, tuple[Sequence[float], Sequence[int]]] = {}

    def label(self, place: int) -> Label:
        """The label column of field `place`."""
        found = self._labels.get(place)
        if found is None:
            self._labels[place] = found = _label(self.group.columns[place], self.kind.fields[place].type)
        return found

    def keys(self, places: tuple[int, ...]) -> Keys:
        """What tells the label combinations of `places` apart: one key for each event."""
        found = self._keys.get(places)
        if found is None:
            codes = [self.label(place).codes for place in places]
            found = codes[0] if len(codes) == 1 else list(zip(*codes, strict=True))
            self._keys[places] = found
        return found

    def texts(self, places: tuple[int, ...], key: Hashable) -> tuple[str, ...]:
        """The label values that a key of `keys(places)` stands for."""
        if len(places) == 1:
            return (self.label(places[0]).text(key),)
        return tuple(self.label(place).text(code) for place, code in zip(places, key, strict=True))  # type: ignore[call-overload] # a key of several places is a tuple

    def measure(self, place: int) -> tuple[Sequence[float], Sequence[int]]:
        """The numbers of field `place`, and the rows that have none (their numbers are fillers)."""
        found = self._measures.get(place)
        if found is None:
            column = self.group.columns[place]
            values = column.doubles[:] if self.kind.fields[place].type == pb.FIELD_TYPE_DOUBLE else column.integers[:]
            self._measures[place] = found = (values, column.absent[:])
        return found

    def matching(self, wanted: Sequence[tuple[int, str]]) -> list[bool]:
        """For each event, whether its labels have the wanted values."""
        keep = [True] * self.count
        for place, text in wanted:
            label = self.label(place)
            if label.texts is None:
                keep = [kept and code == text for kept, code in zip(keep, label.codes, strict=True)]
            else:
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
        """The latest events whose trace is sampled."""
        if not self.group.HasField("trace"):
            return []
        flags = self.group.trace.flags
        rows = (row for row in range(len(flags) - 1, -1, -1) if flags[row] & SAMPLED)
        latest = [row for row, _ in zip(rows, range(MAX_EXEMPLAR_ROWS), strict=False)]
        return [row for row in reversed(latest) if any(self.trace_ids(row)[0])]

    def trace_ids(self, row: int) -> tuple[bytes, bytes]:
        """Trace id and span id of an event."""
        trace = self.group.trace
        return (
            trace.trace_ids[row * TRACE_ID_BYTES : (row + 1) * TRACE_ID_BYTES],
            trace.span_ids[row * SPAN_ID_BYTES : (row + 1) * SPAN_ID_BYTES],
        )


def _label(column: pb.Column, kind: int) -> Label:
    if kind == pb.FIELD_TYPE_STRING and column.indexes:
        codes = column.indexes[:]
        texts = [*column.values, ""]
        for row in column.absent:
            codes[row] = len(texts) - 1
        return Label(codes, texts)
    plain = _plain_texts(column, kind)
    for row in column.absent:
        plain[row] = ""
    return Label(plain, None)


def _plain_texts(column: pb.Column, kind: int) -> list[str]:
    if kind == pb.FIELD_TYPE_STRING:
        return column.values[:]
    if kind == pb.FIELD_TYPE_BOOL:
        return ["true" if value else "false" for value in column.booleans]
    return list(map(str, column.integers if kind == pb.FIELD_TYPE_INT64 else column.doubles))


def partition(keys: Keys | None, values: Sequence[float]) -> Iterable[tuple[Hashable, Sequence[float]]]:
    """`values` by their key; one key for all is common, and found without a dictionary."""
    if keys is None:
        return [((), values)] if values else []
    if not keys:
        return []
    if keys.count(keys[0]) == len(keys):
        return [(keys[0], values)]
    parts: defaultdict[Hashable, list[float]] = defaultdict(list)
    for key, value in zip(keys, values, strict=True):
        parts[key].append(value)
    return parts.items()


def kept(keep: Sequence[bool] | None, values: Sequence[float]) -> Sequence[float]:
    """The values that `keep` names; all of them without it."""
    return values if keep is None else list(compress(values, keep))


def kept_keys(keep: Sequence[bool] | None, keys: Keys | None) -> Keys | None:
    """The keys that `keep` names; all of them without it."""
    return keys if keep is None or keys is None else list(compress(keys, keep))


def without(rows: Sequence[int], count: int, keep: list[bool] | None) -> list[bool] | None:
    """`keep` without `rows`."""
    if not rows:
        return keep
    keep = [True] * count if keep is None else keep
    for row in rows:
        keep[row] = False
    return keep


def last_rows(keys: Keys | None, keep: Sequence[bool] | None, count: int) -> Iterator[tuple[Hashable, int]]:
    """The last row of each key."""
    every: Iterable[Hashable] = repeat((), count) if keys is None else keys
    pairs = zip(every, range(count), strict=True)
    return iter(dict(pairs if keep is None else compress(pairs, keep)).items())
