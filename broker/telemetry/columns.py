"""Rows into the columns of a Batch. An event costs a few appends in C; a bad value costs only itself."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from telemetry.v1 import telemetry_pb2 as pb

from broker.telemetry.spool_file import Row
from broker.telemetry.trace import TRACE_BYTES

FIXED = 3
"""Event id, time and trace come first in a row."""
MIN_INT64, MAX_INT64 = -(1 << 63), (1 << 63) - 1
_NO_TRACE = bytes(TRACE_BYTES)
_code = itemgetter(0)


@dataclass(frozen=True, slots=True)
class Kind:
    """How the rows of an event type become columns."""

    name: str
    types: tuple[int, ...]


def kinds(defines: Iterable[pb.Define]) -> Mapping[int, Kind]:
    """The event types by their ids."""
    return {item.event_id: Kind(item.name, tuple(field.type for field in item.fields)) for item in defines}


def fill(
    batch: pb.Batch, first: int, rows: Sequence[Row], types: Mapping[int, Kind], mended: Counter[tuple[str, str]]
) -> None:
    """Fills an empty Batch with consecutive rows, the first of which has sequence `first`.

    A value that does not fit its column becomes the nearest that does, or is left out; `mended` counts it by
    event name and reason.
    """
    batch.first_sequence = first
    batch.count = len(rows)
    codes = list(map(_code, rows))
    if codes.count(codes[0]) == len(codes):
        _group(batch.groups.add(event_id=codes[0]), rows, types.get(codes[0]), mended)
        return
    places: defaultdict[int, list[int]] = defaultdict(list)
    for place, code in enumerate(codes):
        places[code].append(place)
    for code, offsets in places.items():
        group = batch.groups.add(event_id=code, offsets=offsets)
        _group(group, [rows[place] for place in offsets], types.get(code), mended)


def _group(group: pb.Group, rows: Sequence[Row], kind: Kind | None, mended: Counter[tuple[str, str]]) -> None:
    kind = kind or Kind("unknown", ())  # the sidecar refuses the group by name
    group.count = len(rows)
    width = FIXED + len(kind.types)
    if any(len(row) != width for row in rows):
        mended[kind.name, "wrong_arity"] += len(rows)
        rows = [(row + (None,) * width)[:width] for row in rows]
    _, times, traces, *values = zip(*rows, strict=True)
    base = group.base_time_unix_nano = times[0]
    group.time_offsets_nano.extend([time - base for time in times])
    if any(traces):
        _traces(group.trace, traces)
    columns = group.columns
    for column_type, column_values in zip(kind.types, values, strict=True):
        _column(columns.add(), column_type, column_values, kind, mended)


def _traces(column: pb.TraceColumn, traces: Sequence[bytes | None]) -> None:
    known = [trace or _NO_TRACE for trace in traces]
    column.trace_ids = b"".join([trace[:16] for trace in known])
    column.span_ids = b"".join([trace[16:24] for trace in known])
    column.flags = b"".join([trace[24:] for trace in known])


def _column(
    column: pb.Column, column_type: int, values: Sequence[Any], kind: Kind, mended: Counter[tuple[str, str]]
) -> None:
    put, mend = _WAYS[column_type]
    try:
        put(column, values)
    except (TypeError, ValueError, OverflowError):
        column.Clear()
        good = list(map(mend, values))
        put(column, good)
        mended[kind.name, "wrong_type"] += sum(
            1 for before, after in zip(values, good, strict=True) if before is not after
        )


def _absent(column: pb.Column, values: Sequence[Any], filler: Any) -> Sequence[Any]:
    """`values` with a filler where there is none; the column says where."""
    if None not in values:
        return values
    column.absent.extend([place for place, value in enumerate(values) if value is None])
    return [filler if value is None else value for value in values]


def _strings(column: pb.Column, values: Sequence[Any]) -> None:
    values = _absent(column, values, "")
    distinct = dict.fromkeys(values)
    if 2 * len(distinct) > len(values):
        column.values.extend(values)
        return
    column.values.extend(distinct)
    place = dict(zip(distinct, range(len(distinct)), strict=True))
    column.indexes.extend([place[value] for value in values])


def _doubles(column: pb.Column, values: Sequence[Any]) -> None:
    column.doubles.extend(_absent(column, values, 0.0))


def _integers(column: pb.Column, values: Sequence[Any]) -> None:
    column.integers.extend(_absent(column, values, 0))


def _booleans(column: pb.Column, values: Sequence[Any]) -> None:
    column.booleans.extend(_absent(column, values, False))


def _mended_string(value: Any) -> str | None:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:  # a lone surrogate has no UTF-8
            return value.encode("utf-8", "replace").decode()
        return value
    return str(value) if isinstance(value, (int, float)) else None


def _mended_double(value: Any) -> float | None:
    if not isinstance(value, (int, float)):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _mended_integer(value: Any) -> int | None:
    whole = int(value) if isinstance(value, int) or (isinstance(value, float) and value.is_integer()) else None
    return whole if whole is not None and MIN_INT64 <= whole <= MAX_INT64 else None


def _mended_boolean(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


_WAYS: Mapping[int, tuple[Callable[[pb.Column, Sequence[Any]], None], Callable[[Any], Any]]] = {
    pb.FIELD_TYPE_STRING: (_strings, _mended_string),
    pb.FIELD_TYPE_DOUBLE: (_doubles, _mended_double),
    pb.FIELD_TYPE_INT64: (_integers, _mended_integer),
    pb.FIELD_TYPE_BOOL: (_booleans, _mended_boolean),
}
