from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from sidecar.export.exporter import OtlpExporter
from sidecar.export.settings import OtlpSettings
from sidecar.telemetry.model import Family, JournalPosition, Number, ProducerMetrics, Snapshot
from telemetry_contract.v1 import telemetry_pb2 as pb
from tests.otlp_receiver import Fault, OtlpReceiver
from tests.unit.sidecar.fake_journal import MemoryJournal, exporter_over, orders, silence

NOW = 1_700_000_000_000_000_000


def settings(endpoint: str, **changes: Any) -> OtlpSettings:
    quick = {
        "metrics": False,
        "backoff_base_s": 0.001,
        "backoff_cap_s": 0.01,
        "linger_s": 0.0,
        "drain_s": 2.0,
        "timeout_s": 5.0,
    }
    return OtlpSettings(endpoint=endpoint, **{**quick, **changes})


def counted(value: int, time_ns: int = NOW) -> Snapshot:
    point = Number((("status", "filled"),), NOW - 10, time_ns, value)
    family = Family(
        name="broker.orders",
        kind=pb.INSTRUMENT_KIND_COUNTER,
        unit="{order}",
        description="Orders",
        bounds=(),
        points=(point,),
    )
    return Snapshot(
        time_ns=time_ns, producers=(ProducerMetrics(producer_id="broker", resource=(), families=(family,)),)
    )


def exporter(journal: MemoryJournal, otlp: OtlpSettings, **changes: Any) -> OtlpExporter:
    resource = {"service.name": "sidecar", "service.instance.id": "i1", "k8s.pod.name": "p"}
    return exporter_over(journal, otlp, resource=resource, clock=lambda: NOW, **changes)


@asynccontextmanager
async def running(it: OtlpExporter) -> AsyncIterator[asyncio.Event]:
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(it.run(stop))
        yield stop
        stop.set()


async def drained(it: OtlpExporter) -> None:
    """Runs an exporter that is told to stop at once: it sends what is there."""
    async with asyncio.timeout(120):
        async with running(it):
            pass


async def test_every_record_arrives_and_the_cursor_follows() -> None:
    journal = MemoryJournal([orders(1, 3, end=10), silence(4, end=20), orders(5, 2, end=30)])
    async with OtlpReceiver() as receiver:
        await drained(exporter(journal, settings(receiver.endpoint)))
    assert [record["attributes"]["order_id"] for record in receiver.records] == ["1", "2", "3", "5", "6"]
    assert journal.cursor == JournalPosition(1, 30)
    assert (journal.exported, dict(journal.rejected)) == (5, {})


async def test_a_record_carries_its_producers_resource_and_the_pods() -> None:
    journal = MemoryJournal([orders(1, 1, end=10)])
    async with OtlpReceiver() as receiver:
        await drained(exporter(journal, settings(receiver.endpoint, dataset="trades")))
    assert receiver.records[0]["resource"] == {
        "service.name": "broker",
        "service.instance.id": "i1",
        "k8s.pod.name": "p",
        "data_stream.dataset": "trades",
        "data_stream.namespace": "default",
    }


async def test_records_that_come_while_it_runs_are_sent() -> None:
    journal = MemoryJournal()
    async with OtlpReceiver() as receiver, running(exporter(journal, settings(receiver.endpoint))):
        journal.put(orders(1, 2, end=10))
        await receiver.wait_records(2)
        journal.put(orders(3, 2, end=20))
        await receiver.wait_records(4)
    assert journal.cursor == JournalPosition(1, 20)


@pytest.mark.parametrize(
    "code",
    [
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.DATA_LOSS,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNIMPLEMENTED,
    ],
)
async def test_a_collector_that_cannot_take_it_now_is_asked_again(code: grpc.StatusCode) -> None:
    journal = MemoryJournal([orders(1, 2, end=10)])
    async with OtlpReceiver() as receiver:
        receiver.logs_faults.extend([Fault(code=code)] * 3)
        await drained(exporter(journal, settings(receiver.endpoint)))
    assert receiver.calls == [code.name] * 3 + ["OK"]
    assert (len(receiver.records), journal.exported) == (2, 2)


async def test_resource_exhausted_with_retry_info_is_asked_again_after_its_delay() -> None:
    journal = MemoryJournal([orders(1, 2, end=10)])
    async with OtlpReceiver() as receiver:
        receiver.logs_faults.append(Fault(code=grpc.StatusCode.RESOURCE_EXHAUSTED, retry_after_s=0.001))
        await drained(exporter(journal, settings(receiver.endpoint, backoff_base_s=60, backoff_cap_s=60)))
    assert receiver.calls == ["RESOURCE_EXHAUSTED", "OK"]


async def test_a_poison_record_ends_alone_counted_and_kept_aside(tmp_path: Path) -> None:
    def is_poison(record: LogRecord) -> bool:
        return any(item.value.string_value == "13" for item in record.attributes)

    journal = MemoryJournal([orders(1, 20, end=10), orders(21, 5, end=20)])
    async with OtlpReceiver(poison=is_poison) as receiver:
        it = exporter(journal, settings(receiver.endpoint), rejected_directory=tmp_path)
        await drained(it)
    assert {record["attributes"]["order_id"] for record in receiver.records} == {
        str(at) for at in range(1, 26) if at != 13
    }
    assert receiver.duplicates == 0
    assert (journal.exported, dict(journal.rejected)) == (24, {"invalid_argument": 1})
    assert journal.cursor == JournalPosition(1, 20)
    kept = [json.loads(line) for line in (tmp_path / "rejected-logs.jsonl").read_text().splitlines()]
    assert [(line["reason"], line["record"]["event_name"]) for line in kept] == [
        ("invalid_argument", "broker.order.transition")
    ]
    assert {"key": "order_id", "value": {"string_value": "13"}} in kept[0]["record"]["attributes"]


@pytest.mark.parametrize("poison", range(1, 9))
async def test_only_the_poison_is_lost_wherever_it_stands(poison: int) -> None:
    def is_poison(record: LogRecord) -> bool:
        return any(item.value.string_value == str(poison) for item in record.attributes)

    journal = MemoryJournal([orders(1, 8, end=10)])
    async with OtlpReceiver(poison=is_poison) as receiver:
        await drained(exporter(journal, settings(receiver.endpoint)))
    assert {record["attributes"]["order_id"] for record in receiver.records} == {
        str(at) for at in range(1, 9) if at != poison
    }
    assert (journal.exported, dict(journal.rejected)) == (7, {"invalid_argument": 1})


async def test_a_success_ends_the_failure_and_keeps_what_it_was() -> None:
    journal = MemoryJournal([orders(1, 2, end=10)])
    async with OtlpReceiver() as receiver:
        receiver.logs_faults.append(Fault(code=grpc.StatusCode.UNAVAILABLE, details="busy"))
        it = exporter(journal, settings(receiver.endpoint))
        await drained(it)
    logs = it.status().logs
    assert (logs.failing_since_ns, logs.last_success_ns, logs.last_error) == (0, NOW, "unavailable: busy")
    assert (logs.requests, logs.retries, logs.in_flight, logs.exported) == (2, 1, 0, 2)


async def test_partial_success_counts_the_rejected_and_does_not_repeat() -> None:
    journal = MemoryJournal([orders(1, 5, end=10)])
    async with OtlpReceiver() as receiver:
        receiver.logs_faults.append(Fault(rejected=2, details="two are bad"))
        it = exporter(journal, settings(receiver.endpoint))
        await drained(it)
    assert receiver.calls == ["OK"]
    assert (journal.exported, dict(journal.rejected)) == (3, {"partial_success": 2})
    assert it.status().logs.rejected == {"partial_success": 2}


async def test_a_lost_answer_makes_a_redelivery_with_the_same_ids() -> None:
    journal = MemoryJournal([orders(1, 3, end=10)])
    async with OtlpReceiver() as receiver:
        receiver.logs_faults.append(Fault(lose_answer=True))
        await drained(exporter(journal, settings(receiver.endpoint)))
    assert len(receiver.records) == 6
    assert sorted(receiver.by_id) == ["broker/s1/1", "broker/s1/2", "broker/s1/3"]
    assert journal.exported == 3


async def test_a_request_too_large_for_the_collector_is_halved_until_it_fits() -> None:
    journal = MemoryJournal([orders(1, 64, end=10)])
    async with OtlpReceiver() as receiver:
        receiver.logs_faults.append(Fault(code=grpc.StatusCode.RESOURCE_EXHAUSTED, details="larger than max"))
        await drained(exporter(journal, settings(receiver.endpoint)))
    assert receiver.calls == ["RESOURCE_EXHAUSTED", "OK", "OK"]
    assert len(receiver.by_id) == 64


def first_order(request: ExportLogsServiceRequest) -> str:
    return request.resource_logs[0].scope_logs[0].log_records[0].attributes[1].value.string_value


async def test_the_cursor_waits_for_earlier_requests() -> None:
    journal = MemoryJournal([orders(1, 2, end=10), orders(3, 2, end=20)])
    async with OtlpReceiver() as receiver:

        def decide(request: ExportLogsServiceRequest) -> Fault | None:
            early = not receiver.log_requests and first_order(request) == "1"
            return Fault(code=grpc.StatusCode.UNAVAILABLE) if early else None

        receiver.decide = decide
        await drained(exporter(journal, settings(receiver.endpoint, max_request_records=2)))
    assert [first_order(request) for request in receiver.log_requests] == ["3", "1"]
    assert journal.advances == [JournalPosition(1, 10), JournalPosition(1, 20)]


async def test_a_batch_cut_into_several_requests_moves_the_cursor_once() -> None:
    journal = MemoryJournal([orders(1, 10, end=10)])
    async with OtlpReceiver() as receiver:
        await drained(exporter(journal, settings(receiver.endpoint, max_request_records=4)))
    assert len(receiver.calls) == 3
    assert journal.advances == [JournalPosition(1, 10)]
    assert journal.exported == 10


async def test_a_stop_with_a_dead_collector_returns_with_the_cursor_where_it_was() -> None:
    journal = MemoryJournal([orders(1, 10, end=10)])
    async with OtlpReceiver() as receiver:
        endpoint = receiver.endpoint
    it = exporter(journal, settings(endpoint, drain_s=0.2))
    await drained(it)
    assert journal.advances == []
    assert it.status().logs.failing_since_ns == NOW
    assert it.status().logs.last_error.startswith("unavailable: ")


async def test_a_collector_that_comes_back_gets_everything_once() -> None:
    journal = MemoryJournal([orders(1, 10, end=10)])
    async with OtlpReceiver() as receiver:
        await receiver.die()
        async with running(exporter(journal, settings(receiver.endpoint))):
            journal.put(orders(11, 10, end=20))
            await asyncio.sleep(0.05)
            await receiver.revive()
            await receiver.wait_records(20)
    assert receiver.duplicates == 0
    assert journal.exported == 20


async def test_without_an_endpoint_nothing_happens() -> None:
    journal = MemoryJournal([orders(1, 1, end=10)])
    it = exporter(journal, settings(""))
    await drained(it)
    assert not it.status().logs.enabled
    assert journal.advances == []


async def test_metrics_are_pushed_each_interval_and_at_the_end() -> None:
    values = iter(range(1, 100))
    async with OtlpReceiver() as receiver:
        otlp = settings(receiver.endpoint, metrics=True, logs=False, metrics_interval_s=0.1)
        it = exporter(MemoryJournal(), otlp, metrics=lambda: counted(next(values)))
        async with running(it):
            await receiver.wait_metrics(2)
    [(key, point)] = receiver.metrics.items()
    assert key == ("broker.orders", (("status", "filled"),))
    assert point["value"] == len(receiver.metric_requests)
    assert point["monotonic"]
    assert it.status().metrics.exported == len(receiver.metric_requests)


async def test_differences_survive_a_collector_that_was_away_for_some_intervals() -> None:
    values = iter([5, 7, 12, *[20] * 100])
    async with OtlpReceiver(always=Fault(code=grpc.StatusCode.UNAVAILABLE)) as receiver:
        otlp = settings(receiver.endpoint, metrics=True, logs=False, metrics_interval_s=0.1, temporality="delta")
        async with running(exporter(MemoryJournal(), otlp, metrics=lambda: counted(next(values)))):
            await asyncio.sleep(0.35)
            receiver.always = Fault()
            await receiver.wait_metrics(3)
    gained = [
        point.as_int
        for request in receiver.metric_requests
        for resource in request.resource_metrics
        for metric in resource.scope_metrics[0].metrics
        for point in metric.sum.data_points
    ]
    assert sum(gained) == 15
    assert gained[0] == 2


async def test_secret_headers_come_from_a_file_that_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "headers"
    file.write_text("Authorization=Bearer one\n")
    journal = MemoryJournal([orders(1, 1, end=10)])
    async with OtlpReceiver() as receiver:
        otlp = settings(receiver.endpoint, headers_file=file, headers={"X-Team": "fx"})
        async with running(exporter(journal, otlp)):
            await receiver.wait_records(1)
            file.with_name("new").write_text("Authorization=Bearer two\n")
            file.with_name("new").replace(file)
            journal.put(orders(2, 1, end=20))
            await receiver.wait_records(2)
    assert [(each["x-team"], each["authorization"]) for each in receiver.headers] == [
        ("fx", "Bearer one"),
        ("fx", "Bearer two"),
    ]


async def test_gzip_is_spoken_where_asked_for() -> None:
    journal = MemoryJournal([orders(1, 500, end=10)])
    async with OtlpReceiver() as receiver:
        await drained(exporter(journal, settings(receiver.endpoint, compression="gzip")))
    assert len(receiver.records) == 500
