from __future__ import annotations

import asyncio
from typing import Any, cast

from sidecar.ingest.producers import Producers
from sidecar.ingest.service import IngestService, ServedStream, merged
from sidecar.journal.group_commit import GroupCommit
from sidecar.telemetry.settings import TelemetrySettings
from telemetry_contract.v1 import telemetry_pb2 as pb
from tests.unit.sidecar.telemetry_core import TelemetryCore, mixed


def test_refusals_of_a_producer_that_does_not_listen_take_no_more_room() -> None:
    many = [pb.Rejection(first_sequence=number, count=2, reason=f"r{number % 3}") for number in range(1, 301)]
    assert [(item.first_sequence, item.count, item.reason) for item in merged(many)] == [
        (1, 200, "r1"),
        (2, 200, "r2"),
        (3, 200, "r0"),
    ]


class SlowContext:
    """A stream whose first answer is being written until `written` is set."""

    def __init__(self) -> None:
        self.answers: list[pb.PublishResponse] = []
        self.written = asyncio.Event()

    async def write(self, raw: bytes) -> None:
        self.answers.append(pb.PublishResponse.FromString(raw))
        await self.written.wait()


async def test_events_that_come_with_the_end_of_the_stream_are_acknowledged_while_another_answer_is_written() -> None:
    core = TelemetryCore()
    commit = GroupCommit(core.journal, enabled=False)
    core.intake.settings = TelemetrySettings(ack_delay_ms=0.0)
    service = IngestService(core.intake, Producers(), commit, core.tick)
    context, stream = SlowContext(), ServedStream(accepted=core.stream("a", "s"))
    async with asyncio.timeout(120), asyncio.TaskGroup() as tasks:
        tasks.create_task(service._acknowledge(stream, cast("Any", context)))
        core.send("a", "s", 2, 1)
        stream.schedule_ack()
        while not context.answers:
            await asyncio.sleep(0)
        core.send("a", "s", 2, 3)
        stream.schedule_ack()
        stream.ended = True
        context.written.set()
    assert [answer.ack.durable_through for answer in context.answers] == [2, 4]


async def test_a_duplicate_does_not_clear_the_error_of_a_volume_that_still_rejects_events() -> None:
    core = TelemetryCore()
    stream = core.stream("a", "s")
    core.send("a", "s", 2, 1)
    service = IngestService(core.intake, Producers(), GroupCommit(core.journal, enabled=False), core.tick)
    health = core.journal.health
    health.failed(OSError(28, "No space left on device"), 7)
    raw = mixed(1, 2).SerializeToString()
    await service._journaled(lambda: core.intake.batch(stream, raw, core.tick()))
    assert (health.error is not None, health.since_ns) == (True, 7)
    more = mixed(3, 2).SerializeToString()
    await service._journaled(lambda: core.intake.batch(stream, more, core.tick()))
    assert health.error is None
