from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sidecar.export.exporter import OtlpExporter
from sidecar.export.settings import OtlpSettings
from sidecar.telemetry.model import EventType, Field, JournalPosition, LogTemplate, StoredBatch
from telemetry_contract.v1 import telemetry_pb2 as pb
from tests.integration.telemetry.servers import ROOT, Collector, Engine, collector, collector_binary, engine, fetch
from tests.unit.sidecar.fake_journal import SESSION, MemoryJournal, exporter_over, orders
from tests.unit.sidecar.snapshots import counter, histogram, snapshot

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.xdist_group("search-engine")]
RESOURCE = {"service.name": "sidecar", "service.instance.id": "i1", "k8s.pod.name": "broker-0"}


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine with the templates installed; tests use a namespace each."""
    collector_binary()
    with engine(tmp_path_factory.mktemp("engine")) as found:
        found.install_templates()
        yield found


@pytest.fixture
def pipe(search: Engine, tmp_path: Path) -> Iterator[Collector]:
    with collector(tmp_path, search.url) as found:
        yield found


def exporter(journal: MemoryJournal, endpoint: str, namespace: str, **changes: Any) -> OtlpExporter:
    limits = {"backoff_base_s": 0.02, "backoff_cap_s": 0.2, "linger_s": 0.02, "drain_s": 30.0, "metrics": False}
    shown = snapshot(broker=[counter(), histogram()])
    otlp = OtlpSettings(endpoint=endpoint, namespace=namespace, **{**limits, **changes})
    return exporter_over(journal, otlp, resource=RESOURCE, clock=time.time_ns, metrics=lambda: shown)


@contextmanager
def stopped_at_once() -> Iterator[asyncio.Event]:
    stop = asyncio.Event()
    stop.set()
    yield stop


async def send(batches: Sequence[StoredBatch], endpoint: str, namespace: str) -> MemoryJournal:
    """Exports all batches; back when the collector has acknowledged them."""
    journal = MemoryJournal(list(batches))
    with stopped_at_once() as stop:
        await exporter(journal, endpoint, namespace).run(stop)
    assert journal.cursor == batches[-1].end
    return journal


async def found(search: Engine, namespace: str, count: int, deadline_s: float = 120.0) -> list[dict[str, Any]]:
    """The documents of a namespace, once there are `count`."""

    def look() -> list[dict[str, Any]]:
        search.wait(lambda: len(search.documents(namespace)) >= count, f"{count} documents", deadline_s)
        return search.documents(namespace)

    return await asyncio.to_thread(look)


def test_the_configuration_that_ships_is_valid() -> None:
    command = [collector_binary(), "validate", "--config", str(ROOT / "otel-collector" / "config.yaml")]
    checked = subprocess.run(command, capture_output=True, check=False)
    assert (checked.returncode, checked.stderr.decode()) == (0, "")


async def test_a_record_becomes_a_document_with_each_field_right(search: Engine, pipe: Collector) -> None:
    await send([orders(7, 1, end=10)], pipe.endpoint, "fields")
    [document] = await found(search, "fields", 1)
    assert document["_id"] == "broker/s1/7"
    source = document["_source"]
    assert source.pop("@timestamp") == "1000000000000.0"
    assert source.pop("observed_timestamp") == "1000000000000.5"
    assert source == {
        "data_stream": {"type": "logs", "dataset": "broker.otel", "namespace": "fields"},
        "event_name": "broker.order.transition",
        "severity_number": 9,
        "severity_text": "INFO",
        "body": {"text": "An order reached a status"},
        "attributes": {"status": "filled", "order_id": "7", "duration_s": 0.5, "log.record.uid": "broker/s1/7"},
        "resource": {
            "attributes": {
                "service.name": "broker",
                "service.instance.id": "i1",
                "k8s.pod.name": "broker-0",
                "deployment.environment.name": "test",
            }
        },
        "scope": {"name": "telemetry.v1"},
    }


async def test_the_template_decides_the_mapping_and_not_the_first_value(search: Engine, pipe: Collector) -> None:
    await send([orders(1, 1, end=10)], pipe.endpoint, "mapping")
    await found(search, "mapping", 1)
    mapping = search.mapping("mapping")
    assert mapping["dynamic"] == "strict"
    assert mapping["properties"]["@timestamp"]["type"] == "date_nanos"
    attributes = mapping["properties"]["attributes"]
    assert attributes["type"] == "passthrough"
    assert attributes["properties"]["duration_s"] == {"type": "double"}
    assert attributes["properties"]["order_id"] == {"type": "keyword"}


async def test_values_of_another_type_reject_no_record(search: Engine, pipe: Collector) -> None:
    fields = (
        Field(name="status", type=pb.FIELD_TYPE_INT64, role=pb.FIELD_ROLE_ATTRIBUTE),
        Field(name="units", type=pb.FIELD_TYPE_STRING, role=pb.FIELD_ROLE_ATTRIBUTE),
    )
    odd = EventType(event_id=1, name="odd", fields=fields, log=LogTemplate(severity=9))
    group = pb.Group(event_id=1, count=1, base_time_unix_nano=10**18, time_offsets_nano=[0])
    group.columns.append(pb.Column(integers=[503]))
    group.columns.append(pb.Column(values=["many"]))
    batch = pb.Batch(first_sequence=2, count=1, groups=[group])
    stored = StoredBatch(end=JournalPosition(1, 20), session=SESSION, batch=batch, types={1: odd}, received_ns=1)
    await send([orders(1, 1, end=10), stored], pipe.endpoint, "types")
    documents = await found(search, "types", 2)
    assert {each["_source"]["attributes"].get("units") for each in documents} == {None, "many"}


async def test_a_redelivery_makes_no_second_document(search: Engine, pipe: Collector) -> None:
    batch = orders(1, 100, end=10)
    for _ in range(3):
        await send([batch], pipe.endpoint, "again")
    await asyncio.to_thread(pipe.wait_sent, 300)
    documents = await found(search, "again", 100)
    assert len(documents) == 100
    assert {each["_id"] for each in documents} == {f"broker/s1/{at}" for at in range(1, 101)}


async def test_secrets_do_not_reach_the_engine(search: Engine, pipe: Collector) -> None:
    secrets = {
        "note": "Authorization: Bearer abcdefgh12345678",
        "oanda": "0123456789abcdef0123456789abcdef-0123456789abcdef0123456789abcdef",
        "vault": "hvs.CAESIJabcdefghijklmnopqrstuv",
        "dsn": "postgresql://broker:hunter2hunter2@db/history",
        "pem": "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEI\n-----END EC PRIVATE KEY-----",
        "db.password": "hunter2hunter2",
        "order_id": "01J0000000",
    }
    fields = tuple(Field(name=name, type=pb.FIELD_TYPE_STRING, role=pb.FIELD_ROLE_ATTRIBUTE) for name in secrets)
    leaky = EventType(event_id=1, name="leaky", fields=fields, log=LogTemplate(severity=9, body=secrets["note"]))
    group = pb.Group(event_id=1, count=1, base_time_unix_nano=10**18, time_offsets_nano=[0])
    group.columns.extend(pb.Column(values=[value]) for value in secrets.values())
    batch = pb.Batch(first_sequence=1, count=1, groups=[group])
    stored = StoredBatch(end=JournalPosition(1, 10), session=SESSION, batch=batch, types={1: leaky}, received_ns=1)
    await send([stored], pipe.endpoint, "redact")
    [document] = await found(search, "redact", 1)
    attributes = document["_source"]["attributes"]
    assert {name: attributes.get(name) for name in secrets} == {
        "note": "Authorization: Bearer ***",
        "oanda": "***",
        "vault": "***",
        "dsn": "postgresql://***@db/history",
        "pem": "***",
        "db.password": None,
        "order_id": "01J0000000",
    }
    assert document["_source"]["body"]["text"] == "Authorization: Bearer ***"


async def test_pushed_metrics_stand_on_the_collectors_page(pipe: Collector) -> None:
    with stopped_at_once() as stop:
        await exporter(MemoryJournal(), pipe.endpoint, "m", metrics=True, logs=False, metrics_interval_s=60).run(stop)
    text = str(await asyncio.to_thread(fetch, pipe.prometheus))
    assert "broker_orders_total{" in text
    assert any(
        line.startswith("broker_order_duration_seconds_count{") and line.endswith(" 6") for line in text.splitlines()
    )


async def test_a_collector_that_is_killed_loses_nothing(search: Engine, pipe: Collector) -> None:
    journal = MemoryJournal()
    stop = asyncio.Event()
    total = 0
    async with asyncio.TaskGroup() as group:
        group.create_task(exporter(journal, pipe.endpoint, "killed").run(stop))
        for _ in range(3):
            for _ in range(20):
                journal.put(orders(total + 1, 10, end=total + 10))
                total += 10
                await asyncio.sleep(0.01)
            await asyncio.to_thread(pipe.kill)
            journal.put(orders(total + 1, 10, end=total + 10))
            total += 10
            await asyncio.to_thread(pipe.start)
        stop.set()
    assert journal.exported == total
    documents = await found(search, "killed", total)
    assert {each["_id"] for each in documents} == {f"broker/s1/{at}" for at in range(1, total + 1)}
    assert len(documents) == total


async def test_an_engine_that_is_gone_behind_a_living_collector_loses_nothing(tmp_path: Path) -> None:
    own = engine(tmp_path)
    with own, collector(tmp_path, own.url) as pipe:
        own.install_templates()
        await send([orders(1, 50, end=10)], pipe.endpoint, "gone")
        await found(own, "gone", 50)
        await asyncio.to_thread(own.kill)
        for number in range(1, 11):
            await send([orders(number * 50 + 1, 50, end=10)], pipe.endpoint, "gone")
            await asyncio.sleep(0.2)
        await asyncio.to_thread(pipe.kill)
        await asyncio.to_thread(pipe.start)
        await asyncio.to_thread(own.start)
        documents = await found(own, "gone", 550)
    assert {each["_id"] for each in documents} == {f"broker/s1/{at}" for at in range(1, 551)}
    assert len(documents) == 550


async def test_records_wait_for_a_template_that_is_not_there_yet(tmp_path: Path) -> None:
    own = engine(tmp_path)
    with own, collector(tmp_path, own.url) as pipe:
        await send([orders(1, 50, end=10)], pipe.endpoint, "early")
        await asyncio.sleep(2)
        assert own.documents("early") == []
        own.install_templates()
        documents = await found(own, "early", 50)
        assert len(documents) == 50
        assert own.mapping("early")["dynamic"] == "strict"
