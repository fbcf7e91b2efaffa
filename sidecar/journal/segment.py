"""Format of a journal segment: its records, how a segment is read by itself, and how a damaged one is repaired.

A segment is a framed file (`pod_runtime.framing`): a header, then records of length, CRC-32 and payload. Payloads
of version 1 are little-endian and follow one byte that names their kind:

    S  stream (4), Hello                                     names a stream; this number means it from here on
    D  stream (4), Define                                    defines an event type of the stream
    G  stream (4)                                            the stream's session begins, or goes on
    E  stream (4)                                            the stream's session ends
    B  stream (4), received ns (8), length (4), Ack, Batch   a batch; the Ack holds the rejected parts of it
    L  producer id, line feed, session id                    a session ended because its producer did not come back
    K  as B                                                  log records rescued from a segment that was dropped
    X  now ns (8), idle ns (8)                               series idle for so long expired
    -  anything                                              filler where a damaged record stood

S and D stand in each segment before the first record that needs them. So every segment can be read without the ones
before it, and the oldest can be removed at any time. Reading S and D twice changes nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum

from google.protobuf.message import DecodeError

from pod_runtime.framing import RECORD_HEADER_BYTES, FormatError, Record, file_header, file_version, frame, records
from sidecar.telemetry.model import (
    EventType,
    Field,
    JournalPosition,
    LogTemplate,
    MetricInstrument,
    Session,
    StoredBatch,
)
from telemetry_contract.v1 import telemetry_pb2 as pb

KIND = b"TELJ"
VERSION = 1
HEADER = file_header(KIND, VERSION)
"""First bytes of a segment."""
SUFFIX = ".journal"
HELLO, DEFINE, FILLER = b"S", b"D", b"-"

_STREAM = struct.Struct("<cI")
_BATCH = struct.Struct("<cIQI")
_EXPIRE = struct.Struct("<cQQ")
_LENGTH = struct.Struct("<I")


class SessionMark(Enum):
    """Record without a body: the stream's session begins or goes on, or it ends. The value is the record's kind."""

    BEGIN = b"G"
    END = b"E"


@dataclass(frozen=True, slots=True)
class SessionLost:
    """Record of a session that ended because its producer did not come back."""

    producer_id: str
    session_id: str


@dataclass(frozen=True, slots=True)
class SeriesExpiry:
    """Record of an expiry: series idle for `idle_ns` at `now_ns` were forgotten."""

    now_ns: int
    idle_ns: int


@dataclass(frozen=True, slots=True)
class BatchEntry:
    """Record of a batch; `raw` is the Batch message, `refused` an Ack message with the rejections."""

    received_ns: int
    refused: bytes
    raw: bytes
    kept: bool = False
    """True for log records rescued from a dropped segment: their events were counted there."""


SegmentEntry = pb.Hello | pb.Define | SessionMark | SessionLost | SeriesExpiry | BatchEntry


def stream_payload(kind: bytes, stream: int, message: bytes = b"") -> bytes:
    """Payload of kind S, D, G or E."""
    return _STREAM.pack(kind, stream) + message


def entry_payload(entry: SessionMark | SessionLost | SeriesExpiry | BatchEntry, stream: int = 0) -> bytes:
    """Payload of an entry."""
    match entry:
        case BatchEntry():
            kind, refused = b"K" if entry.kept else b"B", entry.refused
            return _BATCH.pack(kind, stream, entry.received_ns, len(refused)) + refused + entry.raw
        case SessionMark():
            return stream_payload(entry.value, stream)
        case SessionLost():
            return f"L{entry.producer_id}\n{entry.session_id}".encode()
        case SeriesExpiry():
            return _EXPIRE.pack(b"X", entry.now_ns, entry.idle_ns)


def segment_name(number: int) -> str:
    """File name of a segment. Twenty digits, so that alphabetical order is their order."""
    return f"{number:020d}{SUFFIX}"


def segment_numbers(names: Iterable[str]) -> list[int]:
    """Numbers of the segments among file names, in order."""
    stems = (name.removesuffix(SUFFIX) for name in names if name.endswith(SUFFIX))
    return sorted(int(stem) for stem in stems if stem.isdigit())


@dataclass(frozen=True, slots=True)
class SegmentRepair:
    """Readable bytes of a segment, and the bytes lost: `damaged` ones, and those of a write that a crash tore."""

    data: bytes
    damaged_bytes: int
    torn_bytes: int


def repair(data: bytes, *, last: bool) -> SegmentRepair:
    """Make a segment readable from end to end. Sound records keep their places.

    A record with a wrong checksum whose length leads to a sound record becomes a filler. What cannot be read to the
    end is cut: in the `last` segment of a process, a crash tore that write.

    Raises:
        FormatError: the file is no segment, or a newer program wrote it.
    """
    version = file_version(data, KIND)
    if version != VERSION:
        raise FormatError(f"journal segment of version {version}; this program reads {VERSION}")
    parts: list[bytes] = []
    at = kept_from = len(HEADER)
    damaged = 0
    while True:
        for sound in records(data, at):
            at = sound.end
        end = _framed_end(data, at)
        if end is None:
            break
        # A filler of the same length, and no cut: positions of later records stand in the checkpoint's log cursor.
        parts += [data[kept_from:at], frame(FILLER * (end - at - RECORD_HEADER_BYTES))]
        damaged += end - at
        at = kept_from = end
    rest = len(data) - at
    if not damaged and not rest:
        return SegmentRepair(data, 0, 0)
    whole = b"".join([data[: len(HEADER)], *parts, data[kept_from:at]])
    return SegmentRepair(whole, damaged if last else damaged + rest, rest if last else 0)


def _framed_end(data: bytes, at: int) -> int | None:
    """End of a damaged record, if a sound record follows there."""
    if at + RECORD_HEADER_BYTES > len(data):
        return None
    end = at + RECORD_HEADER_BYTES + int(_LENGTH.unpack_from(data, at)[0])
    return end if end > at + RECORD_HEADER_BYTES and next(records(data, end), None) is not None else None


@dataclass(slots=True)
class Declarations:
    """Serialized messages that a segment must hold about a stream before its batches."""

    stream: int
    hello: bytes
    defines: dict[int, bytes] = field(default_factory=dict)


@dataclass(slots=True)
class StreamContext:
    """A stream as a segment has declared it so far."""

    session: Session
    hello: pb.Hello
    declarations: Declarations
    types: dict[int, EventType] = field(default_factory=dict)

    def stored(self, end: JournalPosition, batch: pb.Batch, received_ns: int) -> StoredBatch:
        """Batch of the stream whose record ends at `end`."""
        return StoredBatch(end=end, session=self.session, batch=batch, types=self.types, received_ns=received_ns)


class SegmentReader:
    """Reads a sound segment once, from its start, and keeps the declarations of the records read so far."""

    def __init__(self, data: bytes) -> None:
        self._records = records(data)
        self.streams: dict[int, StreamContext] = {}
        self.unreadable = 0
        """Records with a right checksum whose payload this program cannot decode: skipped."""

    def __iter__(self) -> Iterator[tuple[Record, int, SegmentEntry]]:
        """Yield each record with its stream (0 if it has none) and its decoded entry; skip fillers."""
        for record in self._records:
            if (found := self._decode(record.payload)) is not None:
                yield record, *found

    def _decode(self, payload: bytes) -> tuple[int, SegmentEntry] | None:
        try:
            found = _entry(payload)
            if found is not None:
                self._declare(*found, payload[_STREAM.size :])
        except (DecodeError, struct.error, ValueError, KeyError):
            self.unreadable += 1
            return None
        return found

    def _declare(self, stream: int, entry: SegmentEntry, raw: bytes) -> None:
        if isinstance(entry, pb.Hello):
            self.streams.setdefault(stream, StreamContext(session_of(entry), entry, Declarations(stream, raw)))
        elif isinstance(entry, pb.Define):
            context = self.streams[stream]
            # Batches read before share the old mapping: replace it, do not change it.
            context.types = {**context.types, entry.event_id: event_type(entry)}
            context.declarations.defines[entry.event_id] = raw


def _entry(payload: bytes) -> tuple[int, SegmentEntry] | None:
    kind = payload[:1]
    match kind:
        case b"B" | b"K":
            _, stream, received_ns, refused = _BATCH.unpack_from(payload)
            middle = _BATCH.size + refused
            return stream, BatchEntry(received_ns, payload[_BATCH.size : middle], payload[middle:], kind == b"K")
        case b"X":
            return 0, SeriesExpiry(*_EXPIRE.unpack(payload)[1:])
        case b"L":
            producer_id, session_id = payload[1:].decode().split("\n")
            return 0, SessionLost(producer_id, session_id)
        case b"-":
            return None
    stream, rest = _STREAM.unpack_from(payload)[1], payload[_STREAM.size :]
    if kind == HELLO:
        return stream, pb.Hello.FromString(rest)
    return stream, pb.Define.FromString(rest) if kind == DEFINE else SessionMark(kind)


def session_of(hello: pb.Hello) -> Session:
    """Session that a Hello opens."""
    return Session(
        producer_id=hello.producer_id, session_id=hello.session_id, resource=tuple(sorted(hello.resource.items()))
    )


def event_type(define: pb.Define) -> EventType:
    """Event type of a valid definition."""
    log = None
    if define.HasField("log"):
        log = LogTemplate(
            severity=define.log.severity or pb.SEVERITY_INFO,
            severity_field=define.log.severity_field,
            body=define.log.body,
        )
    return EventType(
        event_id=define.event_id,
        name=define.name,
        fields=tuple(Field(name=item.name, type=item.type, role=item.role) for item in define.fields),
        instruments=tuple(map(_instrument, define.instruments)),
        log=log,
        reserved=define.reserved,
    )


def _instrument(item: pb.Instrument) -> MetricInstrument:
    return MetricInstrument(
        name=item.name,
        kind=item.kind,
        unit=item.unit,
        description=item.description,
        measure=item.measure,
        labels=tuple(item.labels),
        bounds=tuple(item.bounds),
        only_when=tuple(sorted(item.only_when.items())),
        constant_labels=tuple(sorted(item.constant_labels.items())),
        presets=tuple(tuple(each.values) for each in item.presets),
        absent_ends=item.absent_ends,
    )
