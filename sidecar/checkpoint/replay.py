"""Replay: brings the state back from the checkpoint, and from the journal behind it.

Purpose. After a restart the sidecar has the very state of a process that never stopped: each event counted once,
each log record queued once, the last sequence of each session known to the producer that asks for it.

One file, one moment. A checkpoint holds the series, the ledger, the last sequence of every session, the log cursor
with the counts of what waits, and the journal position that all of them belong to (`format.Checkpoint`). They are
useless apart. With series newer than the sequences, a producer's repeat would be counted twice; with sequences
newer than the series, events would be missing and nobody would send them again. With a log cursor of another moment
the ledger would not balance. So they are taken in one turn of the event loop, which is the only one that changes
them, and stand in one file that is replaced in one step.

Writing (`writer.py`). The state is captured at a position; the rows of the series are encoded in slices of a
millisecond while ingest goes on, and a series that changes hands over its old row first (`metrics.series`). A
thread then syncs the journal and replaces the file. Only afterwards the segments go that the checkpoint makes
superfluous: those below its position without a waiting log record.

Replaying. Segments are read from the checkpoint's on, from their start: declarations (S, D) of the part before the
position are needed to read the batches behind it, and reading them twice changes nothing. Every other record behind
the position is done once more, through the same methods that the streams use (`TelemetryState.take`,
`Aggregate.begin`, `expire`, …), with the times and the rejections that stand in it.

A crash at each step leaves:

    while the state is captured    the old file and all segments since: the replay is longer
    while the file is replaced     the old file or the new one, never a mixture (write beside, sync, rename)
    before segments are released   the new file; the next checkpoint releases them
    while segments are released    some of them; the cursor lies behind them all
    during a replay                what was before it: a replay writes nothing but repairs

Exactness. A batch is journaled as it was accepted: without duplicates, without rejected groups, with its rejections
beside it. So a replay checks nothing anew: a later program with other rules takes the old batches as the old one
did. Duplicates alone are not journaled; after a crash those since the checkpoint are not in the ledger, on neither
side of its sum.

Losses. A record that cannot be decoded or applied is counted and left out, because a start that fails on it would
fail for ever. A checkpoint that cannot be used is set aside, and the journal alone is replayed. Log records that
wait in segments that are gone count as dropped, `journal_damaged`. If the journal ends before the checkpoint's
position (its volume was lost), appending begins in a segment above it, so that no new record is taken for an old
one.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from sidecar.checkpoint.format import Checkpoint
from sidecar.checkpoint.state import TelemetryState
from sidecar.journal.journal import EventJournal
from sidecar.journal.segment import BatchEntry, SegmentEntry, SeriesExpiry, SessionLost, SessionMark, StreamContext
from sidecar.telemetry.model import JournalPosition, Session
from telemetry_contract.v1 import telemetry_pb2 as pb

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """Batches replayed, and records that could not be decoded or applied."""

    batches: int = 0
    unreadable: int = 0


def restore(state: TelemetryState, journal: EventJournal, checkpoint: Checkpoint) -> ReplayResult:
    """Fill an empty state from the checkpoint and the journal behind it. An OSError of the journal passes through."""
    # Segments were lost: new records must stand behind the checkpoint, or the next replay would skip them.
    if checkpoint.position.segment >= journal.end.segment:
        journal.skip_to(checkpoint.position.segment + 1)
    state.restore(checkpoint)
    found = [_replay_segment(state, journal, segment, checkpoint.position) for segment in journal.segments]
    return ReplayResult(sum(each.batches for each in found), sum(each.unreadable for each in found))


def _replay_segment(state: TelemetryState, journal: EventJournal, segment: int, start: JournalPosition) -> ReplayResult:
    reader = journal.read(segment) if segment >= start.segment else None
    if reader is None:
        return ReplayResult()
    batches = faults = 0
    for record, stream, entry in reader:
        state.next_stream = max(state.next_stream, stream + 1)
        # Declarations also of the part before the checkpoint: the batches behind it need them.
        if JournalPosition(segment, record.start) < start and not isinstance(entry, pb.Define):
            continue
        context, end = reader.streams.get(stream), JournalPosition(segment, record.end)
        try:
            batches += _apply_again(state, stream, entry, context, end)
        except Exception:  # noqa: BLE001 - a record that ends every start would be worse than one that is left out
            _log.exception("journal record left out", extra={"segment": segment, "offset": record.start})
            faults += 1
    return ReplayResult(batches, reader.unreadable + faults)


def _apply_again(
    state: TelemetryState, stream: int, entry: SegmentEntry, context: StreamContext | None, end: JournalPosition
) -> bool:
    """Apply a record. True if it was a batch."""
    aggregate = state.aggregate
    match entry, context:
        case SessionLost(), _:
            # By its name: the stream that it began on may stand in a segment that is gone.
            aggregate.end(Session(producer_id=entry.producer_id, session_id=entry.session_id))
        case SeriesExpiry(), _:
            aggregate.expire(entry.now_ns, entry.idle_ns)
        case _, None:
            raise ValueError(f"record of stream {stream}, which its segment does not name")
        case pb.Define(), StreamContext():
            kind = context.types[entry.event_id]
            aggregate.define(stream, context.session, kind, recovery=context.hello.recovery)
        case pb.Hello(), StreamContext():
            # No time in the record: a session without an event is the first to be forgotten.
            state.session(context.session, entry.first_sequence, 0)
        case SessionMark.BEGIN, StreamContext():
            aggregate.begin(context.session)
        case SessionMark.END, StreamContext():
            aggregate.end(context.session)
        case BatchEntry(), StreamContext():
            _apply_batch(state, stream, entry, context, end)
            return True
    return False


def _apply_batch(
    state: TelemetryState, stream: int, entry: BatchEntry, context: StreamContext, end: JournalPosition
) -> None:
    stored = context.stored(end, pb.Batch.FromString(entry.raw), entry.received_ns)
    if entry.kept:
        # Counted when its first copy was applied; only the log records wait, in this place now.
        state.log_queue.add(stored, len(entry.raw))
        return
    session = state.session(context.session, context.hello.first_sequence, entry.received_ns)
    rejections = list(pb.Ack.FromString(entry.refused).rejected)
    state.take(stream, stored, session, rejections, len(entry.raw))
