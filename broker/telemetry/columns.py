"""Rows into the columns of a Batch. An event costs a few appends in C; a bad value costs only itself."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from telemetry.v1 import telemetry_pb2 as pb

from broker.telemetry.spool_file import Row
from broker.telemetry.trace import TRACE_BYTES

FIXED = 3
"""Event id, time and trace come first in a row."""
MIN_INT64, MAX_INT64 = -(1 << 63), (1 << 63) - 1
SAMPLE = 16
_NO_TRACE = bytes(TRACE_BYTES)
Put = Callable[[pb.Column, Sequence[Any]], None]


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
    codes = {row[0] for row in rows}
    if len(codes) == 1:
        code = codes.pop()
        _group(batch.groups.add(event_id=code), rows, types.get(code), mended)
        return
    places: defaultdict[int, list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        places[row[0]].append(place)
    for code, offsets in places.items():
        group = batch.groups.add(event_id=code, offsets=offsets)
        _group(group, [rows[place] for place in offsets], types.get(code), mended)


def _group(group: pb.Group, rows: Sequence[Row], kind: Kind | None, mended: Counter[tuple[str, str]]) -> None:
    kind = kind or Kind("unknown", ())  # the sidecar refuses the group by name
    group.count = len(rows)
    _, times, traces, *values = _transposed(rows, kind, mended)
    base = group.base_time_unix_nano = times[0]
    group.time_offsets_nano.extend([time - base for time in times])
    if any(traces):
        _traces(group.trace, traces)
    columns = group.columns
    for column_type, column_values in zip(kind.types, values, strict=True):
        _column(columns.add(), column_type, column_values, kind, mended)


def _transposed(rows: Sequence[Row], kind: Kind, mended: Counter[tuple[str, str]]) -> list[tuple[Any, ...]]:
    width = FIXED + len(kind.types)
    try:
        columns = list(zip(*rows, strict=True))
    except ValueError:
        columns = []
    if len(columns) != width:
        mended[kind.name, "wrong_arity"] += sum(1 for row in rows if len(row) != width)
        columns = list(zip(*[(row + (None,) * width)[:width] for row in rows], strict=True))
    return columns


def _traces(column: pb.TraceColumn, traces: Sequence[bytes | None]) -> None:
    known = [trace or _NO_TRACE for trace in traces]
    column.trace_ids = b"".join([trace[:16] for trace in known])
    column.span_ids = b"".join([trace[16:24] for trace in known])
    column.flags = b"".join([trace[24:] for trace in known])


def _column(
    column: pb.Column, column_type: int, values: Sequence[Any], kind: Kind, mended: Counter[tuple[str, str]]
) -> None:
    try:
        _WAYS[column_type][0](column, values)
    except (TypeError, ValueError, OverflowError):  # None among them, too: rare enough to be found out this way
        column.Clear()
        _put_some(column, column_type, values, kind, mended)


def _put_some(
    column: pb.Column, column_type: int, values: Sequence[Any], kind: Kind, mended: Counter[tuple[str, str]]
) -> None:
    """Fills a column in which values are absent or do not fit."""
    put, mend, filler = _WAYS[column_type]
    try:
        put(column, [filler if value is None else value for value in values])
    except (TypeError, ValueError, OverflowError):
        column.Clear()
        good = list(map(mend, values))
        mended[kind.name, "wrong_type"] += sum(
            1 for before, after in zip(values, good, strict=True) if before is not after
        )
        values = good
        put(column, [filler if value is None else value for value in values])
    column.absent.extend([place for place, value in enumerate(values) if value is None])


def _strings(column: pb.Column, values: Sequence[Any]) -> None:
    if values.count(values[0]) == len(values):
        column.values.append(values[0])
        column.indexes.extend([0] * len(values))
        return
    if len(set(values[:SAMPLE])) > SAMPLE // 2:  # ids: a dictionary would be as long as the column
        column.values.extend(values)
        return
    distinct = dict.fromkeys(values)
    column.values.extend(distinct)
    place = dict(zip(distinct, range(len(distinct)), strict=True))
    column.indexes.extend([place[value] for value in values])


def _doubles(column: pb.Column, values: Sequence[Any]) -> None:
    column.doubles.extend(values)


def _integers(column: pb.Column, values: Sequence[Any]) -> None:
    column.integers.extend(values)


def _booleans(column: pb.Column, values: Sequence[Any]) -> None:
    column.booleans.extend(values)


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


_WAYS: Mapping[int, tuple[Put, Callable[[Any], Any], Any]] = {
    pb.FIELD_TYPE_STRING: (_strings, _mended_string, ""),
    pb.FIELD_TYPE_DOUBLE: (_doubles, _mended_double, 0.0),
    pb.FIELD_TYPE_INT64: (_integers, _mended_integer, 0),
    pb.FIELD_TYPE_BOOL: (_booleans, _mended_boolean, False),
}
