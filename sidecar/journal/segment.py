"""A segment of the journal: what its records say, and how a segment is read by itself.

Payloads of version 1, little-endian, after one byte that names the kind:

    S  stream (4), Hello                                     a stream is known by this number from here on
    D  stream (4), Define                                    an event type of it
    G  stream (4)                                            the stream's session begins, or goes on
    E  stream (4)                                            the stream's session ends
    B  stream (4), received ns (8), length (4), Ack, Batch   a batch; the Ack holds what of it was refused
    L  producer id, line feed, session id                    a session that did not come back ended
    K  as B                                                  log records of reserved types, from a dropped segment
    X  now ns (8), idle ns (8)                               series that were idle so long were forgotten

S and D stand in each segment before the first record that needs them, so that a segment is read without the
ones before it. Reading them twice changes nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from pod_runtime.framing import HEADER_BYTES, RECORD_HEADER_BYTES, Record, file_header, file_version, frame, records
from sidecar.ingest.definition import event_type
from sidecar.telemetry.model import EventType, Session
from telemetry_contract.v1 import telemetry_pb2 as pb

KIND = b"TELJ"
VERSION = 1
SUFFIX = ".journal"
FILLER = b"-"

_STREAM = struct.Struct("<cI")
_BATCH = struct.Struct("<cIQI")
_EXPIRE = struct.Struct("<cQQ")
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Begin:
    """A session begins or goes on."""

    stream: int


@dataclass(frozen=True, slots=True)
class End:
    """A session ends."""

    stream: int


@dataclass(frozen=True, slots=True)
class Lost:
    """A session that did not come back ends."""

    producer_id: str
    session_id: str


@dataclass(frozen=True, slots=True)
class Expire:
    """Idle series were forgotten."""

    now_ns: int
    idle_ns: int


@dataclass(frozen=True, slots=True)
class Stored:
    """A batch; `raw` is the Batch message, `refused` an Ack message with rejections."""

    stream: int
    received_ns: int
    refused: bytes
    raw: bytes
    kept: bool = False
    """It repeats log records of a segment that was dropped: counted before."""


Entry = pb.Hello | pb.Define | Begin | End | Lost | Expire | Stored


def stream_payload(stream: int, hello: bytes) -> bytes:
    """The payload that names a stream."""
    return _STREAM.pack(b"S", stream) + hello


def define_payload(stream: int, define: bytes) -> bytes:
    """The payload that defines an event type of a stream."""
    return _STREAM.pack(b"D", stream) + define


def begin_payload(stream: int) -> bytes:
    """The payload of `Begin`."""
    return _STREAM.pack(b"G", stream)


def end_payload(stream: int) -> bytes:
    """The payload of `End`."""
    return _STREAM.pack(b"E", stream)


def batch_payload(stream: int, received_ns: int, refused: bytes, raw: bytes) -> bytes:
    """The payload of `Stored`."""
    return _BATCH.pack(b"B", stream, received_ns, len(refused)) + refused + raw


def lost_payload(producer_id: str, session_id: str) -> bytes:
    """The payload of `Lost`."""
    return f"L{producer_id}\n{session_id}".encode()


def kept_payload(stream: int, received_ns: int, raw: bytes) -> bytes:
    """The payload of a `Stored` that is `kept`."""
    return _BATCH.pack(b"K", stream, received_ns, 0) + raw


def expire_payload(now_ns: int, idle_ns: int) -> bytes:
    """The payload of `Expire`."""
    return _EXPIRE.pack(b"X", now_ns, idle_ns)


def segment_name(number: int) -> str:
    """File name of a segment: alphabetical order is their order."""
    return f"{number:020d}{SUFFIX}"


def segment_numbers(names: list[str]) -> list[int]:
    """The segments among file names, in order."""
    stems = (name.removesuffix(SUFFIX) for name in names if name.endswith(SUFFIX))
    return sorted(int(stem) for stem in stems if stem.isdigit())


@dataclass(frozen=True, slots=True)
class Repair:
    """What had to be done so that a segment can be read: `damaged` bytes are lost, a torn tail is none of them."""

    data: bytes
    damaged_bytes: int
    torn_bytes: int


def repair(data: bytes, *, last: bool) -> Repair:
    """Makes a segment readable from end to end; places of sound records stay.

    A record whose sum is wrong, but whose length leads to a sound one, is overwritten by a filler. What cannot
    be read to the end is cut: in the `last` segment that is a write that a crash tore.

    Raises:
        FormatError: it is no segment, or one of a version that is not read here.
    """
    version = file_version(data, KIND)
    if version != VERSION:
        raise UnknownVersionError(f"journal segment of version {version}; this program reads {VERSION}")
    parts: list[bytes] = []
    at = kept_from = HEADER_BYTES
    damaged = 0
    while True:
        for sound in records(data, at):
            at = sound.end
        end = _framed_end(data, at)
        if end is None:
            break
        parts += [data[kept_from:at], frame(FILLER * (end - at - RECORD_HEADER_BYTES))]
        damaged += end - at
        at = kept_from = end
    rest = len(data) - at
    if not damaged and not rest:
        return Repair(data, 0, 0)
    whole = b"".join([data[:HEADER_BYTES], *parts, data[kept_from:at]])
    return Repair(whole, damaged if last else damaged + rest, rest if last else 0)


class UnknownVersionError(ValueError):
    """A file was written by a newer program."""


def _framed_end(data: bytes, at: int) -> int | None:
    """Where a damaged record ends, if a sound one follows there."""
    if at + RECORD_HEADER_BYTES > len(data):
        return None
    end = at + RECORD_HEADER_BYTES + int(_LENGTH.unpack_from(data, at)[0])
    return end if end > at + RECORD_HEADER_BYTES and next(records(data, end), None) is not None else None


def header() -> bytes:
    """The first bytes of a segment."""
    return file_header(KIND, VERSION)


@dataclass(slots=True)
class StreamContext:
    """What a segment has said about a stream so far."""

    session: Session
    hello: pb.Hello
    types: dict[int, EventType] = field(default_factory=dict)
    defines: dict[int, pb.Define] = field(default_factory=dict)


class SegmentReader:
    """Reads a sound segment from its start, and keeps what the records before a place have declared."""

    def __init__(self, data: bytes) -> None:
        self._records = records(data)
        self.streams: dict[int, StreamContext] = {}
        self.unreadable = 0
        """Sound records that say nothing this program understands: left out."""

    def __iter__(self) -> Iterator[tuple[Record, int, Entry]]:
        """Each record with its stream (0 where it has none) and what it says; fillers are left out."""
        for record in self._records:
            entry = self._said(record.payload)
            if entry is not None:
                yield record, *entry

    def _said(self, payload: bytes) -> tuple[int, Entry] | None:
        try:
            entry = _entry(payload)
            if entry is not None:
                self._declare(*entry)
        except (DecodeError, struct.error, ValueError, KeyError):
            self.unreadable += 1
            return None
        return entry

    def _declare(self, stream: int, said: Entry) -> None:
        if isinstance(said, pb.Hello):
            self.streams.setdefault(stream, StreamContext(session_of(said), said))
        elif isinstance(said, pb.Define):
            context = self.streams[stream]
            # Types are shared with batches that were read already: a new mapping, not a changed one.
            context.types = {**context.types, said.event_id: event_type(said)}
            context.defines[said.event_id] = said


def session_of(hello: pb.Hello) -> Session:
    """Who opens a stream."""
    return Session(
        producer_id=hello.producer_id, session_id=hello.session_id, resource=tuple(sorted(hello.resource.items()))
    )


def _entry(payload: bytes) -> tuple[int, Entry] | None:
    kind = payload[:1]
    if kind in {b"B", b"K"}:
        _, stream, received_ns, refused = _BATCH.unpack_from(payload)
        middle = _BATCH.size + refused
        return stream, Stored(stream, received_ns, payload[_BATCH.size : middle], payload[middle:], kind == b"K")
    if kind == b"X":
        return 0, Expire(*_EXPIRE.unpack(payload)[1:])
    if kind == b"L":
        producer_id, session_id = payload[1:].decode().split("\n")
        return 0, Lost(producer_id, session_id)
    return None if kind == FILLER else (_STREAM.unpack_from(payload)[1], _stream_entry(kind, payload))


def _stream_entry(kind: bytes, payload: bytes) -> Entry:
    stream, rest = _STREAM.unpack_from(payload)[1], payload[_STREAM.size :]
    match kind:
        case b"S":
            return pb.Hello.FromString(rest)
        case b"D":
            return pb.Define.FromString(rest)
        case b"G":
            return Begin(stream)
        case b"E":
            return End(stream)
        case _:
            raise ValueError(f"record of unknown kind {kind!r}")
