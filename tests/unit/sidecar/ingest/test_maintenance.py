from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest

from sidecar.checkpoint.writer import CheckpointWriter
from sidecar.ingest.maintenance import Maintenance
from sidecar.ingest.producers import Producers
from sidecar.ingest.service import IngestService
from sidecar.telemetry.model import JournalPosition
from sidecar.telemetry.settings import TelemetrySettings
from tests.unit.sidecar.batches import batch, orders
from tests.unit.sidecar.telemetry_core import TelemetryCore


@dataclass
class MaintainedCore:
    """A core with its maintenance, whose sessions are connected or not as the test says."""

    core: TelemetryCore = field(default_factory=TelemetryCore)
    connected: set[tuple[str, str]] = field(default_factory=set)
    producers: Producers = field(default_factory=Producers)

    def __post_init__(self) -> None:
        core = self.core
        core.intake.settings = TelemetrySettings(socket=Path("s"), session_grace_s=60, idle_expiry_s=1)
        checkpoints = CheckpointWriter(core.journal, core.telemetry_state, JournalPosition(), core.tick)
        self.maintenance = Maintenance(core.intake, checkpoints, cast("IngestService", self), core.tick)

    def is_connected(self, producer_id: str, session_id: str) -> bool:
        return (producer_id, session_id) in self.connected

    def gauges(self) -> list[str]:
        return [
            family.name
            for producer in self.core.aggregate.snapshot(self.core.tick()).producers
            for family in producer.families
            if family.name == "connection.status"
        ]


def test_the_gauges_of_a_session_that_does_not_come_back_end_after_the_grace() -> None:
    maintained = MaintainedCore()
    maintained.core.send("a", "s1", 6, 1)
    maintained.maintenance.end_lost_sessions(100.0)
    maintained.maintenance.end_lost_sessions(159.9)
    assert maintained.gauges() == ["connection.status"]
    maintained.maintenance.end_lost_sessions(160.0)
    assert maintained.gauges() == []
    assert maintained.core.killed().state() == maintained.core.state()


def test_a_session_that_comes_back_within_the_grace_keeps_its_gauges() -> None:
    maintained = MaintainedCore()
    maintained.core.send("a", "s1", 6, 1)
    maintained.maintenance.end_lost_sessions(100.0)
    maintained.connected.add(("a", "s1"))
    maintained.maintenance.end_lost_sessions(130.0)
    maintained.connected.clear()
    maintained.maintenance.end_lost_sessions(161.0)
    assert maintained.gauges() == ["connection.status"]


def test_an_overflow_is_said_once_for_each_instrument(caplog: pytest.LogCaptureFixture) -> None:
    maintained = MaintainedCore()
    rows = [(f"status{number}", "buy", 0.5, "x") for number in range(9)]
    maintained.core.intake.batch(
        maintained.core.stream("a", "s1"), batch(1, orders(rows)).SerializeToString(), maintained.core.tick()
    )
    with caplog.at_level(logging.WARNING):
        maintained.maintenance.report_overflow()
        maintained.maintenance.report_overflow()
    said = sorted(record.instrument for record in caplog.records)  # type: ignore[attr-defined] # an extra field
    assert said == ["broker.order.duration", "broker.orders"]


def test_idle_series_expire_but_for_named_ones_and_a_replay_forgets_them_too() -> None:
    maintained = MaintainedCore()
    maintained.core.send("a", "s1", 6, 1)
    maintained.core.now_ns += 2_000_000_000
    maintained.maintenance.expire()
    (producer,) = maintained.core.aggregate.snapshot(maintained.core.tick()).producers
    (family,) = producer.families
    assert [point.labels[0] for point in family.points] == [("status", "status1")]
    assert maintained.core.killed().state() == maintained.core.state()
