"""Intake: accepts the messages of producers. Each is validated, then journaled, then applied to the state.

The order makes a crash harmless. Nothing is applied that is not in the journal, so a replay finds all that the
process knew; nothing is acknowledged that is not in the journal, so a producer still holds what a crash tore. If
the volume rejects a write, nothing has changed, and the same message may be tried again.

No socket and no task here: time is an argument, and the caller decides when. An event is durable, as far as
`durability` promises, when `batch` has returned.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from sidecar.checkpoint.state import SessionKey, SessionState, TelemetryState
from sidecar.ingest import validate
from sidecar.ingest.definition import check_define
from sidecar.ingest.protocol import refuse
from sidecar.ingest.tail import Tail
from sidecar.ingest.validate import ContractFault
from sidecar.journal.journal import EventJournal
from sidecar.journal.segment import (
    BatchEntry,
    Declarations,
    SeriesExpiry,
    SessionLost,
    SessionMark,
    entry_payload,
    event_type,
    session_of,
)
from sidecar.metrics.columns import SPAN_ID_BYTES, TRACE_ID_BYTES
from sidecar.telemetry.model import EventType, Session, StoredBatch
from sidecar.telemetry.settings import TelemetrySettings
from telemetry_contract.v1 import telemetry_pb2 as pb


@dataclass(slots=True)
class OpenStream:
    """A stream after its Hello: its session, and its event types so far."""

    number: int
    session: Session
    state: SessionState
    recovery: bool
    declarations: Declarations
    types: dict[int, EventType] = field(default_factory=dict)
    refused_types: dict[int, str] = field(default_factory=dict)
    """Reasons why event types were refused."""


class Intake:
    """Brings messages of all streams into the journal and the state. One event loop only.

    A method that journals raises OSError while the volume rejects writes: nothing has changed, and it may be called
    again with the same message. One that takes a message raises StreamRefusedError if it breaks a rule of the stream:
    nothing of it was accepted.
    """

    def __init__(self, journal: EventJournal, state: TelemetryState, settings: TelemetrySettings, tail: Tail) -> None:
        self.journal = journal
        self.state = state
        self.settings = settings
        self._tail = tail
        self._open: Counter[SessionKey] = Counter()
        """Open streams of each session: a newer stream may overlap the one that it replaces."""
        self.cut_strings = 0

    def open_stream(self, hello: pb.Hello, now_ns: int) -> OpenStream:
        """Accept a Hello."""
        fault = validate.check_hello(hello)
        if fault is not None:
            refuse(fault.reason, fault.message)
        session = session_of(hello)
        # Never used twice, over restarts too: journal records name their stream by it.
        number = self.state.next_stream
        # Kept as bytes for every segment that this stream will write to.
        declarations = Declarations(number, hello.SerializeToString(deterministic=True))
        if not hello.recovery:
            self.journal.append([entry_payload(SessionMark.BEGIN, number)], declarations)
        self.state.next_stream += 1
        state = self.state.session(session, hello.first_sequence, now_ns)
        self._open[session.producer_id, session.session_id] += 1
        if not hello.recovery:
            self.state.aggregate.begin(session)
        return OpenStream(number, session, state, hello.recovery, declarations)

    def define(self, stream: OpenStream, define: pb.Define) -> list[pb.Rejection]:
        """Accept an event type; return the rejections of it or of its instruments."""
        raw = define.SerializeToString(deterministic=True)
        declarations = stream.declarations
        known = declarations.defines.get(define.event_id)
        # The same definition again, byte for byte: a producer may repeat its types after a reconnect.
        if known == raw:
            return []
        faults = check_define(define, self.settings)
        if known is not None:
            text = f"event id {define.event_id} means another type on this stream"
            faults = [ContractFault("definition_conflict", text)]
        elif len(stream.types) >= self.settings.max_event_types:
            text = f"a stream has at most {self.settings.max_event_types} types"
            faults = [ContractFault("too_many_event_types", text)]
        if faults:
            # Remembered, so that batches of the type are rejected with its reason and not as unknown.
            stream.refused_types.setdefault(define.event_id, faults[0].reason)
            return [_refusal(fault, define.name) for fault in faults]
        declarations.defines[define.event_id] = raw
        try:
            self.journal.append([], declarations, [define.event_id])
        except OSError:
            # Else the repeat would look like one that is known already, and would never be written.
            del declarations.defines[define.event_id]
            raise
        kind = event_type(define)
        # Stored batches share the mapping: replace it, do not change it.
        stream.types = {**stream.types, define.event_id: kind}
        refused = self.state.aggregate.define(stream.number, stream.session, kind, recovery=stream.recovery)
        conflict = "its kind, unit or bounds differ from what the name means already, or there are too many"
        faults = [ContractFault("definition_conflict", f"instrument {name!r}: {conflict}") for name in refused]
        return [_refusal(fault, kind.name) for fault in faults]

    def batch(self, stream: OpenStream, raw: bytes, now_ns: int) -> list[pb.Rejection]:
        """Accept a batch; return its groups' rejections. `stream.state.durable_through` covers it afterwards."""
        try:
            batch = pb.Batch.FromString(raw)
        except DecodeError as error:
            refuse("malformed_message", f"a Batch that cannot be parsed: {error}")
        fault = validate.check_batch(batch, self.settings)
        if fault is not None:
            refuse(fault.reason, fault.message)
        durable = stream.state.durable_through
        last = batch.first_sequence + batch.count - 1
        counts = self.state.counts.of(stream.session.producer_id)
        if last <= durable:
            # A producer that lost the acknowledgement sends again. Not journaled: it would change nothing.
            counts.received += batch.count
            counts.duplicate += batch.count
            return []
        # The missing events would never come: a stream is in order, so the producer must start again at `durable`.
        if batch.first_sequence > durable + 1:
            gap = f"batch begins at {batch.first_sequence}, the next event of the session is {durable + 1}"
            refuse("sequence_gap", gap)
        clean, rejections, cut = self._valid_part(stream, batch, durable + 1 - batch.first_sequence)
        if clean is not batch or rejections:
            raw = clean.SerializeToString()
        events = [group.event_id for group in clean.groups]
        refused = pb.Ack(rejected=rejections).SerializeToString() if rejections else b""
        payload = entry_payload(BatchEntry(now_ns, refused, raw), stream.number)
        end = self.journal.append([payload], stream.declarations, events)
        # Counted only now: a batch that the volume rejected is tried again, and would be counted at each try.
        self.cut_strings += cut
        duplicates = batch.count - clean.count
        counts.received += duplicates
        counts.duplicate += duplicates
        stored = StoredBatch(end=end, session=stream.session, batch=clean, types=stream.types, received_ns=now_ns)
        self.state.take(stream.number, stored, stream.state, rejections, len(raw))
        self._tail.add(stored)
        return rejections

    def _valid_part(self, stream: OpenStream, batch: pb.Batch, taken: int) -> tuple[pb.Batch, list[pb.Rejection], int]:
        """A batch without its first `taken` events and its invalid groups; their rejections; strings cut."""
        fault = validate.check_cover(batch)
        if fault is not None:
            # Without valid offsets no event's group is known: all that is new of the batch is rejected.
            first, count = batch.first_sequence + taken, batch.count - taken
            return pb.Batch(first_sequence=first, count=count), [_rejection(fault, first, count)], 0
        cut, valid, rejections = 0, [], []
        for group in batch.groups:
            kind = stream.types.get(group.event_id)
            fault = _unknown(stream, group.event_id) if kind is None else validate.check_group(group, kind)
            if fault is None:
                cut += validate.cut_strings(group, self.settings.max_string_bytes)
                valid.append(group)
            else:
                places = [place for place in group.offsets or range(batch.count) if place >= taken]
                if places:
                    rejections.append(_rejection(fault, batch.first_sequence + places[0], len(places)))
        if taken or len(valid) < len(batch.groups):
            kept = pb.Batch(first_sequence=batch.first_sequence, count=batch.count, groups=valid)
            return trimmed(kept, taken), rejections, cut
        # A new object says that the bytes changed; so what the journal holds is what was applied.
        return (pb.Batch.FromString(batch.SerializeToString()) if cut else batch), [], cut

    def end_session(self, stream: OpenStream) -> None:
        """End the session, and its gauges with it."""
        if not stream.recovery:
            self.journal.append([entry_payload(SessionMark.END, stream.number)], stream.declarations)
            self.state.aggregate.end(stream.session)

    def lose_session(self, producer_id: str, session_id: str) -> None:
        """End a session whose stream broke and that did not come back."""
        self.journal.append([entry_payload(SessionLost(producer_id, session_id))])
        self.state.aggregate.end(Session(producer_id=producer_id, session_id=session_id))

    def close_stream(self, stream: OpenStream) -> None:
        """Forget the event types of a stream that has ended. Its session may go on with another."""
        self.state.aggregate.forget_stream(stream.number)
        key = stream.session.producer_id, stream.session.session_id
        self._open[key] -= 1
        if not self._open[key]:
            del self._open[key]

    def expire(self, now_ns: int, idle_ns: int) -> int:
        """Forget idle series; return how many."""
        # Asked first: an expiry of nothing would write a record every time.
        if not self.state.aggregate.has_idle(now_ns, idle_ns):
            return 0
        self.journal.append([entry_payload(SeriesExpiry(now_ns, idle_ns))])
        return self.state.aggregate.expire(now_ns, idle_ns)

    def forget_sessions(self, before_ns: int, most: int) -> None:
        """Forget sessions silent since `before_ns`, and all but the `most` latest; never a connected one."""
        self.state.forget_sessions(before_ns, most, self._open)


def _unknown(stream: OpenStream, event_id: int) -> ContractFault:
    if (reason := stream.refused_types.get(event_id)) is not None:
        return ContractFault("definition_refused", f"event id {event_id}: its definition was refused ({reason})")
    text = f"event id {event_id} was not defined on this stream: send Define before it"
    return ContractFault("unknown_event", text)


def _rejection(fault: ContractFault, first: int, count: int) -> pb.Rejection:
    return pb.Rejection(first_sequence=first, count=count, reason=fault.reason, message=fault.message)


def _refusal(fault: ContractFault, event: str) -> pb.Rejection:
    return pb.Rejection(reason=fault.reason, message=f"{event[:80]}: {fault.message}"[:1024])


def trimmed(batch: pb.Batch, taken: int) -> pb.Batch:
    """Events of a valid batch from place `taken` on; groups without one are left out."""
    if not taken:
        return batch
    groups = [_trimmed_group(group, taken) for group in batch.groups]
    return pb.Batch(
        first_sequence=batch.first_sequence + taken,
        count=batch.count - taken,
        groups=[group for group in groups if group.count],
    )


def _trimmed_group(group: pb.Group, taken: int) -> pb.Group:
    cut = sum(place < taken for place in group.offsets) if group.offsets else taken
    kept = pb.Group()
    kept.CopyFrom(group)
    kept.count -= cut
    kept.offsets[:] = [place - taken for place in group.offsets[cut:]]
    del kept.time_offsets_nano[:cut]
    for column in kept.columns:
        # A dictionary stays whole: its indexes keep their meaning.
        del (column.indexes or column.values)[:cut]
        del column.doubles[:cut], column.integers[:cut], column.booleans[:cut]
        column.absent[:] = [place - cut for place in column.absent if place >= cut]
    if group.HasField("trace"):
        kept.trace.trace_ids = group.trace.trace_ids[cut * TRACE_ID_BYTES :]
        kept.trace.span_ids = group.trace.span_ids[cut * SPAN_ID_BYTES :]
        kept.trace.flags = group.trace.flags[cut:]
    return kept
