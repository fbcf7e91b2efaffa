from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from broker.events import CATALOGUE
from producer.declare import Column, Event
from producer.stream.columns import encode_batch, event_schemas
from sidecar.export.settings import OtlpSettings
from sidecar.journal.segment import event_type
from sidecar.telemetry.model import JournalPosition, Session, StoredBatch
from telemetry_contract.v1 import telemetry_pb2 as pb
from tests.integration.telemetry.servers import TEMPLATES, collector, collector_binary, engine, fetch
from tests.unit.sidecar.fake_journal import MemoryJournal, exporter_over

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.xdist_group("search-engine")]
MAPPED = json.loads((TEMPLATES / "broker-logs@attributes.json").read_text())["template"]["mappings"]["properties"][
    "attributes"
]["properties"]
LOGGED = [event for event in CATALOGUE.events if event.log is not None]
TRACE = bytes(range(1, 26))
NOW_NS = 1_790_000_000_123_456_789


def value(column: Column) -> Any:
    """A value of the column's type; a text that the engine indexes as a number is a number."""
    number = MAPPED.get(column.name, {}).get("type") == "double"
    return {str: "1.10503" if number else f"a {column.name}", float: 1.5, int: 7, bool: True}[column.type]


def rows(event: Event, code: int) -> list[tuple[Any, ...]]:
    """Everything said within a trace, and as little as may be outside of one."""
    full = [value(column) for column in event.columns]
    least = [None if column.optional else value(column) for column in event.columns]
    return [(code, NOW_NS, TRACE, *full), (code, NOW_NS, None, *least)]


def batch() -> StoredBatch:
    """Two records of every declared event that has a log record."""
    defines = CATALOGUE.defines({"broker": "oanda"})
    codes = {item.name: item.event_id for item in defines}
    made = [row for event in LOGGED for row in rows(event, codes[event.name])]
    coerced: Counter[tuple[str, str]] = Counter()
    stored = pb.Batch.FromString(encode_batch(1, made, event_schemas(defines), coerced))
    assert not coerced
    return StoredBatch(
        end=JournalPosition(1, 10),
        session=Session(producer_id="broker", session_id="every", resource=(("service.name", "broker"),)),
        batch=stored,
        types={item.event_id: event_type(item) for item in defines},
        received_ns=NOW_NS,
    )


async def export(endpoint: str) -> None:
    journal = MemoryJournal([batch()])
    stop = asyncio.Event()
    stop.set()
    otlp = OtlpSettings(endpoint=endpoint, namespace="every", drain_s=30.0, metrics=False)
    resource = {"service.name": "sidecar", "service.instance.id": "i1"}
    await exporter_over(journal, otlp, resource=resource, clock=time.time_ns).run(stop)
    assert journal.cursor == JournalPosition(1, 10)


async def test_every_declared_event_is_stored_whole_under_the_strict_mapping(tmp_path: Path) -> None:
    collector_binary()
    with engine(tmp_path) as search:
        search.install_templates()
        with collector(tmp_path, search.url) as pipe:
            await export(pipe.endpoint)

            def documents() -> list[dict[str, Any]]:
                return [*search.documents("every"), *search.documents("every", "broker.audit")]

            count = 2 * len(LOGGED)
            await asyncio.to_thread(search.wait, lambda: len(documents()) >= count, f"{count} documents")
        stored = documents()
        ignored = fetch(f"{search.url}/logs-broker*/_search?q=_exists_:_ignored")
    assert Counter(item["_source"]["event_name"] for item in stored) == {event.name: 2 for event in LOGGED}
    assert ignored["hits"]["hits"] == []
    said: dict[str, set[str]] = {}
    for item in stored:
        if "trace_id" in item["_source"]:
            said[item["_source"]["event_name"]] = item["_source"]["attributes"].keys() - {"log.record.uid"}
    assert said == {event.name: {column.name for column in event.columns} for event in LOGGED}
