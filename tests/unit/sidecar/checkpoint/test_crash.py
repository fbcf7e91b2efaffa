"""Killed at any moment: what a checkpoint and the journal bring back is what there was."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.checkpoint import format as checkpoints
from sidecar.checkpoint.replay import restore
from sidecar.checkpoint.state import TelemetryState
from sidecar.export.log_queue import LogQueue
from sidecar.ingest.accept import Intake, OpenStream, StreamFaultError
from sidecar.ingest.tail import Tail
from sidecar.ingest.validate import StreamLimits
from sidecar.journal.journal import EventJournal
from sidecar.journal.segment import segment_name
from sidecar.journal.volume import MemoryVolume
from sidecar.metrics.aggregate import Aggregate, SeriesLimits
from sidecar.metrics.ledger import LedgerCounts
from telemetry_contract.v1 import telemetry_pb2 as pb
from tests.unit.sidecar.batches import (
    TIME_NS,
    batch,
    filled,
    hello,
    order_define,
    orders,
    sample_define,
    samples,
)

SEGMENT_BYTES = 700
HOUR_NS = 3_600_000_000_000
EXAMPLES = int(os.environ.get("CRASH_EXAMPLES", "150"))


def named_order_define() -> pb.Define:
    """An order's event, of which one status exists from the first batch on."""
    define = order_define()
    define.instruments[0].presets.add(values=["status1"])
    return define


@dataclass
class Core:
    """The state behind the streams, on a volume in memory."""

    volume: MemoryVolume = field(default_factory=MemoryVolume)
    now_ns: int = TIME_NS
    segment_bytes: int = SEGMENT_BYTES

    def __post_init__(self) -> None:
        self.counts = LedgerCounts()
        self.aggregate = Aggregate(SeriesLimits(instrument=3))
        self.journal = EventJournal(self.volume, segment_bytes=self.segment_bytes)
        self.backlog = LogQueue(self.journal, self.counts.logs, memory_bytes=4000)
        self.held = TelemetryState(self.aggregate, self.backlog, self.counts)
        self.intake = Intake(self.journal, self.held, StreamLimits(max_string_bytes=64), Tail())
        try:
            stored = checkpoints.decode(self.volume.read(checkpoints.FILE))
        except FileNotFoundError:
            stored = checkpoints.Checkpoint()
        self.replayed = restore(self.held, self.journal, stored)
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
        self.volume.replace(checkpoints.FILE, checkpoints.encode(self.held.checkpoint(self.journal.end, "instance")))

    def killed(self) -> Core:
        """What a new process finds."""
        copy = MemoryVolume()
        copy.files = {name: bytearray(data) for name, data in self.volume.files.items()}
        return Core(copy, self.now_ns, self.segment_bytes)

    def state(self) -> dict[str, Any]:
        state = checkpoints.decode(checkpoints.encode(self.held.checkpoint(self.journal.end, "instance")))
        assert self.counts.ledger(self.backlog.queued).balanced
        return {
            "aggregate": sorted(map(repr, state.aggregate)),
            "sessions": sorted(row[:3] for row in state.sessions),
            "counts": state.counts,
            "waiting": None if state.backlog is None else state.backlog["waiting"],
            "snapshot": self.aggregate.snapshot(self.now_ns),
        }

    def log_sequences(self) -> list[tuple[str, str, int]]:
        """Every event with a log record that waits, as the exporter would see it."""
        found, after = [], self.backlog.cursor
        while stored := self.backlog.batches(after, 5):
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


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.sampled_from(["a", "b"]), st.sampled_from(["s1", "s2"]), st.integers(1, 9)),
        st.tuples(st.just("overlap"), st.just("a"), st.sampled_from(["s1", "s2"]), st.integers(1, 9)),
        st.tuples(st.sampled_from(["checkpoint", "expire", "end", "reconnect", "damage", "later", "earlier"])),
    ),
    max_size=25,
)


def play(core: Core, steps: list[tuple[Any, ...]]) -> Core:
    for step in steps:
        one_step(core, step)
    return core


def one_step(core: Core, step: tuple[Any, ...]) -> None:
    match step:
        case ("send", producer, session, count):
            core.send(producer, session, count, core.stream(producer, session).state.durable_through + 1)
        case ("overlap", producer, session, count):
            durable = core.stream(producer, session).state.durable_through
            core.send(producer, session, count, max(1, durable - 1))
        case ("checkpoint",):
            core.checkpoint()
        case ("expire",):
            core.intake.expire(core.tick(), 3_000_000)
        case ("end",) if core.streams:
            key = next(iter(core.streams))
            core.intake.end_session(core.streams.pop(key))
        case ("later",):
            core.now_ns += HOUR_NS
        case ("earlier",):
            core.now_ns -= HOUR_NS
        case ("reconnect",):
            core.streams.clear()
        case ("damage",) if core.streams:
            stream = next(iter(core.streams.values()))
            bad = batch(stream.state.durable_through + 1, filled(2))
            del bad.groups[0].columns[2].doubles[:]
            (rejection,) = core.intake.batch(stream, bad.SerializeToString(), core.tick())
            assert (rejection.reason, rejection.count) == ("column_length", 2)


@settings(max_examples=EXAMPLES, deadline=None)
@given(STEPS)
def test_a_replay_gives_the_state_there_was(steps: list[tuple[Any, ...]]) -> None:
    core = play(Core(), steps)
    again = core.killed()
    assert without_duplicates(again.state()) == without_duplicates(core.state())
    assert again.log_sequences() == core.log_sequences()
    snapshot = again.aggregate.snapshot(again.now_ns)
    points = [point for each in snapshot.producers for family in each.families for point in family.points]
    assert all(point.start_ns <= snapshot.time_ns for point in points)


def without_duplicates(state: dict[str, Any]) -> dict[str, Any]:
    """Duplicates are not journaled: after a crash they count from the checkpoint on, on both sides of the sum."""
    producers = state["counts"]["producers"]
    for counts in producers.values():
        counts[0] -= counts[2]
        counts[2] = 0
    state["counts"]["producers"] = {key: counts for key, counts in producers.items() if any(counts[:2]) or counts[3]}
    return state


@settings(max_examples=EXAMPLES, deadline=None)
@given(STEPS, st.integers(0, 25), st.integers(0, 25))
def test_every_sequence_is_counted_and_logged_once_whatever_kills(
    steps: list[tuple[Any, ...]], first_kill: int, second_kill: int
) -> None:
    core = Core()
    for number, step in enumerate(steps):
        if number in {first_kill, second_kill}:
            core = core.killed()
        one_step(core, step)
    sequences = core.log_sequences()
    assert len(sequences) == len(set(sequences))
    refused = sum(core.counts.ledger(0).events.rejected.values())
    events = sum(state.durable_through for state in core.held.sessions.values())
    assert core.counts.ledger(0).events.counted == events - refused


@pytest.mark.parametrize("checkpointed", [False, True])
def test_a_journal_cut_at_every_byte_of_its_last_record_gives_what_was_before(checkpointed: bool) -> None:
    core = Core()
    core.send("a", "s1", 4, 1)
    if checkpointed:
        core.checkpoint()
    before, wanted = core.journal.end, without_duplicates(core.state())
    core.send("a", "s1", 3, 5)
    assert core.journal.end.segment == before.segment
    name = segment_name(before.segment)
    whole = bytes(core.volume.files[name])
    wanted.pop("snapshot")
    for cut in range(before.offset, len(whole)):
        core.volume.files[name] = bytearray(whole[:cut])
        again = core.killed()
        assert len(again.volume.files[name]) == before.offset
        found = without_duplicates(again.state())
        found.pop("snapshot")
        assert found == wanted
        again.send("a", "s1", 3, 5)
        assert again.stream("a", "s1").state.durable_through == 7


def test_a_damaged_record_is_set_aside_counted_and_the_rest_is_used() -> None:
    core = Core()
    for first in (1, 4, 7):
        core.send("a", "s1", 3, first)
    segment = core.journal.segments[0]
    name = segment_name(segment)
    places = [record for record, _, said in core.journal.read(segment) or () if hasattr(said, "raw")]
    core.volume.files[name][places[0].end - 1] ^= 1
    again = core.killed()
    assert name + ".damaged" in again.volume.files
    assert (again.journal.damaged_segments, again.journal.damaged_bytes) == (1, places[0].end - places[0].start)
    assert [sequence for _, _, sequence in again.log_sequences()] == [4, 5, 7, 8]


def test_a_segment_whose_header_is_gone_is_set_aside_and_the_others_are_used() -> None:
    core = Core()
    for first in range(1, 30, 3):
        core.send("a", "s1", 3, first)
    assert len(core.journal.segments) > 2
    core.volume.files[segment_name(core.journal.segments[0])][:4] = b"????"
    again = core.killed()
    assert again.journal.damaged_segments == 1
    assert again.stream("a", "s1").state.durable_through == 30
    assert again.counts.ledger(again.backlog.queued).balanced


@pytest.mark.parametrize(
    "payload", [b"?", b"?12345678", b"S", b"X12", b"D\x01\x00\x00\x00\xff\xff", b"B\x09\x00\x00\x00" + bytes(12)]
)
def test_a_record_that_says_nothing_is_counted_and_left_out(payload: bytes) -> None:
    core = Core()
    core.send("a", "s1", 3, 1)
    core.journal.append([payload])
    core.send("a", "s1", 3, 4)
    again = core.killed()
    assert again.stream("a", "s1").state.durable_through == 6
    assert (again.replayed.batches, again.replayed.unreadable) == (2, 1)


def test_only_the_youngest_damaged_segments_are_kept() -> None:
    core = Core()
    for first in range(1, 61, 3):
        core.send("a", "s1", 3, first)
    for segment in core.journal.segments:
        core.volume.files[segment_name(segment)][:4] = b"????"
    damaged = [name for name in core.killed().volume.files if name.endswith(".damaged")]
    assert len(damaged) == 4


def test_sessions_that_are_silent_or_too_many_are_forgotten_but_not_connected_ones() -> None:
    core = Core()
    for session in ("s1", "s2", "s3"):
        core.send("a", session, 1, 1)
    core.intake.close_stream(core.streams["a", "s1"])
    core.intake.close_stream(core.streams["a", "s2"])
    core.intake.forget_sessions(before_ns=0, most=2)
    assert set(core.held.sessions) == {("a", "s2"), ("a", "s3")}
    core.intake.forget_sessions(before_ns=core.now_ns + 1, most=2)
    assert set(core.held.sessions) == {("a", "s3")}


def test_a_gap_ends_the_stream_and_takes_nothing() -> None:
    core = Core()
    core.send("a", "s1", 3, 1)
    with pytest.raises(StreamFaultError, match="sequence_gap"):
        core.send("a", "s1", 3, 5)
    assert core.counts.ledger(0).events.received == 3


def test_recovery_takes_counters_and_no_gauges() -> None:
    core = Core()
    core.send("a", "old", 3, 1, recovery=True)
    names = [family.name for producer in core.aggregate.snapshot(1).producers for family in producer.families]
    assert names == ["broker.order.duration", "broker.orders"]
