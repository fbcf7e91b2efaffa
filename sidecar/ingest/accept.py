"""Taking what producers send: checked, journaled, then applied.

No socket and no task: time is an argument, and whoever calls decides when. An event is durable when `batch`
has returned.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from sidecar.checkpoint.state import SessionKey, SessionState, State
from sidecar.ingest import validate as contract
from sidecar.ingest.definition import check_define, event_type
from sidecar.ingest.trim import trimmed
from sidecar.ingest.validate import Fault, Limits
from sidecar.journal.journal import Declarations, Journal
from sidecar.journal.segment import Stored as StoredEntry
from sidecar.journal.segment import (
    StreamContext,
    batch_payload,
    begin_payload,
    end_payload,
    expire_payload,
    kept_payload,
    lost_payload,
    session_of,
)
from sidecar.telemetry.model import EventType, Position, Session, StoredBatch
from telemetry_contract.v1 import telemetry_pb2 as pb


class StreamFaultError(Exception):
    """A message broke a rule of the stream: the stream ends, and the message names the rule."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(f"{fault.reason}: {fault.message}")
        self.fault = fault


@dataclass(slots=True)
class OpenStream:
    """A stream that has said Hello."""

    number: int
    session: Session
    state: SessionState
    recovery: bool
    declarations: Declarations
    types: dict[int, EventType] = field(default_factory=dict)
    refused_types: dict[int, str] = field(default_factory=dict)


class Intake:
    """Takes messages of all streams into the journal and the state. One event loop only."""

    def __init__(self, journal: Journal, state: State, limits: Limits) -> None:
        self._journal = journal
        self._state = state
        self._limits = limits
        self._open: Counter[SessionKey] = Counter()
        self.watch: Callable[[StoredBatch], None] | None = None
        self.cut_strings = 0

    def open_stream(self, hello: pb.Hello, now_ns: int) -> OpenStream:
        """Takes a Hello.

        Raises:
            StreamFaultError: it breaks a rule.
            OSError: the journal takes nothing now.
        """
        fault = contract.check_hello(hello)
        if fault is not None:
            raise StreamFaultError(fault)
        session = session_of(hello)
        number = self._state.next_stream
        declarations = Declarations(hello.SerializeToString(deterministic=True))
        if not hello.recovery:
            self._journal.append([begin_payload(number)], number, declarations)
        self._state.next_stream += 1
        state = self._state.session(session, hello.first_sequence, now_ns)
        self._open[session.producer_id, session.session_id] += 1
        if not hello.recovery:
            self._state.aggregate.begin(session)
        return OpenStream(number, session, state, hello.recovery, declarations)

    def define(self, stream: OpenStream, define: pb.Define) -> list[pb.Rejection]:
        """Takes an event type; what of it is refused.

        Raises:
            OSError: the journal takes nothing now; the type may be sent again.
        """
        raw = define.SerializeToString(deterministic=True)
        known = stream.declarations.defines.get(define.event_id)
        if known == raw:
            return []
        faults = check_define(define, self._limits)
        if known is not None:
            faults = [Fault("definition_conflict", f"event id {define.event_id} means another type on this stream")]
        elif len(stream.types) >= self._limits.max_event_types:
            faults = [Fault("too_many_event_types", f"a stream has at most {self._limits.max_event_types} types")]
        if faults:
            stream.refused_types.setdefault(define.event_id, faults[0].reason)
            return [_refusal(fault, define.name) for fault in faults]
        declarations = stream.declarations
        declarations.defines[define.event_id] = raw
        try:
            self._journal.append([], stream.number, declarations, [define.event_id])
        except OSError:
            del declarations.defines[define.event_id]
            raise
        kind = event_type(define)
        # Batches that were handed on share the mapping: a new one, not a changed one.
        stream.types = {**stream.types, define.event_id: kind}
        refused = self._state.aggregate.define(stream.number, stream.session, kind, recovery=stream.recovery)
        conflict = "its kind, unit or bounds differ from what the name means already, or there are too many"
        return [
            _refusal(Fault("definition_conflict", f"instrument {name!r}: {conflict}"), kind.name) for name in refused
        ]

    def batch(self, stream: OpenStream, raw: bytes, now_ns: int) -> list[pb.Rejection]:
        """Takes a batch: afterwards `stream.state.durable_through` covers it. What of it is refused.

        Raises:
            StreamFaultError: it breaks a rule of the stream; nothing of it is taken.
            OSError: the journal takes nothing now; the same batch may be tried again.
        """
        batch = parse_batch(raw)
        fault = contract.check_batch(batch, self._limits)
        if fault is not None:
            raise StreamFaultError(fault)
        durable = stream.state.durable_through
        last = batch.first_sequence + batch.count - 1
        counts = self._state.counts.of(stream.session.producer_id)
        if last <= durable:
            counts.received += batch.count
            counts.duplicate += batch.count
            return []
        if batch.first_sequence > durable + 1:
            gap = f"batch begins at {batch.first_sequence}, the next event of the session is {durable + 1}"
            raise StreamFaultError(Fault("sequence_gap", gap))
        clean, rejections = self._sound(stream, batch, durable + 1 - batch.first_sequence)
        if clean is not batch or rejections:
            raw = clean.SerializeToString()
        events = [group.event_id for group in clean.groups]
        refused = pb.Ack(rejected=rejections).SerializeToString() if rejections else b""
        payload = batch_payload(stream.number, now_ns, refused, raw)
        end = self._journal.append([payload], stream.number, stream.declarations, events)
        duplicates = batch.count - clean.count
        counts.received += duplicates
        counts.duplicate += duplicates
        stored = StoredBatch(end=end, session=stream.session, batch=clean, types=stream.types, received_ns=now_ns)
        self._state.take(stream.number, stored, stream.state, rejections, len(raw))
        if self.watch is not None:
            self.watch(stored)
        return rejections

    def _sound(self, stream: OpenStream, batch: pb.Batch, taken: int) -> tuple[pb.Batch, list[pb.Rejection]]:
        """The batch without the events that were taken before and the groups that break a rule, and those groups."""
        fault = contract.check_cover(batch)
        if fault is not None:
            first, count = batch.first_sequence + taken, batch.count - taken
            return pb.Batch(first_sequence=first, count=count), [_rejection(fault, first, count)]
        changed, sound, rejections = False, [], []
        for group in batch.groups:
            kind = stream.types.get(group.event_id)
            fault = _unknown(stream, group.event_id) if kind is None else contract.check_group(group, kind)
            if fault is None:
                cut = contract.cut_strings(group, self._limits.max_string_bytes)
                self.cut_strings += cut
                changed |= cut > 0
                sound.append(group)
            else:
                places = [place for place in group.offsets or range(batch.count) if place >= taken]
                if places:
                    rejections.append(_rejection(fault, batch.first_sequence + places[0], len(places)))
        if taken or len(sound) < len(batch.groups):
            kept = pb.Batch(first_sequence=batch.first_sequence, count=batch.count, groups=sound)
            return trimmed(kept, taken), rejections
        return (pb.Batch.FromString(batch.SerializeToString()), []) if changed else (batch, [])

    def end_session(self, stream: OpenStream) -> None:
        """The session ends: its gauges go.

        Raises:
            OSError: the journal takes nothing now.
        """
        if not stream.recovery:
            self._journal.append([end_payload(stream.number)], stream.number, stream.declarations)
            self._state.aggregate.end(stream.session)

    def lose_session(self, producer_id: str, session_id: str) -> None:
        """A session whose stream broke has not come back: its gauges go.

        Raises:
            OSError: the journal takes nothing now.
        """
        self._journal.append([lost_payload(producer_id, session_id)])
        self._state.aggregate.end(Session(producer_id=producer_id, session_id=session_id))

    def keep(self, segment: int, beyond: Collection[str] = ()) -> Iterator[None]:
        """Journals anew log records that wait in a segment, so that it can be dropped right after.

        Those of reserved types are kept unless they are most of the segment: else the journal would be busy with
        nothing else. Where there are producers `beyond` their quota, everybody else's are kept whole. Other work may
        have its turn between two steps: nothing is journaled before the last.

        Raises:
            OSError: the journal takes nothing now; what is left goes with the segment.
        """
        reader = self._journal.read(segment)
        if reader is None:
            return
        waits = self._state.backlog.waits
        found: list[tuple[Position, StreamContext, StoredEntry, pb.Batch, bool]] = []
        reserved_bytes = 0
        for record, stream, said in reader:
            yield
            end = Position(segment, record.end)
            if not isinstance(said, StoredEntry) or not waits(end):
                continue
            context = reader.streams[stream]
            spared = bool(beyond) and context.session.producer_id not in beyond
            kept = (logged_part if spared else reserved_part)(said.raw, context.types)
            reserved_bytes += 0 if spared else kept.ByteSize()
            if kept.groups:
                found.append((end, context, said, kept, spared))
        keeps_reserved = reserved_bytes * 2 <= self._journal.size_of(segment)
        for end, context, said, kept, spared in found:
            if waits(end) and (spared or keeps_reserved):
                self._keep(segment, context, said, kept)

    def _keep(self, segment: int, context: StreamContext, said: StoredEntry, batch: pb.Batch) -> None:
        raw = batch.SerializeToString()
        payload = kept_payload(said.stream, said.received_ns, raw)
        events = [group.event_id for group in batch.groups]
        end = self._journal.append([payload], said.stream, declarations_of(context), events)
        stored = StoredBatch(
            end=end, session=context.session, batch=batch, types=context.types, received_ns=said.received_ns
        )
        self._state.backlog.keep(stored, len(raw), segment)

    def close_stream(self, stream: OpenStream) -> None:
        """The stream has ended; nothing more of it will come."""
        self._state.aggregate.forget_stream(stream.number)
        key = stream.session.producer_id, stream.session.session_id
        self._open[key] -= 1
        if not self._open[key]:
            del self._open[key]

    def expire(self, now_ns: int, idle_ns: int) -> int:
        """Forgets idle series; how many.

        Raises:
            OSError: the journal takes nothing now.
        """
        if not self._state.aggregate.has_idle(now_ns, idle_ns):
            return 0
        self._journal.append([expire_payload(now_ns, idle_ns)])
        return self._state.aggregate.expire(now_ns, idle_ns)

    def forget_sessions(self, before_ns: int, most: int) -> None:
        """Forgets sessions silent since `before_ns`, and all but the `most` latest; never a connected one."""
        self._state.forget_sessions(before_ns, most, self._open)


def logged_part(raw: bytes, types: Mapping[int, EventType]) -> pb.Batch:
    """The groups of a batch whose types make log records."""
    batch = pb.Batch.FromString(raw)
    groups = [group for group in batch.groups if types[group.event_id].log is not None]
    return pb.Batch(first_sequence=batch.first_sequence, count=batch.count, groups=groups)


def reserved_part(raw: bytes, types: Mapping[int, EventType]) -> pb.Batch:
    """Those of them that are reserved."""
    batch = logged_part(raw, types)
    groups = [group for group in batch.groups if types[group.event_id].reserved]
    return pb.Batch(first_sequence=batch.first_sequence, count=batch.count, groups=groups)


def declarations_of(context: StreamContext) -> Declarations:
    """What another segment must say of a stream."""
    defines = {event: define.SerializeToString(deterministic=True) for event, define in context.defines.items()}
    return Declarations(context.hello.SerializeToString(deterministic=True), defines)


def parse_batch(raw: bytes) -> pb.Batch:
    """A Batch message.

    Raises:
        StreamFaultError: it is none.
    """
    try:
        return pb.Batch.FromString(raw)
    except DecodeError as error:
        raise StreamFaultError(Fault("malformed_message", f"a Batch that cannot be parsed: {error}")) from error


def _unknown(stream: OpenStream, event_id: int) -> Fault:
    if (reason := stream.refused_types.get(event_id)) is not None:
        return Fault("definition_refused", f"event id {event_id}: its definition was refused ({reason})")
    return Fault("unknown_event", f"event id {event_id} was not defined on this stream: send Define before it")


def _rejection(fault: Fault, first: int, count: int) -> pb.Rejection:
    return pb.Rejection(first_sequence=first, count=count, reason=fault.reason, message=fault.message)


def _refusal(fault: Fault, event: str) -> pb.Rejection:
    return pb.Rejection(reason=fault.reason, message=f"{event[:80]}: {fault.message}"[:1024])
