from __future__ import annotations

from pathlib import Path

from producer.stream.control import ControlMessages
from telemetry_contract.v1 import telemetry_pb2 as pb
from tests.unit.producer.fake_sidecar import SidecarFake, listening, until
from tests.unit.producer.samples import LONG, SMALL, Chatter, emitter, sale
from tests.unit.producer.stream.live_stream import streaming


async def test_heartbeats_carry_conditions_and_ledger(tmp_path: Path) -> None:
    made, fake = emitter(tmp_path), SidecarFake()
    made.emit(sale())
    async with listening(fake, tmp_path / "run" / "t.sock"), streaming(tmp_path, made):
        await until(lambda: len(fake.heartbeats) > 2 and made.ledger().held == 0)
    beat = fake.heartbeats[-1]
    venue, spool = beat.conditions
    assert (venue.name, venue.ok, venue.reason, venue.message, venue.advisory) == (
        "VenueReachable",
        False,
        "TimedOut",
        "no answer",
        False,
    )
    assert venue.since_unix_nano == 1_767_312_000 * 10**9
    assert (spool.name, spool.ok, spool.reason, spool.advisory) == ("TelemetrySpool", True, "Ready", True)
    assert (beat.ledger.emitted, beat.ledger.acknowledged, beat.ledger.held) == (1, 1, 0)


async def test_a_failed_volume_is_a_condition(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("a file stands where the directory should")
    made, fake = emitter(tmp_path), SidecarFake()
    made.emit(sale())
    async with listening(fake, tmp_path / "run" / "t.sock"), streaming(tmp_path, made):
        await until(lambda: made.ledger().acknowledged == 1 and fake.heartbeats)
    spool = fake.heartbeats[0].conditions[1]
    assert (spool.ok, spool.reason, spool.message) == (
        False,
        "VolumeFailing",
        "events are kept in memory only: Not a directory",
    )


async def test_acknowledgements_of_secrets_are_told_again_on_each_stream(tmp_path: Path) -> None:
    made, fake = emitter(tmp_path), SidecarFake(break_every=1)
    async with listening(fake, tmp_path / "run" / "t.sock"), streaming(tmp_path, made) as stream:
        stream.control.secrets_applied(4)
        stream.control.secrets_rejected(5, "venue", "authentication_failed", "the venue answered 401")
        await until(lambda: len(fake.news) == 2)
        fake.news.clear()
        made.emit(sale())
        await until(lambda: len(fake.hellos) == 2 and len(fake.news) == 2)
    applied = next(item.secrets_applied for item in fake.news if item.HasField("secrets_applied"))
    rejected = next(item.secrets_rejected for item in fake.news if item.HasField("secrets_rejected"))
    assert applied.generation == 4
    assert (rejected.generation, rejected.secret, rejected.reason) == (5, "venue", "authentication_failed")


async def test_a_generation_that_is_applied_ends_an_older_refusal(tmp_path: Path) -> None:
    made, fake = emitter(tmp_path), SidecarFake()
    async with streaming(tmp_path, made, drain_s=0.1) as stream:
        stream.control.secrets_rejected(5, "venue", "authentication_failed", "")
        stream.control.secrets_applied(6)
        async with listening(fake, tmp_path / "run" / "t.sock"):
            await until(lambda: fake.news)
    assert [item.WhichOneof("message") for item in fake.news] == ["secrets_applied"]


def test_a_full_spool_is_a_condition(tmp_path: Path) -> None:
    made = emitter(tmp_path, **SMALL)
    control = ControlMessages(made, tuple)
    control.begin(pb.Welcome(heartbeat_interval_ms=1000))
    for _ in range(1000):
        made.emit(Chatter(LONG))
    (message,) = control.due()
    (spool,) = message.heartbeat.conditions
    assert (spool.ok, spool.reason) == (False, "SpoolFull")
    assert spool.message == "only reserved events are taken; the rest is dropped and counted"


def test_a_heartbeat_is_not_due_again_at_once(tmp_path: Path) -> None:
    control = ControlMessages(emitter(tmp_path), tuple)
    control.begin(pb.Welcome(heartbeat_interval_ms=100_000))
    assert [item.WhichOneof("message") for item in control.due()] == ["heartbeat"]
    assert list(control.due()) == []


def test_a_stream_closes_with_a_heartbeat_and_goodbye(tmp_path: Path) -> None:
    control = ControlMessages(emitter(tmp_path), tuple)
    control.begin(pb.Welcome(heartbeat_interval_ms=100_000))
    list(control.due())
    assert [item.WhichOneof("message") for item in control.closing()] == ["heartbeat", "goodbye"]
