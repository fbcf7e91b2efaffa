"""What passes between the parts of the telemetry path: definitions, stored batches, snapshots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from telemetry.v1 import telemetry_pb2 as pb

Labels = tuple[tuple[str, str], ...]
"""Attribute names and values in the order of the instrument's labels, constant ones last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A field of an event type; `type` and `role` are numbers of the contract's enums."""

    name: str
    type: pb.FieldType.ValueType
    role: pb.FieldRole.ValueType


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """An instrument as an event type declares it (see `Instrument` in the contract)."""

    name: str
    kind: pb.InstrumentKind.ValueType
    unit: str = ""
    description: str = ""
    measure: str = ""
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()
    only_when: tuple[tuple[str, str], ...] = ()
    constant_labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LogTemplate:
    """What is constant in an event type's log record."""

    severity: int
    severity_field: str = ""
    body: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventType:
    """A validated event type."""

    event_id: int
    name: str
    fields: tuple[Field, ...]
    instruments: tuple[Instrument, ...] = ()
    log: LogTemplate | None = None
    reserved: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Who sent a batch."""

    producer_id: str
    session_id: str
    resource: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in the journal: segment number, byte in it. The next unread record starts there."""

    segment: int = 0
    offset: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredBatch:
    """A batch as the journal holds it, with what is needed to read it.

    Duplicates and rejected groups are gone: every group's type is in `types`, its columns have equal lengths.
    """

    end: Position
    session: Session
    batch: pb.Batch
    types: Mapping[int, EventType]
    received_ns: int


@dataclass(frozen=True, slots=True)
class Exemplar:
    """A measurement that has a sampled trace."""

    value: float
    time_ns: int
    trace_id: bytes
    span_id: bytes


@dataclass(frozen=True, slots=True)
class Number:
    """A point of a counter, up-down counter or gauge."""

    labels: Labels
    start_ns: int
    time_ns: int
    value: float | int
    exemplar: Exemplar | None = None


@dataclass(frozen=True, slots=True)
class Distribution:
    """A point of a histogram: `buckets` has one more entry than the bounds, not cumulated."""

    labels: Labels
    start_ns: int
    time_ns: int
    count: int
    sum: float
    buckets: tuple[int, ...]
    exemplars: tuple[Exemplar | None, ...] = ()
    """None, or one place a bucket."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """An instrument and its series at one moment; all definitions of one name agree in kind, unit and bounds."""

    name: str
    kind: pb.InstrumentKind.ValueType
    unit: str
    description: str
    bounds: tuple[float, ...]
    points: Sequence[Number | Distribution]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProducerMetrics:
    """Everything that one producer's events measured."""

    producer_id: str
    resource: tuple[tuple[str, str], ...]
    families: tuple[Family, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All metrics at one moment; immutable, rendered as /metrics and as OTLP."""

    time_ns: int
    producers: tuple[ProducerMetrics, ...] = field(default=())
