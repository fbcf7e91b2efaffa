"""Declarations of events: the role of each field of a named tuple, its metrics and its log record.

    CATALOGUE = Catalogue()

    @CATALOGUE.event("bakery.loaf.baked", log=Log(pb.SEVERITY_INFO, "Loaf baked"))
    @Counter("bakery.loaves", "{loaf}", "Loaves baked.")
    class LoafBaked(NamedTuple):
        kind: Label[str]
        duration_s: Measure[float]

A field is `str`, `float`, `int` or `bool`, with `| None` if it may be absent. A `Label` becomes an attribute of
metrics and of the log record; a `Measure` is a number that instruments record; every other field is an attribute of
the log record only. The class stays a plain named tuple, so a declaration costs nothing when an event is made.
"""

from __future__ import annotations

import itertools
import math
import re
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Annotated, Any, ClassVar, TypeVar

from pod_runtime.reserved_metrics import RESERVED, is_reserved
from telemetry_contract.v1 import telemetry_pb2 as pb

T = TypeVar("T")
Label = Annotated[T, pb.FIELD_ROLE_LABEL]
Measure = Annotated[T, pb.FIELD_ROLE_MEASURE]

_NAME = re.compile(r"[a-z][a-z0-9_.]{0,127}")
MAX_BOUNDS = 64  # of the contract: each bucket is a series of each set of labels
# Default of an instrument's labels: every label of its event, in the order of the fields.
ALL_LABELS = ("*",)
_DECORATED = "__instruments__"
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


@dataclass(frozen=True, slots=True)
class MetricInstrument:
    """Base of the four kinds of instruments that an event may feed. The first three arguments are OpenTelemetry's.

    `labels` are all labels of the event unless some are named. `measure` may be left out if the event has one only.
    """

    name: str
    unit: str = ""
    description: str = ""
    _: KW_ONLY
    labels: tuple[str, ...] = ALL_LABELS
    measure: str = ""
    only_when: Mapping[str, str] = field(default_factory=dict)
    """Values that labels of the event must have; other events leave the instrument alone."""
    constant: Mapping[str, str] = field(default_factory=dict)
    """Labels whose values the declaration gives, beside those that the event brings."""
    presets: tuple[tuple[str, ...], ...] = ()
    """Values of `labels` whose series exist at zero before their first event, so that a rate sees that event."""
    absent_ends: bool = False
    """A measure of None says that the series is no longer observed: it leaves, and begins anew with its next value."""
    buckets: tuple[float, ...] = ()
    """Upper bounds in ascending order, of a histogram only; the last bucket has none."""
    kind: ClassVar[pb.InstrumentKind.ValueType] = pb.INSTRUMENT_KIND_UNSPECIFIED

    def __call__(self, kind: type[T]) -> type[T]:
        """Decorates a named tuple, below the `event` of a catalogue: its events feed this instrument."""
        # Decorators run from the class upwards: each goes before those that ran, so that they keep the written order.
        setattr(kind, _DECORATED, (self, *vars(kind).get(_DECORATED, ())))
        return kind

    @property
    def meaning(self) -> tuple[object, ...]:
        """Kind, unit and buckets: one name may have only one of each."""
        return self.kind, self.unit, self.buckets


class Counter(MetricInstrument):
    """Adds `measure`; 1 for each event if no measure is named."""

    kind = pb.INSTRUMENT_KIND_COUNTER


class UpDownCounter(MetricInstrument):
    """Adds `measure`, which may be negative; ends with the process."""

    kind = pb.INSTRUMENT_KIND_UP_DOWN_COUNTER


class Gauge(MetricInstrument):
    """Holds the last `measure`; ends with the process."""

    kind = pb.INSTRUMENT_KIND_GAUGE


class Histogram(MetricInstrument):
    """Counts `measure` into `buckets`."""

    kind = pb.INSTRUMENT_KIND_HISTOGRAM


@dataclass(frozen=True, slots=True)
class Log:
    """The log record that an event becomes: its severity and its constant body."""

    severity: pb.Severity.ValueType
    body: str


@dataclass(frozen=True, slots=True)
class Column:
    """A field of an event: its name, Python type, role, and whether it may be absent."""

    name: str
    type: type
    role: pb.FieldRole.ValueType
    optional: bool

    def takes(self, value: object) -> bool:
        """True for a value of the column's type; a whole number is a float too."""
        if value is None:
            return self.optional
        return isinstance(value, self.type) or (self.type is float and isinstance(value, int))

    @property
    def words(self) -> str:
        """The type as annotations write it."""
        return self.type.__name__ + (" | None" if self.optional else "")


@dataclass(frozen=True, slots=True)
class Event:
    """A named tuple with its name, metrics and log record. Raises DeclarationError with every fault."""

    type: type[tuple[Any, ...]]
    name: str
    _: KW_ONLY
    instruments: tuple[MetricInstrument, ...] = ()
    log: Log | None = None
    reserved: bool = False
    """Events of this type may use the part of the spool that is kept when it fills up."""
    columns: tuple[Column, ...] = field(init=False, repr=False)
    """The fields in the order of the tuple."""

    def __post_init__(self) -> None:
        # The hints are resolved once: at 50 events, each look at them would cost the start of a process milliseconds.
        hints = typing.get_type_hints(self.type, include_extras=True)
        columns = tuple(_column(name, hints[name]) for name in getattr(self.type, "_fields", ()))
        object.__setattr__(self, "columns", columns)
        object.__setattr__(self, "instruments", tuple(map(self._completed, self.instruments)))
        if faults := [f"{self.type.__name__}: {fault}" for fault in _faults(self)]:
            raise DeclarationError(faults)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the fields that are labels."""
        return tuple(column.name for column in self.columns if column.role == pb.FIELD_ROLE_LABEL)

    @property
    def measures(self) -> tuple[str, ...]:
        """Names of the fields that are measures."""
        return tuple(column.name for column in self.columns if column.role == pb.FIELD_ROLE_MEASURE)

    @property
    def doc(self) -> str:
        """First line of the class's docstring."""
        return (self.type.__doc__ or "").strip().splitlines()[0]

    def _completed(self, item: MetricInstrument) -> MetricInstrument:
        """The instrument with the labels and the measure that its declaration left to the event."""
        only = self.measures[0] if len(self.measures) == 1 and not isinstance(item, Counter) else ""
        labels = self.labels if item.labels == ALL_LABELS else item.labels
        return replace(item, labels=labels, measure=item.measure or only)


def _column(name: str, hint: Any) -> Column:
    role = pb.FIELD_ROLE_ATTRIBUTE
    if typing.get_origin(hint) is Annotated:
        hint, role = typing.get_args(hint)
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        inner = [item for item in typing.get_args(hint) if item is not types.NoneType]
        return Column(name, inner[0] if len(inner) == 1 else object, role, optional=True)
    return Column(name, hint, role, optional=False)


def _faults(event: Event) -> Iterator[str]:
    if not event.columns:
        yield "is not a named tuple with fields"
    if not _NAME.fullmatch(event.name):
        yield f"name {event.name!r} must be {_NAME.pattern}"
    for column in event.columns:
        # No Decimal: a column is a text or a number of the wire format. Events carry amounts of money as texts.
        if column.type not in COLUMN_TYPES:
            yield f"field {column.name!r} must be str, float, int or bool, or one of them | None"
        if column.role == pb.FIELD_ROLE_MEASURE and column.type not in (int, float):
            yield f"measure {column.name!r} must be int or float"
    for item in event.instruments:
        yield from (f"instrument {item.name!r}: {fault}" for fault in _instrument_faults(item, event))


def _name_faults(name: str) -> Iterator[str]:
    if not _NAME.fullmatch(name):
        yield f"name must be {_NAME.pattern}"
    if is_reserved(name):
        yield f"{RESERVED} are names of Prometheus and of the sidecar: begin with a word of your own"


def _instrument_faults(item: MetricInstrument, event: Event) -> Iterator[str]:
    yield from _name_faults(item.name)
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
    if item.buckets and not isinstance(item, Histogram):
        yield "only a histogram has buckets"


def combinations(*values: Iterable[str]) -> tuple[tuple[str, ...], ...]:
    """Presets: each combination of the values of each label; without labels the one empty combination."""
    return tuple(itertools.product(*values))


def sound_bounds(bounds: tuple[float, ...]) -> bool:
    """True if `bounds` may bound a histogram's buckets."""
    ascending = all(low < high for low, high in itertools.pairwise(bounds))
    return 0 < len(bounds) <= MAX_BOUNDS and ascending and all(map(math.isfinite, bounds))


class Catalogue:
    """Event types of a producer, in the order of their ids on the stream, which count from 1.

    Raises DeclarationError if a name or type stands twice, or two events disagree about an instrument.
    """

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.events: list[Event] = []
        self._meanings: dict[str, tuple[object, ...]] = {}
        self._add(*events)

    def event(self, name: str, *, log: Log | None = None, reserved: bool = False) -> Callable[[type[T]], type[T]]:
        """Decorator that declares a named tuple, with the instruments below, as the next event type."""

        def declare(kind: type[T]) -> type[T]:
            named = typing.cast("type[tuple[Any, ...]]", kind)  # `Event` names the fault if it is no named tuple
            self._add(Event(named, name, instruments=vars(kind).get(_DECORATED, ()), log=log, reserved=reserved))
            return kind

        return declare

    def _add(self, *events: Event) -> None:
        faults: list[str] = []
        for event in events:
            faults += self._faults(event)
            self.events.append(event)
        if faults:
            raise DeclarationError(faults)

    def _faults(self, event: Event) -> Iterator[str]:
        for attribute in ("name", "type"):
            value = getattr(event, attribute)
            if any(getattr(other, attribute) == value for other in self.events):
                yield f"{attribute} {value!r} stands twice"
        for item in event.instruments:
            # Two events may feed one instrument; descriptions may differ, as they do not change what is recorded.
            if self._meanings.setdefault(item.name, item.meaning) != item.meaning:
                yield f"instrument {item.name!r} of {event.name} differs in kind, unit or buckets"

    def defines(self, constant_labels: Mapping[str, str]) -> tuple[pb.Define, ...]:
        """The definitions for the stream; `constant_labels` go on every instrument."""
        return tuple(define(event, code, constant_labels) for code, event in enumerate(self.events, start=1))


def define(event: Event, code: int, constant_labels: Mapping[str, str]) -> pb.Define:
    """The definition of one event type under the id `code`."""
    made = pb.Define(event_id=code, name=event.name, reserved=event.reserved)
    for column in event.columns:
        made.fields.add(name=column.name, type=COLUMN_TYPES[column.type], role=column.role)
    for item in event.instruments:
        made.instruments.add(
            name=item.name,
            kind=item.kind,
            unit=item.unit,
            description=item.description,
            measure=item.measure,
            labels=item.labels,
            bounds=item.buckets,
            absent_ends=item.absent_ends,
            only_when=item.only_when,
            constant_labels={**constant_labels, **item.constant},
            presets=[pb.LabelValues(values=values) for values in item.presets],
        )
    if event.log is not None:
        made.log.CopyFrom(pb.LogTemplate(severity=event.log.severity, body=event.log.body))
    return made
