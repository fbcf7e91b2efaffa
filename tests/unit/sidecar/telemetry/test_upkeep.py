from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sidecar.telemetry.checkpoint import Checkpoint
from sidecar.telemetry.saving import Saving
from sidecar.telemetry.settings import TelemetrySettings
from sidecar.telemetry.upkeep import Upkeep
from tests.unit.sidecar.telemetry.batches import batch, orders
from tests.unit.sidecar.telemetry.test_crash import Core


@dataclass
class Kept:
    """A core with its upkeep, whose sessions are connected or not as the test says."""

    core: Core = field(default_factory=Core)
    connected: set[tuple[str, str]] = field(default_factory=set)

    def __post_init__(self) -> None:
        core = self.core
        saving = Saving(core.journal, core.held, Checkpoint(), instance_id="i", clock=core.tick)
        self.upkeep = Upkeep(
            TelemetrySettings(socket=Path("s"), session_grace_s=60, idle_expiry_s=1),
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
