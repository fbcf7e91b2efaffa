from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sidecar.checkpoint.format import Checkpoint
from sidecar.checkpoint.writer import Saving
from sidecar.journal.retention import Upkeep
from sidecar.telemetry.settings import TelemetrySettings
from tests.unit.sidecar.batches import batch, orders
from tests.unit.sidecar.checkpoint.test_crash import Core


@dataclass
class Kept:
    """A core with its upkeep, whose sessions are connected or not as the test says."""

    core: Core = field(default_factory=Core)
    connected: set[tuple[str, str]] = field(default_factory=set)
    journal_bytes: int = 256 << 20

    def __post_init__(self) -> None:
        core = self.core
        saving = Saving(core.journal, core.held, Checkpoint(), instance_id="i", clock=core.tick)
        self.upkeep = Upkeep(
            TelemetrySettings(
                socket=Path("s"),
                session_grace_s=60,
                idle_expiry_s=1,
                journal_bytes=self.journal_bytes,
                segment_bytes=self.journal_bytes // 4,
            ),
            journal=core.journal,
            state=core.held,
            intake=core.intake,
            saving=saving,
            is_connected=lambda producer, session: (producer, session) in self.connected,
            clock=core.tick,
        )

    def gauges(self) -> list[str]:
        return [
            family.name
            for producer in self.core.aggregate.snapshot(self.core.tick()).producers
            for family in producer.families
            if family.name == "connection.status"
        ]


def test_the_gauges_of_a_session_that_does_not_come_back_end_after_the_grace() -> None:
    kept = Kept()
    kept.core.send("a", "s1", 6, 1)
    kept.upkeep._end_lost_sessions(100.0)
    kept.upkeep._end_lost_sessions(159.9)
    assert kept.gauges() == ["connection.status"]
    kept.upkeep._end_lost_sessions(160.0)
    assert kept.gauges() == []
    assert kept.core.killed().state() == kept.core.state()


def test_a_session_that_comes_back_within_the_grace_keeps_its_gauges() -> None:
    kept = Kept()
    kept.core.send("a", "s1", 6, 1)
    kept.upkeep._end_lost_sessions(100.0)
    kept.connected.add(("a", "s1"))
    kept.upkeep._end_lost_sessions(130.0)
    kept.connected.clear()
    kept.upkeep._end_lost_sessions(161.0)
    assert kept.gauges() == ["connection.status"]


def test_an_overflow_is_said_once_for_each_instrument(caplog: pytest.LogCaptureFixture) -> None:
    kept = Kept()
    rows = [(f"status{number}", "buy", 0.5, "x") for number in range(9)]
    kept.core.intake.batch(kept.core.stream("a", "s1"), batch(1, orders(rows)).SerializeToString(), kept.core.tick())
    with caplog.at_level(logging.WARNING):
        kept.upkeep._report_overflow()
        kept.upkeep._report_overflow()
    said = sorted(record.instrument for record in caplog.records)  # type: ignore[attr-defined] # an extra field
    assert said == ["broker.order.duration", "broker.orders"]


def test_idle_series_expire_but_for_named_ones_and_a_replay_forgets_them_too() -> None:
    kept = Kept()
    kept.core.send("a", "s1", 6, 1)
    kept.core.now_ns += 2_000_000_000
    kept.upkeep._expire()
    (producer,) = kept.core.aggregate.snapshot(kept.core.tick()).producers
    (family,) = producer.families
    assert [point.labels[0] for point in family.points] == [("status", "status1")]
    assert kept.core.killed().state() == kept.core.state()


def filled_by(kept: Kept, producers: list[str], rounds: int) -> None:
    """Each producer sends a batch of ninety events a round."""
    for number in range(rounds):
        for place, producer in enumerate(producers):
            kept.core.send(producer, f"s{place}", 90, 1 + 90 * number)


async def test_a_noisy_producer_gives_up_its_own_log_records_and_nobody_elses() -> None:
    kept = Kept(Core(segment_bytes=16_000), journal_bytes=80_000)
    filled_by(kept, ["noisy"] * 9 + ["quiet"], 8)
    quiet = [key for key in kept.core.killed().log_sequences() if key[0] == "quiet"]
    assert kept.core.journal.size_bytes > 80_000
    await kept.upkeep._make_room()
    assert kept.core.journal.size_bytes <= 80_000
    assert {reason for reason, _ in kept.core.counts.logs.dropped} == {"producer_quota"}
    for core in (kept.core, kept.core.killed()):
        assert sorted(key for key in core.log_sequences() if key[0] == "quiet") == sorted(quiet)
        assert core.counts.ledger(core.backlog.queued).balanced
        assert core.counts.ledger(0).events.counted == 10 * 8 * 90


async def test_where_all_are_within_their_quota_the_oldest_records_go_whoever_sent_them() -> None:
    kept = Kept(Core(segment_bytes=16_000), journal_bytes=80_000)
    filled_by(kept, ["a", "b", "c"], 20)
    await kept.upkeep._make_room()
    assert kept.core.journal.size_bytes <= 80_000
    assert {reason for reason, _ in kept.core.counts.logs.dropped} == {"journal_full"}


async def test_a_producer_alone_has_no_quota() -> None:
    kept = Kept(Core(segment_bytes=16_000), journal_bytes=80_000)
    filled_by(kept, ["a"], 80)
    await kept.upkeep._make_room()
    assert {reason for reason, _ in kept.core.counts.logs.dropped} == {"journal_full"}


async def test_what_a_producer_holds_is_known_after_a_restart() -> None:
    kept = Kept(Core(segment_bytes=16_000), journal_bytes=80_000)
    filled_by(kept, ["noisy"] * 9 + ["quiet"], 8)
    kept.core.checkpoint()
    assert kept.core.killed().backlog.beyond(40_000) == kept.core.backlog.beyond(40_000) == {"noisy"}
