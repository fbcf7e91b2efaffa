"""The exporter over the real journal: what the ledger says once everything has come to rest."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import grpc
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from sidecar.export.exporter import OtlpExporter
from sidecar.export.settings import OtlpSettings
from sidecar.pipeline import TelemetryPipeline
from tests.otlp_receiver import Fault, OtlpReceiver
from tests.unit.sidecar.batches import Client, batch, filled, order_define
from tests.unit.sidecar.fake_journal import exporter_over
from tests.unit.sidecar.test_pipeline import running as journal_running


def exporter(pipeline: TelemetryPipeline, endpoint: str, **changes: Any) -> OtlpExporter:
    quick = {"backoff_base_s": 0.001, "backoff_cap_s": 0.01, "linger_s": 0.0, "metrics": False, "drain_s": 5.0}
    return exporter_over(
        pipeline.log_queue,
        OtlpSettings(endpoint=endpoint, **{**quick, **changes}),
        resource={"service.name": "sidecar"},
        clock=lambda: 1,
        chance=random.Random(1).random,
    )


async def fill(pipeline: TelemetryPipeline, batches: int, each: int, first: int = 1) -> None:
    async with Client(pipeline._settings.socket) as client:
        await client.open()
        client.send(define=order_define())
        for number in range(batches):
            at = first + number * each
            client.send(batch=batch(at, filled(each, at)))
        await client.acknowledged(first + batches * each - 1)


async def drained(it: OtlpExporter) -> None:
    stop = asyncio.Event()
    stop.set()
    await it.run(stop)


async def test_a_cut_batch_a_poison_record_and_a_partial_success_leave_a_balanced_ledger(tmp_path: Path) -> None:
    def is_poison(record: LogRecord) -> bool:
        return any(
            item.key == "log.record.uid" and item.value.string_value.endswith("/17") for item in record.attributes
        )

    async with journal_running(tmp_path) as pipeline, OtlpReceiver(poison=is_poison) as receiver:
        await fill(pipeline, batches=6, each=10)
        receiver.logs_faults.extend(
            [Fault(code=grpc.StatusCode.UNAVAILABLE), Fault(rejected=1), Fault(lose_answer=True)]
        )
        # One request at a time: with several under way, which one meets which fault is a matter of chance.
        await drained(exporter(pipeline, receiver.endpoint, max_request_records=7, requests_in_flight=1))
        logs = pipeline.ledger().logs
        assert logs.balanced
        assert (logs.accepted, logs.exported, logs.queued, dict(logs.dropped)) == (60, 58, 0, {})
        assert dict(logs.rejected) == {"partial_success": 1, "invalid_argument": 1}
        assert len(receiver.by_id) == 59


async def test_what_a_dead_collector_left_is_delivered_by_the_next_start(tmp_path: Path) -> None:
    async with OtlpReceiver() as receiver:
        await receiver.die()
        async with journal_running(tmp_path) as pipeline:
            await fill(pipeline, batches=4, each=5)
            await drained(exporter(pipeline, receiver.endpoint, drain_s=0.2))
            assert pipeline.ledger().logs.queued == 20
        await receiver.revive()
        async with journal_running(tmp_path) as pipeline:
            await drained(exporter(pipeline, receiver.endpoint))
            logs = pipeline.ledger().logs
            assert (logs.accepted, logs.exported, logs.queued, logs.balanced) == (20, 20, 0, True)
    assert len(receiver.records) == len(receiver.by_id) == 20


async def test_a_restart_between_requests_repeats_no_record_that_was_settled(tmp_path: Path) -> None:
    async with OtlpReceiver() as receiver:
        for start in range(5):
            async with journal_running(tmp_path) as pipeline:
                await fill(pipeline, batches=3, each=4, first=1 + start * 12)
                await drained(exporter(pipeline, receiver.endpoint, max_request_records=5))
        assert len(receiver.records) == len(receiver.by_id) == 60


async def test_batches_read_again_from_the_journal_are_the_same_records(tmp_path: Path) -> None:
    seen = []
    for place, memory_bytes in ((tmp_path / "kept", 8 << 20), (tmp_path / "read", 0)):
        async with journal_running(place, memory_bytes=memory_bytes) as pipeline, OtlpReceiver() as receiver:
            await fill(pipeline, batches=5, each=6)
            await drained(exporter(pipeline, receiver.endpoint))
            seen.append({uid: record["attributes"] for uid, record in receiver.by_id.items()})
    assert len(seen[0]) == 30
    assert seen[0] == seen[1]
