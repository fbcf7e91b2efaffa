"""Declaring events: what becomes of each field of a named tuple, and of the event as a whole.

A field named in `labels` becomes an attribute of metrics and of the log record, one named in `measures` a
number to record; every other field is an attribute of the log record only. A field's type is its annotation:
`str`, `float`, `int` or `bool`, with `| None` where it may be absent.
"""

from __future__ import annotations

import functools
import itertools
import math
import re
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from telemetry_contract.v1 import telemetry_pb2 as pb

_NAME = re.compile(r"[a-z][a-z0-9_.]{0,127}")
MAX_BOUNDS = 64
COLUMN_TYPES: Mapping[type, pb.FieldType.ValueType] = {
    str: pb.FIELD_TYPE_STRING,
    float: pb.FIELD_TYPE_DOUBLE,
    int: pb.FIELD_TYPE_INT64,
    bool: pb.FIELD_TYPE_BOOL,
}


class DeclarationError(ValueError):
    """Declarations break rules of the contract; `faults` lists all of them."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """What an event measures; use one of its four kinds."""

    name: str
    description: str
    unit: str = ""
    labels: tuple[str, ...] = ()
    only_when: Mapping[str, str] = field(default_factory=dict)
    measure: str = ""
    constant: Mapping[str, str] = field(default_factory=dict)
    """Labels whose values the declaration gives, beside those that the event brings."""
    presets: tuple[tuple[str, ...], ...] = ()
    """Values of `labels` whose series exist at zero before their first event: a rate sees that event."""

    kind: typing.ClassVar[pb.InstrumentKind.ValueType] = pb.INSTRUMENT_KIND_UNSPECIFIED

    @property
    def bounds(self) -> tuple[float, ...]:
        """Upper bounds of the buckets; none but a histogram has any."""
        return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Counter(Instrument):
    """Adds `measure`, or 1 for each event."""

    kind: typing.ClassVar[pb.InstrumentKind.ValueType] = pb.INSTRUMENT_KIND_COUNTER


@dataclass(frozen=True, slots=True, kw_only=True)
class UpDownCounter(Instrument):
    """Adds `measure`, which may be negative; ends with the process."""

    kind: typing.ClassVar[pb.InstrumentKind.ValueType] = pb.INSTRUMENT_KIND_UP_DOWN_COUNTER


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauge(Instrument):
    """Holds the last `measure`; ends with the process."""

    kind: typing.ClassVar[pb.InstrumentKind.ValueType] = pb.INSTRUMENT_KIND_GAUGE


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram(Instrument):
    """Counts `measure` into buckets."""

    buckets: tuple[float, ...]

    kind: typing.ClassVar[pb.InstrumentKind.ValueType] = pb.INSTRUMENT_KIND_HISTOGRAM

    @property
    def bounds(self) -> tuple[float, ...]:
        """Upper bounds of the buckets, ascending; the last bucket has none."""
        return self.buckets


@dataclass(frozen=True, slots=True)
class Log:
    """The log record that an event becomes: its severity and its constant body."""

    severity: pb.Severity.ValueType
    body: str


@dataclass(frozen=True, slots=True)
class Column:
    """A field of an event: its name, Python type, and whether it may be absent."""

    name: str
    type: type
    optional: bool

    def takes(self, value: object) -> bool:
        """Whether `value` is of the column's type; a whole number is a number too."""
        if value is None:
            return self.optional
        return isinstance(value, self.type) or (self.type is float and isinstance(value, int))

    @property
    def words(self) -> str:
        """Its type as annotations say it."""
        return self.type.__name__ + (" | None" if self.optional else "")

    @property
    def field_type(self) -> pb.FieldType.ValueType:
        """Its type in the contract."""
        return COLUMN_TYPES[self.type]


@dataclass(frozen=True, slots=True)
class Event:
    """Binds a named tuple to its name, metrics and log record.

    Raises:
        DeclarationError: with every fault.
    """

    type: type[tuple[Any, ...]]
    name: str
    labels: tuple[str, ...] = field(default=(), kw_only=True)
    measures: tuple[str, ...] = field(default=(), kw_only=True)
    instruments: tuple[Instrument, ...] = field(default=(), kw_only=True)
    log: Log | None = field(default=None, kw_only=True)
    reserved: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        faults = [f"{self.type.__name__}: {fault}" for fault in _faults(self)]
        if faults:
            raise DeclarationError(faults)

    @property
    def columns(self) -> tuple[Column, ...]:
        """The fields in the order of the tuple."""
        return _columns(self.type)

    @property
    def doc(self) -> str:
        """What the event says, in one sentence."""
        return (self.type.__doc__ or "").strip().splitlines()[0]

    def role(self, name: str) -> pb.FieldRole.ValueType:
        """What becomes of a field."""
        if name in self.labels:
            return pb.FIELD_ROLE_LABEL
        return pb.FIELD_ROLE_MEASURE if name in self.measures else pb.FIELD_ROLE_ATTRIBUTE


def _names(kind: type[tuple[Any, ...]]) -> tuple[str, ...]:
    return tuple(getattr(kind, "_fields", ()))


@functools.cache
def _columns(kind: type[tuple[Any, ...]]) -> tuple[Column, ...]:
    hints = typing.get_type_hints(kind)
    return tuple(_column(name, hints[name]) for name in _names(kind))


def _column(name: str, hint: Any) -> Column:
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        inner = [item for item in typing.get_args(hint) if item is not types.NoneType]
        return Column(name, inner[0] if len(inner) == 1 else object, optional=True)
    return Column(name, hint, optional=False)


def _faults(event: Event) -> Iterator[str]:
    names = _names(event.type)
    if not names:
        yield "is not a named tuple with fields"
    if not _NAME.fullmatch(event.name):
        yield f"name {event.name!r} must be {_NAME.pattern}"
    yield from _column_faults(event)
    for item in event.instruments:
        yield from (f"instrument {item.name!r}: {fault}" for fault in _instrument_faults(item, event))


def _column_faults(event: Event) -> Iterator[str]:
    columns = {column.name: column for column in event.columns}
    for column in columns.values():
        if column.type not in COLUMN_TYPES:
            yield f"field {column.name!r} must be str, float, int or bool, or one of them | None"
    for name in (*event.labels, *event.measures):
        if name not in columns:
            yield f"{name!r} is not a field"
    for name in event.measures:
        if name in columns and columns[name].type not in (int, float):
            yield f"measure {name!r} must be int or float"
    if both := set(event.labels) & set(event.measures):
        yield f"{sorted(both)} cannot be label and measure"


def _instrument_faults(item: Instrument, event: Event) -> Iterator[str]:
    if not _NAME.fullmatch(item.name):
        yield f"name must be {_NAME.pattern}"
    if item.measure and item.measure not in event.measures:
        yield f"{item.measure!r} is not one of the event's measures"
    if not item.measure and not isinstance(item, Counter):
        yield "needs a measure: only a counter records 1 for each event"
    for name in (*item.labels, *item.only_when):
        if name not in event.labels:
            yield f"{name!r} is not one of the event's labels"
    if both := set(item.labels) & set(item.constant):
        yield f"{sorted(both)} cannot be a label of the event and a constant one"
    if any(len(values) != len(item.labels) for values in item.presets):
        yield f"each preset needs a value for each of its {len(item.labels)} labels"
    if isinstance(item, Histogram) and not sound_bounds(item.buckets):
        yield f"buckets must be 1 to {MAX_BOUNDS}, finite and ascending"


def sound_bounds(bounds: tuple[float, ...]) -> bool:
    """Whether `bounds` may bound a histogram's buckets."""
    ascending = all(low < high for low, high in itertools.pairwise(bounds))
    return 0 < len(bounds) <= MAX_BOUNDS and ascending and all(map(math.isfinite, bounds))


class Catalogue:
    """All event types of a producer; the place of one, from 1 on, is its id on the stream.

    Raises:
        DeclarationError: a name or type stands twice, or two events disagree about an instrument.
    """

    def __init__(self, events: Iterable[Event]) -> None:
        self.events = tuple(events)
        faults = [*self._repeated(), *self._disagreements()]
        if faults:
            raise DeclarationError(faults)

    def _repeated(self) -> Iterator[str]:
        for attribute in ("name", "type"):
            values = [getattr(event, attribute) for event in self.events]
            yield from (f"{attribute} {value!r} stands twice" for value in set(values) if values.count(value) > 1)

    def _disagreements(self) -> Iterator[str]:
        seen: dict[str, tuple[object, ...]] = {}
        for event in self.events:
            for item in event.instruments:
                shape = (item.kind, item.unit, item.bounds)
                if seen.setdefault(item.name, shape) != shape:
                    yield f"instrument {item.name!r} of {event.name} differs in kind, unit or buckets"

    def defines(self, constant_labels: Mapping[str, str]) -> tuple[pb.Define, ...]:
        """The definitions for the stream; `constant_labels` go on every instrument."""
        return tuple(define(event, code, constant_labels) for code, event in enumerate(self.events, start=1))


def define(event: Event, code: int, constant_labels: Mapping[str, str]) -> pb.Define:
    """The definition of one event type under the id `code`."""
    made = pb.Define(event_id=code, name=event.name, reserved=event.reserved)
    for column in event.columns:
        made.fields.add(name=column.name, type=column.field_type, role=event.role(column.name))
    for item in event.instruments:
        made.instruments.append(_instrument(item, constant_labels))
    if event.log is not None:
        made.log.CopyFrom(pb.LogTemplate(severity=event.log.severity, body=event.log.body))
    return made


def _instrument(item: Instrument, constant_labels: Mapping[str, str]) -> pb.Instrument:
    return pb.Instrument(
        name=item.name,
        kind=item.kind,
        unit=item.unit,
        description=item.description,
        measure=item.measure,
        labels=item.labels,
        bounds=item.bounds,
        only_when=item.only_when,
        constant_labels={**constant_labels, **item.constant},
        presets=[pb.LabelValues(values=values) for values in item.presets],
    )
