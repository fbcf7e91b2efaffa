"""State behind all streams: sessions, series, ledger and log queue, changed by the same steps in a replay."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sidecar.checkpoint.format import Checkpoint
from sidecar.export.log_queue import LogQueue
from sidecar.metrics.aggregate import Aggregate
from sidecar.metrics.ledger import LedgerCounts
from sidecar.telemetry.model import JournalPosition, Session, StoredBatch
from telemetry_contract.v1 import telemetry_pb2 as pb

SessionKey = tuple[str, str]
"""Producer id and session id."""


@dataclass(slots=True)
class SessionState:
    """Last sequence taken of a session, and the time of its last event."""

    durable_through: int = 0
    touched_ns: int = 0


class TelemetryState:
    """Everything that a checkpoint holds. One event loop only."""

    def __init__(self, aggregate: Aggregate, log_queue: LogQueue, counts: LedgerCounts) -> None:
        self.aggregate = aggregate
        self.log_queue = log_queue
        self.counts = counts
        self.instance_id = ""
        """`service.instance.id` of the resource, the same after a restart."""
        self.next_stream = 1
        self.sessions: dict[SessionKey, SessionState] = {}

    def session(self, session: Session, first_sequence: int, now_ns: int) -> SessionState:
        """State of a session, created if there is none. Events below `first_sequence` will never be sent."""
        state = self.sessions.setdefault((session.producer_id, session.session_id), SessionState())
        # Never lower: a producer that missed acknowledgements begins below what was taken.
        state.durable_through = max(state.durable_through, first_sequence - 1)
        state.touched_ns = max(state.touched_ns, now_ns)
        return state

    def take(
        self, stream: int, stored: StoredBatch, state: SessionState, rejections: Sequence[pb.Rejection], size: int
    ) -> None:
        """Apply a journaled batch of `size` bytes. Live streams and the replay both go through here."""
        batch = stored.batch
        counts = self.counts.of(stored.session.producer_id)
        counts.received += batch.count
        counts.counted += batch.count - sum(item.count for item in rejections)
        for item in rejections:
            counts.rejected[item.reason] += item.count
        state.durable_through = batch.first_sequence + batch.count - 1
        state.touched_ns = stored.received_ns
        self.aggregate.apply(stream, batch, stored.received_ns)
        self.log_queue.add(stored, size)

    def forget_sessions(self, before_ns: int, most: int, connected: Collection[SessionKey]) -> None:
        """Forget sessions silent since `before_ns`, and all but the `most` latest; never a connected one."""
        latest = sorted(self.sessions.items(), key=lambda item: item[1].touched_ns, reverse=True)
        self.sessions = {
            key: state
            for place, (key, state) in enumerate(latest)
            # A forgotten session that sends again would have its events counted twice: so only long after its last
            # event.
            if key in connected or (place < most and state.touched_ns >= before_ns)
        }

    def checkpoint(self, position: JournalPosition) -> Checkpoint:
        """State of this moment, which is that of the journal up to `position`."""
        return Checkpoint(
            position=position,
            instance_id=self.instance_id,
            next_stream=self.next_stream,
            sessions=[(*key, state.durable_through, state.touched_ns) for key, state in self.sessions.items()],
            counts=self.counts.capture(),
            log_queue=self.log_queue.capture(),
            aggregate=self.aggregate.capture(),
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Load a checkpoint into an empty state."""
        self.instance_id = checkpoint.instance_id
        self.next_stream = checkpoint.next_stream
        self.sessions = {
            (producer_id, session_id): SessionState(durable_through, touched_ns)
            for producer_id, session_id, durable_through, touched_ns in checkpoint.sessions
        }
        if checkpoint.counts is not None:
            self.counts.restore(checkpoint.counts)
        if checkpoint.log_queue is not None:
            self.log_queue.restore(checkpoint.log_queue, checkpoint.position)
        self.aggregate.restore(checkpoint.aggregate)
