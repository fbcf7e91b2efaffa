from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from sidecar.ingest.tail import MAX_BATCHES, Tail, TailEvent, events
from sidecar.journal.segment import event_type
from sidecar.telemetry.model import EventType, JournalPosition, Session, StoredBatch
from telemetry_contract.v1 import telemetry_pb2 as pb
from tests.unit.sidecar.batches import order_define, sample_define
from tests.unit.sidecar.telemetry_core import mixed

TYPES: dict[int, EventType] = {1: event_type(order_define()), 2: event_type(sample_define())}


def events_of(message: pb.Batch) -> list[TailEvent]:
    session = Session(producer_id="a", session_id="s")
    return events(StoredBatch(end=JournalPosition(), session=session, batch=message, types=TYPES, received_ns=0))


def test_an_absent_value_is_left_out_of_the_tail() -> None:
    whole = mixed(1, 2)
    whole.groups[0].columns[3].absent.append(1)
    first, second = events_of(whole)
    assert first.attributes["order_id"] == "o1"
    assert "order_id" not in second.attributes
    assert (first.severity, first.name) == (9, "order.transition")


async def test_a_slow_watcher_loses_the_oldest_batches_and_they_are_counted() -> None:
    tail = Tail()
    watching = tail.watch()
    first = asyncio.ensure_future(anext(watching))
    await asyncio.sleep(0)
    session = Session(producer_id="a", session_id="s")
    for number in range(MAX_BATCHES + 3):
        tail.add(
            StoredBatch(end=JournalPosition(), session=session, batch=mixed(number + 1, 1), types=TYPES, received_ns=0)
        )
    assert (await first).sequence == 4
    assert tail.lost_batches == 3
    assert isinstance(watching, AsyncGenerator)
    await watching.aclose()


async def test_nothing_is_lost_where_nobody_watches() -> None:
    tail = Tail()
    session = Session(producer_id="a", session_id="s")
    for number in range(MAX_BATCHES + 3):
        tail.add(
            StoredBatch(end=JournalPosition(), session=session, batch=mixed(number + 1, 1), types=TYPES, received_ns=0)
        )
    assert tail.lost_batches == 0
