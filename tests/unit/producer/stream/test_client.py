from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from producer.stream.client import TelemetryStream, has_descriptors
from tests.unit.producer.fake_sidecar import SidecarFake, listening, until
from tests.unit.producer.samples import SHOP, START_NS, VISIT, Chatter, Visit, emitter, sale, unlock
from tests.unit.producer.stream.live_stream import streaming


async def test_events_arrive_once_in_order_and_are_released(tmp_path: Path) -> None:
    made, fake = emitter(tmp_path), SidecarFake()
    async with listening(fake, tmp_path / "run" / "t.sock"), streaming(tmp_path, made) as stream:
        for number in range(1000):
            made.emit(sale(number))
            made.emit(Chatter("hm"))
        await until(lambda: made.ledger().acknowledged == 2000)
        assert stream.connected
    assert fake.taken == {"s1": list(range(1, 2001))}
    assert fake.faults == []
    assert fake.hellos[0].first_sequence == 1
    assert list(fake.defines.values()) == list(SHOP.defines({"broker": "oanda"}))
    assert fake.goodbyes == ["sigterm"]
    assert not stream.connected


async def test_batches_obey_the_limits_of_the_sidecar(tmp_path: Path) -> None:
    made, fake = emitter(tmp_path), SidecarFake()
    for number in range(1000):
        made.emit(sale(number))
    async with listening(fake, tmp_path / "run" / "t.sock"), streaming(tmp_path, made, batch_events=500):
        await until(lambda: made.ledger().acknowledged == 1000)
    assert fake.batches == [200, 200, 200, 200, 200]


async def test_a_batch_that_is_too_large_is_halved(tmp_path: Path) -> None:
    made, fake = emitter(tmp_path), SidecarFake(max_message_bytes=4096)
    for number in range(100):
        made.emit(Chatter(f"{number}" * 100))
    async with listening(fake, tmp_path / "run" / "t.sock"), streaming(tmp_path, made):
        await until(lambda: made.ledger().acknowledged == 100)
    assert fake.taken["s1"] == list(range(1, 101))
    assert max(fake.batches) < 25


async def test_no_more_is_under_way_than_the_window(tmp_path: Path) -> None:
    made, fake = emitter(tmp_path), SidecarFake(window_bytes=10_000, silent=True)
    for number in range(3000):
        made.emit(Chatter(f"{number}" * 10))
    async with listening(fake, tmp_path / "run" / "t.sock"), streaming(tmp_path, made, drain_s=0.2, ack_deadline_s=5.0):
        await until(lambda: fake.batches)
        await asyncio.sleep(0.1)
    assert 0 < fake.most_unacknowledged <= 10_000 + 64


async def test_a_stream_that_breaks_goes_on_where_it_was(tmp_path: Path) -> None:
    made, fake = emitter(tmp_path), SidecarFake(break_every=3)
    for number in range(2000):
        made.emit(sale(number))
    async with listening(fake, tmp_path / "run" / "t.sock"), streaming(tmp_path, made):
        await until(lambda: made.ledger().acknowledged == 2000)
    assert fake.taken["s1"] == list(range(1, 2001))
    assert fake.faults == []
    assert len(fake.hellos) > 3


@pytest.mark.parametrize("free", [True, False], ids=["descriptors", "no descriptors"])
async def test_a_stream_behind_a_silent_one_has_a_connection_of_its_own_where_descriptors_are_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, free: bool
) -> None:
    opened, make = [], TelemetryStream._channel

    def channel(stream: TelemetryStream) -> grpc.aio.Channel:
        opened.append(make(stream))
        return opened[-1]

    monkeypatch.setattr(TelemetryStream, "_channel", channel)
    monkeypatch.setattr("producer.stream.client.has_descriptors", lambda _: free)
    made, fake = emitter(tmp_path), SidecarFake(silent=True)
    made.emit(sale())
    async with listening(fake, tmp_path / "run" / "t.sock"), streaming(tmp_path, made, ack_deadline_s=0.1, drain_s=0.1):
        await until(lambda: len(fake.hellos) >= 2)
    assert (len(opened) >= 2) == free


def test_descriptors_are_asked_for_and_given_back() -> None:
    before, limits = len([*Path("/proc/self/fd").iterdir()]), resource.getrlimit(resource.RLIMIT_NOFILE)
    assert has_descriptors(4)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        assert not has_descriptors(1)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert len([*Path("/proc/self/fd").iterdir()]) == before


async def test_a_sidecar_that_comes_late_gets_everything(tmp_path: Path) -> None:
    made, fake = emitter(tmp_path), SidecarFake()
    async with streaming(tmp_path, made, drain_s=0.1) as stream:
        for number in range(100):
            made.emit(sale(number))
        await asyncio.sleep(0.05)
        assert not stream.connected
        async with listening(fake, tmp_path / "run" / "t.sock"):
            await until(lambda: made.ledger().acknowledged == 100)


async def test_a_sidecar_without_acknowledgements_is_left_and_tried_again(tmp_path: Path) -> None:
    made, fake = emitter(tmp_path), SidecarFake(silent=True)
    made.emit(sale())
    async with listening(fake, tmp_path / "run" / "t.sock"), streaming(tmp_path, made, ack_deadline_s=0.1, drain_s=1.0):
        await until(lambda: len(fake.hellos) > 1)
        fake.silent = False
        made.emit(sale())
        await until(lambda: made.ledger().acknowledged == 2)


async def test_refused_streams_are_tried_again(tmp_path: Path) -> None:
    made, fake = emitter(tmp_path), SidecarFake(refuse=True)
    made.emit(sale())
    async with listening(fake, tmp_path / "run" / "t.sock"), streaming(tmp_path, made):
        await asyncio.sleep(0.05)
        fake.refuse = False
        await until(lambda: made.ledger().acknowledged == 1)


async def test_a_drain_without_a_sidecar_ends_in_its_time_and_keeps_the_events(tmp_path: Path) -> None:
    made = emitter(tmp_path)
    made.emit(sale())
    async with asyncio.timeout(120), streaming(tmp_path, made, drain_s=0.1):
        pass
    made.close()
    assert (tmp_path / "spool" / "s1" / "00000000000000000001.spool").exists()


async def test_what_a_killed_predecessor_left_is_delivered_in_its_own_session(tmp_path: Path) -> None:
    dead = emitter(tmp_path, session_id="dead")
    for number in range(700):
        dead.emit(sale(number))
    unlock(dead)
    made, fake = emitter(tmp_path), SidecarFake()
    async with listening(fake, tmp_path / "run" / "t.sock"), streaming(tmp_path, made):
        made.emit(sale())
        await until(lambda: not dead.spool.directory.exists() and made.ledger().held == 0)
    assert fake.taken == {"s1": [1], "dead": list(range(1, 701))}
    hello = next(item for item in fake.hellos if item.session_id == "dead")
    assert (hello.recovery, hello.session_start_time_unix_nano) == (True, START_NS)
    assert fake.goodbyes == ["sigterm"]


async def test_a_gap_in_what_is_left_begins_a_new_stream_behind_it(tmp_path: Path) -> None:
    dead = emitter(tmp_path, session_id="dead", segment_bytes=1 << 16, spool_bytes=1 << 20)
    for number in range(4000):
        dead.emit(sale(number))
    unlock(dead)
    _, second, third, *_ = sorted(dead.spool.directory.glob("*.spool"))
    second.unlink()
    made, fake = emitter(tmp_path), SidecarFake()
    async with listening(fake, tmp_path / "run" / "t.sock"), streaming(tmp_path, made):
        await until(lambda: not dead.spool.directory.exists())
    assert fake.taken["dead"] == [*range(1, int(second.stem)), *range(int(third.stem), 4001)]
    assert fake.faults == []


async def test_refusals_are_counted_by_reason(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Refusing(SidecarFake):
        async def Publish(self, requests: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802 - gRPC's name
            async for response in super().Publish(requests, context):
                if response.HasField("ack"):
                    response.ack.rejected.add(first_sequence=1, count=3, reason="unknown_event")
                yield response

    made, fake = emitter(tmp_path), Refusing()
    made.emit(sale())
    async with listening(fake, tmp_path / "run" / "t.sock"), streaming(tmp_path, made):
        await until(lambda: made.ledger().acknowledged == 1)
    assert made.ledger().rejected == {"unknown_event": 3}
    (said,) = [record for record in caplog.records if record.getMessage() == "events refused"]
    assert said.__dict__["reason"] == "unknown_event"


async def test_the_open_stream_hears_of_a_late_type_before_its_first_event(tmp_path: Path) -> None:
    made, fake = emitter(tmp_path), SidecarFake()
    async with listening(fake, tmp_path / "run" / "t.sock"), streaming(tmp_path, made):
        made.emit(sale())
        await until(lambda: made.ledger().acknowledged == 1)
        made.declare(VISIT)
        made.emit(Visit("front"))
        await until(lambda: made.ledger().acknowledged == 2)
    assert fake.defines[3].name == "shop.visit"
    assert fake.faults == []
    assert len(fake.hellos) == 1
