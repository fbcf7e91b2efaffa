from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio

from sidecar.ingest.server import SocketError
from sidecar.ingest.service import MAX_UNNAMED
from sidecar.journal.volume import JournalInUseError
from sidecar.pipeline import TelemetryPipeline
from sidecar.telemetry.model import JournalPosition, Number
from sidecar.telemetry.settings import TelemetrySettings
from telemetry_contract.v1 import telemetry_pb2 as pb
from tests.unit.sidecar.batches import TIME_NS, Client, batch, filled, hello, order_define, sample_define, samples
from tests.unit.sidecar.mutations import mutated, seeded
from tests.unit.sidecar.secrets_reports import SecretsReports


def settings(place: Path, **changes: Any) -> TelemetrySettings:
    defaults: dict[str, Any] = {
        "socket": place / "run" / "t.sock",
        "journal_directory": place / "journal",
        "ack_delay_ms": 0.0,
        "drain_s": 1.0,
    }
    return TelemetrySettings(**{**defaults, **changes})


@asynccontextmanager
async def running(
    place: Path, *, secrets: SecretsReports | None = None, **changes: Any
) -> AsyncIterator[TelemetryPipeline]:
    pipeline = TelemetryPipeline(settings=settings(place, **changes), clock=lambda: TIME_NS, secrets=secrets)
    await pipeline.open()
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(pipeline.serve(stop))
        await pipeline.listening.wait()
        yield pipeline
        stop.set()
    await pipeline.close()


def values(pipeline: TelemetryPipeline, name: str) -> dict[tuple[str, ...], float]:
    return {
        tuple(value for _, value in point.labels): point.value
        for producer in pipeline.snapshot().producers
        for family in producer.families
        if family.name == name
        for point in family.points
        if isinstance(point, Number)
    }


async def test_events_are_acknowledged_counted_and_queued_as_log_records(tmp_path: Path) -> None:
    async with running(tmp_path) as pipeline, Client(pipeline.settings.socket) as client:
        welcome = await client.open()
        assert (welcome.durable_through, welcome.window_bytes) == (0, 4 << 20)
        client.send(define=order_define())
        client.send(batch=batch(1, filled(3)))
        assert await client.acknowledged(3) == []
        assert values(pipeline, "broker.orders") == {("filled", "oanda"): 3}
        ledger = pipeline.ledger()
        assert (ledger.events.received, ledger.events.counted, ledger.logs.queued) == (3, 3, 3)
        assert ledger.balanced


async def test_a_restart_goes_on_where_it_was(tmp_path: Path) -> None:
    async with running(tmp_path) as pipeline, Client(pipeline.settings.socket) as client:
        await client.open()
        client.send(define=order_define())
        client.send(batch=batch(1, filled(3)))
        await client.acknowledged(3)
        instance = pipeline.instance_id
    async with running(tmp_path) as pipeline, Client(pipeline.settings.socket) as client:
        assert pipeline.instance_id == instance
        assert (await client.open()).durable_through == 3
        client.send(define=order_define())
        client.send(batch=batch(2, filled(4)))
        await client.acknowledged(5)
        assert values(pipeline, "broker.orders") == {("filled", "oanda"): 5}
        assert pipeline.ledger().events.duplicate == 2


async def test_log_records_come_in_order_and_leave_when_exported(tmp_path: Path) -> None:
    async with running(tmp_path) as pipeline, Client(pipeline.settings.socket) as client:
        await client.open()
        client.send(define=order_define())
        for first in (1, 3, 5):
            client.send(batch=batch(first, filled(2, first)))
        await client.acknowledged(6)
        taken = await pipeline.state.log_queue.wait_batches(pipeline.state.log_queue.cursor, 4)
        assert [stored.batch.first_sequence for stored in taken] == [1, 3]
        pipeline.state.log_queue.advance(taken[-1].end, exported=3, rejected={"too_old": 1})
        rest = await pipeline.state.log_queue.wait_batches(pipeline.state.log_queue.cursor, 4)
        assert [stored.batch.first_sequence for stored in rest] == [5]
        logs = pipeline.ledger().logs
        assert (logs.exported, dict(logs.rejected), logs.queued) == (3, {"too_old": 1}, 2)
        assert logs.balanced


async def test_what_was_not_exported_is_read_from_the_journal_after_a_restart(tmp_path: Path) -> None:
    async with running(tmp_path) as pipeline, Client(pipeline.settings.socket) as client:
        await client.open()
        client.send(define=order_define())
        client.send(batch=batch(1, filled(2)))
        client.send(batch=batch(3, filled(2)))
        await client.acknowledged(4)
        taken = await pipeline.state.log_queue.wait_batches(JournalPosition(), 1)
        pipeline.state.log_queue.advance(taken[-1].end, exported=2, rejected={})
    async with running(tmp_path, memory_bytes=0) as pipeline:
        taken = await pipeline.state.log_queue.wait_batches(pipeline.state.log_queue.cursor, 100)
        assert [stored.batch.first_sequence for stored in taken] == [3]
        assert taken[0].types[1].name == "order.transition"
        assert pipeline.ledger().logs.queued == 2
        assert pipeline.ledger().balanced


async def test_goodbye_ends_the_gauges_and_not_the_counters(tmp_path: Path) -> None:
    heard = SecretsReports()
    async with running(tmp_path, secrets=heard) as pipeline, Client(pipeline.settings.socket) as client:
        await client.open()
        client.send(define=order_define())
        client.send(define=sample_define())
        client.send(batch=batch(1, filled(1)))
        client.send(batch=batch(2, samples([("rest", 1)])))
        await client.acknowledged(2)
        assert values(pipeline, "connection.status") == {("rest",): 1}
        client.send(goodbye=pb.Goodbye(reason="sigterm"))
        client.finish()
        assert (await client.status())[0] is grpc.StatusCode.OK
        assert values(pipeline, "connection.status") == {}
        assert values(pipeline, "broker.orders") == {("filled", "oanda"): 1}
        assert heard.said == [("connected", "broker"), ("goodbye", "broker")]
        (status,) = pipeline.producers.all()
        assert (status.connected, status.goodbye) == (False, "sigterm")


async def test_a_newer_stream_of_the_session_ends_the_older(tmp_path: Path) -> None:
    socket = settings(tmp_path).socket
    async with running(tmp_path) as pipeline, Client(socket) as older, Client(socket) as newer:
        await older.open()
        await newer.open()
        assert (await older.status())[0] is grpc.StatusCode.ALREADY_EXISTS
        (status,) = pipeline.producers.all()
        assert status.connected


async def test_a_second_session_of_a_producer_is_refused_and_says_nothing_about_it(tmp_path: Path) -> None:
    socket = settings(tmp_path).socket
    async with running(tmp_path) as pipeline, Client(socket) as broker, Client(socket) as impostor:
        await broker.open()
        impostor.send(hello=hello(session="s2"))
        code, text = await impostor.status()
        assert (code, text.partition(":")[0]) == (grpc.StatusCode.ALREADY_EXISTS, "session_alive")
        (status,) = pipeline.producers.all()
        assert (status.session_id, status.connected, status.goodbye) == ("s1", True, "")
        assert status.conditions == ()
        assert pipeline.ingest.counts.broken_rules == {"session_alive": 1}


async def test_a_restarted_producer_takes_the_place_of_a_stream_that_fell_silent(tmp_path: Path) -> None:
    socket = settings(tmp_path).socket
    async with (
        running(tmp_path, heartbeat_timeout_s=0.1) as pipeline,
        Client(socket) as frozen,
        Client(socket) as restarted,
    ):
        await frozen.open()
        await asyncio.sleep(0.2)
        await restarted.open(hello(session="s2"))
        assert (await frozen.status())[0] is grpc.StatusCode.ALREADY_EXISTS
        (status,) = pipeline.producers.all()
        assert (status.session_id, status.connected) == ("s2", True)


async def test_a_restarted_producer_delivers_what_its_predecessor_left_beside_its_own_stream(tmp_path: Path) -> None:
    socket = settings(tmp_path).socket
    async with running(tmp_path) as pipeline, Client(socket) as live, Client(socket) as recovery:
        await live.open(hello(session="s2"))
        await recovery.open(hello(session="s1", recovery=True))
        recovery.send(define=order_define())
        recovery.send(batch=batch(1, filled(2)))
        await recovery.acknowledged(2)
        assert values(pipeline, "broker.orders") == {("filled", "oanda"): 2}


async def test_streams_without_a_hello_take_bounded_room(tmp_path: Path) -> None:
    socket = settings(tmp_path).socket
    async with running(tmp_path) as pipeline, contextlib.AsyncExitStack() as clients:
        quiet = [await clients.enter_async_context(Client(socket)) for _ in range(MAX_UNNAMED + 1)]
        ended = [asyncio.ensure_future(client.status()) for client in quiet]
        done, waiting = await asyncio.wait(ended, timeout=60, return_when=asyncio.FIRST_COMPLETED)
        assert {task.result()[0] for task in done} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        for task in waiting:
            task.cancel()
        assert pipeline.ingest.counts.broken_rules["too_many_streams"] >= 1


async def test_one_producer_too_many_is_turned_away_by_name(tmp_path: Path) -> None:
    socket = settings(tmp_path).socket
    async with running(tmp_path, max_producers=1), Client(socket) as first, Client(socket) as second:
        await first.open()
        second.send(hello=hello("other"))
        code, text = await second.status()
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "telemetry.max_producers" in text


async def test_a_producer_that_is_not_allowed_is_turned_away(tmp_path: Path) -> None:
    async with running(tmp_path, allowed_producers=("broker",)), Client(settings(tmp_path).socket) as client:
        client.send(hello=hello("other"))
        assert (await client.status())[0] is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize(
    ("messages", "status", "rule"),
    [
        ([{"define": order_define()}], grpc.StatusCode.FAILED_PRECONDITION, "hello_first"),
        ([{"hello": hello()}, {"hello": hello()}], grpc.StatusCode.FAILED_PRECONDITION, "one_hello"),
        ([{"hello": hello(protocol_version=2)}], grpc.StatusCode.FAILED_PRECONDITION, "protocol_version"),
        ([{"hello": hello("Broker!")}], grpc.StatusCode.INVALID_ARGUMENT, "producer_id"),
        ([{"hello": hello()}, {"batch": batch(2, filled(1))}], grpc.StatusCode.FAILED_PRECONDITION, "sequence_gap"),
        ([{"hello": hello()}, {"batch": pb.Batch(first_sequence=1)}], grpc.StatusCode.INVALID_ARGUMENT, "batch_events"),
    ],
)
async def test_a_broken_rule_ends_the_stream_by_its_name(
    tmp_path: Path, messages: list[dict[str, Any]], status: grpc.StatusCode, rule: str
) -> None:
    async with running(tmp_path) as pipeline, Client(pipeline.settings.socket) as client:
        for message in messages:
            client.send(**message)
        found, text = await client.status()
        assert found is status
        assert text.startswith(rule + ": ")
        assert pipeline.ingest.counts.broken_rules == {rule: 1}


async def test_a_stream_of_another_producer_is_unaffected_by_garbage(tmp_path: Path) -> None:
    socket = settings(tmp_path).socket
    async with running(tmp_path), Client(socket) as good, Client(socket) as bad:
        await good.open()
        good.send(define=order_define())
        bad.send_raw(b"\xff\xff\xff")
        assert (await bad.status())[0] is grpc.StatusCode.INVALID_ARGUMENT
        good.send(batch=batch(1, filled(1)))
        await good.acknowledged(1)


async def test_mutated_messages_on_the_wire_end_their_own_stream_only(tmp_path: Path) -> None:
    chance, socket = seeded(), settings(tmp_path).socket
    sound = [
        pb.PublishRequest(hello=hello("bad")),
        pb.PublishRequest(define=order_define()),
        pb.PublishRequest(batch=batch(1, filled(3))),
        pb.PublishRequest(heartbeat=pb.Heartbeat(conditions=[pb.Condition(name="Venue")])),
    ]
    async with running(tmp_path) as pipeline, Client(socket) as good:
        await good.open()
        good.send(define=order_define())
        for number in range(40):
            async with Client(socket) as bad:
                for message in sound:
                    bad.send_raw(mutated(message.SerializeToString(), chance))
                bad.finish()
                code, text = await bad.status()
                # "Internal error from Core" is this client's own word for a write after the stream's end.
                named = text.partition(":")[0].isidentifier() or text == "Internal error from Core"
                assert code is grpc.StatusCode.OK or named, (code, text)
            good.send(batch=batch(number + 1, filled(1)))
            await good.acknowledged(number + 1)
        assert pipeline.ledger().balanced
        assert pipeline.ledger().producers["broker"].counted == 40


async def test_heartbeats_and_secrets_reach_the_registry(tmp_path: Path) -> None:
    heard = SecretsReports()
    async with running(tmp_path, secrets=heard) as pipeline, Client(pipeline.settings.socket) as client:
        await client.open()
        conditions = [pb.Condition(name="VenueReachable", ok=False, reason="TokenRefused")]
        client.send(heartbeat=pb.Heartbeat(conditions=conditions, ledger=pb.ProducerLedger(emitted=7)))
        client.send(secrets_applied=pb.SecretsApplied(generation=4))
        client.send(secrets_rejected=pb.SecretsRejected(generation=5, secret="venue", reason="authentication_failed"))
        client.finish()
        assert (await client.status())[0] is grpc.StatusCode.OK
        (status,) = pipeline.producers.all()
        assert heard.said[:2] == [("connected", "broker"), ("applied", "broker", 4)]
        assert status.applied_generation == 4
        assert status.refusal is not None
        assert (status.refusal.generation, status.refusal.reason) == (5, "authentication_failed")
        assert status.ledger is not None
        assert status.ledger.emitted == 7
        assert [(item.name, item.ok) for item in status.conditions] == [("VenueReachable", False)]


async def test_the_tail_shows_events_as_they_come(tmp_path: Path) -> None:
    async with running(tmp_path) as pipeline, Client(pipeline.settings.socket) as client:
        tail = pipeline.tail.watch()
        assert isinstance(tail, AsyncGenerator)
        first = asyncio.ensure_future(anext(tail))
        await client.open()
        client.send(define=order_define())
        client.send(batch=batch(1, filled(1)))
        event = await first
        assert (event.name, event.sequence, event.attributes["order_id"]) == ("order.transition", 1, "o0")
        await tail.aclose()


async def test_two_sidecars_never_share_a_journal(tmp_path: Path) -> None:
    async with running(tmp_path):
        second = TelemetryPipeline(settings=settings(tmp_path), clock=lambda: TIME_NS)
        with pytest.raises(JournalInUseError, match="in use by another process"):
            await second.open()


async def test_a_socket_that_somebody_answers_on_is_left_alone(tmp_path: Path) -> None:
    async with running(tmp_path) as pipeline:
        second = TelemetryPipeline(
            settings=settings(tmp_path, journal_directory=tmp_path / "other"), clock=lambda: TIME_NS
        )
        await second.open()
        with pytest.raises(SocketError, match="another process listens"):
            await second.serve(asyncio.Event())
        await second.close()
        async with Client(pipeline.settings.socket) as client:
            await client.open()


async def test_a_socket_directory_that_is_open_to_all_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir(mode=0o755)
    pipeline = TelemetryPipeline(settings=settings(tmp_path), clock=lambda: TIME_NS)
    await pipeline.open()
    with pytest.raises(SocketError, match="make it 0700"):
        await pipeline.serve(asyncio.Event())
    await pipeline.close()


@asynccontextmanager
async def serving(pipeline: TelemetryPipeline) -> AsyncIterator[asyncio.Event]:
    """Serves until the event is set, which the test does itself."""
    await pipeline.open()
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(pipeline.serve(stop))
        await pipeline.listening.wait()
        yield stop
    await pipeline.close()


async def test_a_drain_ends_the_streams_that_stay_and_says_so(tmp_path: Path) -> None:
    pipeline = TelemetryPipeline(settings=settings(tmp_path, drain_s=0.05), clock=lambda: TIME_NS)
    async with serving(pipeline) as stop, Client(pipeline.settings.socket) as client:
        await client.open()
        stop.set()
        assert await client.status() == (grpc.StatusCode.UNAVAILABLE, "the sidecar is draining: connect again")


async def test_a_drain_waits_for_a_stream_that_ends_by_itself(tmp_path: Path) -> None:
    pipeline = TelemetryPipeline(settings=settings(tmp_path, drain_s=5.0), clock=lambda: TIME_NS)
    async with serving(pipeline) as stop, Client(pipeline.settings.socket) as client:
        await client.open()
        stop.set()
        await asyncio.sleep(0.05)
        client.send(goodbye=pb.Goodbye(reason="sigterm"))
        client.finish()
        assert (await client.status())[0] is grpc.StatusCode.OK


async def test_what_nobody_will_export_is_not_kept(tmp_path: Path) -> None:
    pipeline = TelemetryPipeline(settings=settings(tmp_path), clock=lambda: TIME_NS, keep_logs=False)
    await pipeline.open()
    stream = pipeline.ingest._intake.open_stream(hello(), TIME_NS)
    pipeline.ingest._intake.define(stream, order_define())
    pipeline.ingest._intake.batch(stream, batch(1, filled(3)).SerializeToString(), TIME_NS)
    logs = pipeline.ledger().logs
    assert (logs.queued, dict(logs.dropped)) == (0, {("not_exported", "order.transition"): 3})
    await pipeline.close()


async def test_durability_none_keeps_nothing(tmp_path: Path) -> None:
    async with running(tmp_path, durability="none") as pipeline, Client(pipeline.settings.socket) as client:
        await client.open()
        client.send(define=order_define())
        client.send(batch=batch(1, filled(1)))
        await client.acknowledged(1)
    assert not (tmp_path / "journal").exists()


async def test_durability_disk_acknowledges_after_the_sync(tmp_path: Path) -> None:
    async with running(tmp_path, durability="disk") as pipeline, Client(pipeline.settings.socket) as client:
        await client.open()
        client.send(define=order_define())
        client.send(batch=batch(1, filled(1)))
        await client.acknowledged(1)


async def test_the_service_is_reached_by_its_official_stub(tmp_path: Path) -> None:
    from telemetry_contract.v1 import telemetry_pb2_grpc  # noqa: PLC0415 - the one test that needs it

    async with running(tmp_path) as pipeline, aio.insecure_channel(f"unix:{pipeline.settings.socket}") as channel:
        call = telemetry_pb2_grpc.TelemetryServiceStub(channel).Publish()
        await call.write(pb.PublishRequest(hello=hello()))
        welcomed = await call.read()
        assert isinstance(welcomed, pb.PublishResponse)
        assert welcomed.welcome.protocol_version == 1
        await call.done_writing()
        assert await call.read() is aio.EOF
        assert await call.code() is grpc.StatusCode.OK
