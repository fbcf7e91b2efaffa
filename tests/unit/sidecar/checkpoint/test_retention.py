from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from sidecar.checkpoint import retention
from sidecar.checkpoint.retention import JOURNAL_FULL, Retention
from sidecar.checkpoint.writer import CheckpointWriter
from sidecar.telemetry.model import JournalPosition
from telemetry_contract.v1 import telemetry_pb2 as pb
from tests.unit.sidecar.batches import batch, orders
from tests.unit.sidecar.telemetry_core import TelemetryCore

LIMIT_BYTES = 80_000


@dataclass
class FullCore:
    """A core whose journal is bounded: small segments, and half of the room for each producer."""

    core: TelemetryCore = field(default_factory=lambda: TelemetryCore(segment_bytes=16_000))

    def __post_init__(self) -> None:
        core = self.core
        checkpoints = CheckpointWriter(core.journal, core.telemetry_state, JournalPosition(), core.tick)
        self.retention = Retention(
            core.journal, core.log_queue, checkpoints, limit_bytes=LIMIT_BYTES, quota_bytes=LIMIT_BYTES // 2
        )


def filled_by(full: FullCore, producers: list[str], rounds: int) -> None:
    """Each producer sends a batch of ninety events a round."""
    for number in range(rounds):
        for place, producer in enumerate(producers):
            full.core.send(producer, f"s{place}", 90, 1 + 90 * number)


async def test_a_noisy_producer_gives_up_its_own_log_records_and_nobody_elses() -> None:
    full = FullCore()
    filled_by(full, ["noisy"] * 9 + ["quiet"], 8)
    quiet = [key for key in full.core.killed().log_sequences() if key[0] == "quiet"]
    assert full.core.journal.size_bytes > LIMIT_BYTES
    await full.retention.make_room()
    assert full.core.journal.size_bytes <= LIMIT_BYTES
    assert {reason for reason, _ in full.core.counts.logs.dropped} == {"producer_quota"}
    for core in (full.core, full.core.killed()):
        assert sorted(key for key in core.log_sequences() if key[0] == "quiet") == sorted(quiet)
        assert core.counts.ledger(core.log_queue.queued).balanced
        assert core.counts.ledger(0).events.counted == 10 * 8 * 90


async def test_where_all_are_within_their_quota_the_oldest_records_go_whoever_sent_them() -> None:
    full = FullCore()
    filled_by(full, ["a", "b", "c"], 20)
    await full.retention.make_room()
    assert full.core.journal.size_bytes <= LIMIT_BYTES
    assert {reason for reason, _ in full.core.counts.logs.dropped} == {"journal_full"}


async def test_a_producer_alone_has_no_quota() -> None:
    full = FullCore()
    filled_by(full, ["a"], 80)
    await full.retention.make_room()
    assert {reason for reason, _ in full.core.counts.logs.dropped} == {"journal_full"}


async def test_what_a_producer_holds_is_known_after_a_restart() -> None:
    full = FullCore()
    filled_by(full, ["noisy"] * 9 + ["quiet"], 8)
    full.core.checkpoint()
    assert full.core.killed().log_queue.beyond(40_000) == full.core.log_queue.beyond(40_000) == {"noisy"}


async def test_reserved_types_outlive_the_segment_that_is_dropped() -> None:
    full = FullCore(TelemetryCore())
    core = full.core
    stream = core.stream("a", "s1")
    core.intake.define(stream, chatter_define())
    core.intake.batch(
        stream, batch(1, chatter(40, range(40)), orders_at(range(40, 44))).SerializeToString(), core.now_ns
    )
    segment = core.journal.end.segment
    core.send("a", "s1", 4, 45)
    await full.retention.rescue(segment)
    assert core.log_queue.drop(segment, JOURNAL_FULL) == {"chatter": 40}
    assert core.counts.ledger(core.log_queue.queued).balanced
    core.checkpoint()
    core.journal.release(segment + 1)
    for each in (core.killed(), core):
        assert sorted(each.log_sequences()) == [("a", "s1", sequence) for sequence in (41, 42, 43, 44, 46, 47)]
        assert each.counts.ledger(each.log_queue.queued).balanced
        assert each.counts.ledger(0).logs.accepted == 46


async def test_records_exported_during_the_search_are_not_rescued(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "TURN_S", -1)  # a pause after every record
    full = FullCore(TelemetryCore())
    core = full.core
    stream = core.stream("a", "s1")
    core.intake.define(stream, chatter_define())
    core.intake.batch(
        stream, batch(1, chatter(40, range(40)), orders_at(range(40, 44))).SerializeToString(), core.now_ns
    )
    segment = core.journal.end.segment
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(full.retention.rescue(segment))
        await asyncio.sleep(0)
        (taken,) = core.log_queue.batches(JournalPosition(), 1)
    core.log_queue.advance(taken.end, exported=44, rejected={})
    assert core.log_queue.drop(segment, JOURNAL_FULL) == {}
    assert core.counts.ledger(core.log_queue.queued).balanced
    assert core.log_queue.queued == 0


async def test_a_segment_of_hardly_anything_but_reserved_types_goes_whole() -> None:
    full = FullCore(TelemetryCore())
    core = full.core
    core.send("a", "s1", 300, 1)
    segment = core.journal.end.segment
    core.send("a", "s1", 9, 301)
    await full.retention.rescue(segment)
    assert core.log_queue.drop(segment, JOURNAL_FULL) == {"order.transition": 200}


def chatter_define() -> pb.Define:
    text = pb.Field(name="text", type=pb.FIELD_TYPE_STRING, role=pb.FIELD_ROLE_ATTRIBUTE)
    return pb.Define(event_id=3, name="chatter", fields=[text], log=pb.LogTemplate(body="Chatter"))


def chatter(count: int, offsets: range) -> pb.Group:
    texts = pb.Column(values=["x" * 60] * count)
    return pb.Group(event_id=3, count=count, offsets=offsets, time_offsets_nano=[0] * count, columns=[texts])


def orders_at(offsets: range) -> pb.Group:
    return orders([("filled", "buy", 0.5, f"o{place}") for place in offsets], offsets)
