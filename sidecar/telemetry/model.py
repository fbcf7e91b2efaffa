"""Data model of the telemetry path: definitions of events, stored batches, snapshots of metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from telemetry_contract.v1 import telemetry_pb2 as pb

Labels = tuple[tuple[str, str], ...]
"""Attribute names and values in the order of the instrument's labels, constant ones last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A field of an event type; `type` and `role` are numbers of the contract's enums."""

    name: str
    type: pb.FieldType.ValueType
    role: pb.FieldRole.ValueType


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricInstrument:
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
    presets: tuple[tuple[str, ...], ...] = ()
    """Values of the labels of series that exist at zero before their first event."""
    absent_ends: bool = False
    """True if a measurement without a value ends its series."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogTemplate:
    """Constant parts of an event type's log records."""

    severity: int
    severity_field: str = ""
    body: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventType:
    """A validated event type."""

    event_id: int
    name: str
    fields: tuple[Field, ...]
    instruments: tuple[MetricInstrument, ...] = ()
    log: LogTemplate | None = None
    reserved: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A producer's session: the origin of a batch."""

    producer_id: str
    session_id: str
    resource: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, order=True)
class JournalPosition:
    """A place in the journal: segment number, byte in it. The next unread record starts there."""

    segment: int = 0
    offset: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredBatch:
    """A batch as the journal holds it, with the types of its groups.

    Without duplicates and rejected groups: every group's type is in `types`, its columns have equal lengths.
    """

    end: JournalPosition
    session: Session
    batch: pb.Batch
    types: Mapping[int, EventType]  # shared by all batches of a stream: a new type makes a new mapping
    received_ns: int


class Exemplar(NamedTuple):
    """A measurement that has a sampled trace."""

    value: float
    time_ns: int
    trace_id: bytes
    span_id: bytes


# Points are named tuples: a frozen dataclass costs four times as much to make, and a snapshot makes one a series.
class Number(NamedTuple):
    """A point of a counter, up-down counter or gauge.

    `time_ns` is the time of the series' last change; a cumulative point is valid at the snapshot's time.
    """

    labels: Labels
    start_ns: int
    time_ns: int
    value: float
    exemplar: Exemplar | None = None


class Distribution(NamedTuple):
    """A point of a histogram: `buckets` has one more entry than the bounds, not cumulated.

    `exemplars` is empty, or has one place a bucket.
    """

    labels: Labels
    start_ns: int
    time_ns: int
    count: int  # type: ignore[assignment] # hides tuple.count, which nobody asks a point for
    sum: float
    buckets: tuple[int, ...]
    exemplars: tuple[Exemplar | None, ...] = ()


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
    """All metrics of one producer's events."""

    producer_id: str
    resource: tuple[tuple[str, str], ...]
    families: tuple[Family, ...]
    seen_ns: int = field(default=0, compare=False)
    """Time until which its gauges are known to hold: now while it is connected; 0 if it was not seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All metrics at one moment; immutable, rendered as /metrics and as OTLP."""

    time_ns: int
    producers: tuple[ProducerMetrics, ...] = field(default=())


class MetricSource(Protocol):
    """Source of snapshots: the telemetry pipeline."""

    def snapshot(self) -> Snapshot:
        """All metrics at this moment."""

    def kept(self, name: str) -> bytes:
        """Content of a small file that a former process kept; empty if there is none."""

    async def keep(self, name: str, data: bytes) -> bool:
        """Keep a small file for later processes; False if the volume cannot take it now."""
