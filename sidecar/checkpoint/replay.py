"""Bringing the state back: a checkpoint, and what the journal holds behind it done once more."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from sidecar.checkpoint.format import Checkpoint
from sidecar.checkpoint.state import State
from sidecar.journal.journal import Journal
from sidecar.journal.segment import Begin, End, Entry, Expire, Lost, Stored, StreamContext
from sidecar.telemetry.model import Position, Session, StoredBatch
from telemetry_contract.v1 import telemetry_pb2 as pb

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay found: batches, and records that nothing could be made of."""

    batches: int = 0
    unreadable: int = 0


def restore(state: State, journal: Journal, checkpoint: Checkpoint) -> Replayed:
    """Fills an empty state.

    Raises:
        OSError: the journal cannot be read.
    """
    if checkpoint.position.segment >= journal.end.segment:
        # Segments were lost: what is written next must lie behind the checkpoint.
        journal.skip_to(checkpoint.position.segment + 1)
    state.restore(checkpoint)
    found = [_replay(state, journal, segment, checkpoint.position) for segment in journal.segments]
    return Replayed(sum(each.batches for each in found), sum(each.unreadable for each in found))


def _replay(state: State, journal: Journal, segment: int, start: Position) -> Replayed:
    reader = journal.read(segment) if segment >= start.segment else None
    if reader is None:
        return Replayed()
    batches = faults = 0
    for record, stream, said in reader:
        new = Position(segment, record.start) >= start
        context, end = reader.streams.get(stream), Position(segment, record.end)
        try:
            batches += _again(state, stream, said, context, end, new=new)
        except Exception:  # noqa: BLE001 - a record that ends every start would be worse than one that is left out
            _log.exception("journal record left out", extra={"segment": segment, "offset": record.start})
            faults += 1
    return Replayed(batches, reader.unreadable + faults)


def _again(
    state: State, stream: int, said: Entry, context: StreamContext | None, end: Position, *, new: bool
) -> bool:
    """Does once more what a record says; declarations also where they are not `new`. Whether it was a batch."""
    aggregate = state.aggregate
    state.next_stream = max(state.next_stream, stream + 1)
    match said, context:
        case pb.Define(), StreamContext():
            kind = context.types[said.event_id]
            aggregate.define(stream, context.session, kind, recovery=context.hello.recovery)
        case pb.Hello(), StreamContext() if new:
            state.session(context.session, said.first_sequence, 0)
        case Begin(), StreamContext() if new:
            aggregate.begin(context.session)
        case End(), StreamContext() if new:
            aggregate.end(context.session)
        case Lost(), _ if new:
            aggregate.end(Session(producer_id=said.producer_id, session_id=said.session_id))
        case Expire(), _ if new:
            aggregate.expire(said.now_ns, said.idle_ns)
        case Stored(), StreamContext() if new:
            _batch_again(state, stream, said, context, end)
            return True
        case _, None if new:
            raise ValueError(f"record of stream {stream}, which its segment does not name")
    return False


def _batch_again(state: State, stream: int, said: Stored, context: StreamContext, end: Position) -> None:
    stored = StoredBatch(
        end=end,
        session=context.session,
        batch=pb.Batch.FromString(said.raw),
        types=context.types,
        received_ns=said.received_ns,
    )
    if said.kept:
        state.backlog.add(stored, len(said.raw))
        return
    session = state.session(context.session, context.hello.first_sequence, said.received_ns)
    rejections = list(pb.Ack.FromString(said.refused).rejected)
    state.take(stream, stored, session, rejections, len(said.raw))
