"""State behind the streams, on a volume in memory: sends events, is killed, and starts again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sidecar.checkpoint import format as checkpoints
from sidecar.checkpoint.replay import restore
from sidecar.checkpoint.state import TelemetryState
from sidecar.export.log_queue import LogQueue
from sidecar.ingest.accept import Intake, OpenStream
from sidecar.ingest.tail import Tail
from sidecar.journal.journal import EventJournal
from sidecar.journal.volume import MemoryVolume
from sidecar.metrics.aggregate import Aggregate, SeriesLimits
from sidecar.metrics.ledger import LedgerCounts
from sidecar.telemetry.settings import TelemetrySettings
from telemetry_contract.v1 import telemetry_pb2 as pb
from tests.unit.sidecar.batches import TIME_NS, batch, hello, order_define, orders, sample_define, samples

SEGMENT_BYTES = 700


def named_order_define() -> pb.Define:
    """An order's event, of which one status exists from the first batch on."""
    define = order_define()
    define.instruments[0].presets.add(values=["status1"])
    return define


def encoded(checkpoint: checkpoints.Checkpoint) -> bytes:
    """The whole file of a checkpoint."""
    return b"".join(checkpoints.slices(checkpoint))


@dataclass
class TelemetryCore:
    """The state behind the streams, on a volume in memory."""

    volume: MemoryVolume = field(default_factory=MemoryVolume)
    now_ns: int = TIME_NS
    segment_bytes: int = SEGMENT_BYTES

    def __post_init__(self) -> None:
        self.counts = LedgerCounts()
        self.aggregate = Aggregate(SeriesLimits(instrument=3))
        self.journal = EventJournal(self.volume, segment_bytes=self.segment_bytes)
        self.log_queue = LogQueue(self.journal, self.counts.logs, memory_bytes=4000)
        self.telemetry_state = TelemetryState(self.aggregate, self.log_queue, self.counts)
        self.intake = Intake(self.journal, self.telemetry_state, TelemetrySettings(max_string_bytes=64), Tail())
        try:
            stored = checkpoints.decode(self.volume.read(checkpoints.FILE))
        except FileNotFoundError:
            stored = checkpoints.Checkpoint()
        self.replayed = restore(self.telemetry_state, self.journal, stored)
        self.streams: dict[tuple[str, str], OpenStream] = {}

    def tick(self) -> int:
        self.now_ns += 1_000_000
        return self.now_ns

    def stream(self, producer: str, session: str, *, recovery: bool = False) -> OpenStream:
        key = (producer, session)
        if key not in self.streams:
            stream = self.intake.open_stream(hello(producer, session, recovery=recovery), self.tick())
            for define in (named_order_define(), sample_define()):
                assert self.intake.define(stream, define) == []
            self.streams[key] = stream
        return self.streams[key]

    def send(self, producer: str, session: str, count: int, sequence: int, *, recovery: bool = False) -> None:
        stream = self.stream(producer, session, recovery=recovery)
        self.intake.batch(stream, mixed(sequence, count).SerializeToString(), self.tick())

    def checkpoint(self) -> None:
        self.volume.replace(checkpoints.FILE, encoded(self.telemetry_state.checkpoint(self.journal.end)))

    def killed(self) -> TelemetryCore:
        """State that a new process finds."""
        copy = MemoryVolume()
        copy.files = {name: bytearray(data) for name, data in self.volume.files.items()}
        return TelemetryCore(copy, self.now_ns, self.segment_bytes)

    def state(self) -> dict[str, Any]:
        state = checkpoints.decode(encoded(self.telemetry_state.checkpoint(self.journal.end)))
        assert self.counts.ledger(self.log_queue.queued).balanced
        return {
            "aggregate": sorted(map(repr, state.aggregate)),
            "sessions": sorted(row[:3] for row in state.sessions),
            "counts": state.counts,
            "waiting": None if state.log_queue is None else state.log_queue["waiting"],
            "snapshot": self.aggregate.snapshot(self.now_ns),
        }

    def log_sequences(self) -> list[tuple[str, str, int]]:
        """Every event with a log record that waits, as the exporter would see it."""
        found, after = [], self.log_queue.cursor
        while stored := self.log_queue.batches(after, 5):
            after = stored[-1].end
            for each in stored:
                for group in each.batch.groups:
                    if each.types[group.event_id].log:
                        places = group.offsets or range(group.count)
                        first = each.batch.first_sequence
                        key = (each.session.producer_id, each.session.session_id)
                        found += [(*key, first + place) for place in places]
        return found


def mixed(first: int, count: int) -> pb.Batch:
    """A batch whose events are told by their sequence alone: orders, and every third a sample."""
    sequences = range(first, first + count)
    order_rows = [
        (f"status{sequence % 5}", "buy" if sequence % 2 else "sell", sequence / 7, f"o{sequence}")
        for sequence in sequences
        if sequence % 3
    ]
    sample_rows = [(f"channel{sequence % 2}", sequence) for sequence in sequences if not sequence % 3]
    groups = []
    if order_rows:
        groups.append(orders(order_rows, [sequence - first for sequence in sequences if sequence % 3]))
    if sample_rows:
        groups.append(samples(sample_rows, [sequence - first for sequence in sequences if not sequence % 3]))
    return batch(first, *groups)
