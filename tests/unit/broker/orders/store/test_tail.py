from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from broker.domain import OrderStatus
from broker.orders.model.trading_state import AccountControl
from broker.orders.store.journal import JournalMark, encode_control, encode_order, encode_transaction
from broker.orders.store.tail import Change, changes, replay
from tests.unit.broker.orders.order_service_fixture import MakeRequest, OrderServiceHarness
from tests.unit.broker.orders.samples import make_record, opened_journal


async def test_changes_after_a_restart_go_on_where_they_were(
    harness: OrderServiceHarness, make_request: MakeRequest
) -> None:
    async with harness.service() as service:
        order = (await service.place(make_request())).order
    async with harness.service() as service:
        statuses, after = [], 0
        async for change in service.changes(0):
            if change.order is not None and change.order.id == order.id:
                statuses.append(change.order.status)
                after = change.position
            if len(statuses) == 2:
                break
        second = (await service.place(make_request("second"))).order
        following = [change.order async for change in _orders(service.changes(after), 2) if change.order is not None]

    assert statuses == [OrderStatus.SUBMITTED, OrderStatus.FILLED]
    assert {order.id for order in following} == {second.id}


async def _orders(stream: AsyncIterator[Change], count: int) -> AsyncIterator[Change]:
    async for change in stream:
        if change.order is not None:
            yield change
            count -= 1
        if count == 0:
            return


async def test_changes_go_on_over_segments_and_wait_for_more(tmp_path: Path) -> None:
    journal, _ = opened_journal(tmp_path)
    record = make_record()
    journal.append(encode_order(record))
    journal.append(encode_transaction({"id": "7", "type": "DAILY_FINANCING"}))
    journal.rotate([encode_order(record, b"s"), encode_control(AccountControl(), b"z")])
    stream = changes(journal, 0)
    first, second = await anext(stream), await anext(stream)
    assert (first.order, second.transaction) == (record.order, {"id": "7", "type": "DAILY_FINANCING"})
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    assert not waiting.done()
    filled = record.moved(OrderStatus.FILLED, record.order.updated_at)
    journal.append(encode_order(filled))
    third = await waiting
    assert third.order == filled.order
    resumed = changes(journal, second.position)
    assert (await anext(resumed)).position == third.position


async def test_what_a_paused_owner_wrote_behind_its_successors_begin_is_not_streamed(tmp_path: Path) -> None:
    paused, _ = opened_journal(tmp_path)
    mark = paused.mark
    paused.append(encode_transaction({"id": "7"}))
    successor, _ = opened_journal(tmp_path)
    successor.rotate([encode_control(AccountControl(), b"z")])
    paused.append(encode_transaction({"id": "8", "type": "LATE"}))
    successor.append(encode_transaction({"id": "8"}))

    assert [change.transaction async for change in replay(successor, mark)] == [{"id": "7"}, {"id": "8"}]


async def test_transaction_that_a_snapshot_repeats_is_replayed_once(tmp_path: Path) -> None:
    journal, _ = opened_journal(tmp_path)
    mark = journal.mark
    waiting = encode_transaction({"id": "7", "type": "ORDER_FILL"})
    journal.append(waiting)
    journal.rotate([waiting, encode_control(AccountControl(), b"z")])
    journal.append(encode_transaction({"id": "8"}))

    assert [(change.transaction or {})["id"] async for change in replay(journal, mark)] == ["7", "8"]


async def test_unreadable_record_does_not_end_a_replay(tmp_path: Path) -> None:
    journal, _ = opened_journal(tmp_path)
    mark = journal.mark
    journal.append(b"o{}")
    journal.append(encode_transaction({"id": "7"}))

    assert [change.transaction async for change in replay(journal, mark)] == [{"id": "7"}]


async def test_replay_longer_than_a_part_is_whole(tmp_path: Path) -> None:
    journal, _ = opened_journal(tmp_path)
    mark = journal.mark
    for number in range(2000):
        journal.append(encode_transaction({"id": str(number), "type": "X" * 100}))
    found = [change async for change in replay(journal, mark)]

    assert [int((change.transaction or {})["id"]) for change in found] == list(range(2000))
    assert found[-1].mark == journal.mark


@pytest.mark.parametrize(
    "text", ["", "7", "7-", "-1-00000000", "0-00000000", "7-0000000g", "7-00000000x", "\u0667-00000000"]
)
def test_mark_that_no_journal_made_is_none_of_ours(text: str) -> None:
    assert JournalMark.parse(text) == JournalMark(0, 0)


def test_mark_reads_back_as_it_was_written() -> None:
    assert JournalMark.parse(str(JournalMark(1042, 0x9F3C01AB))) == JournalMark(1042, 0x9F3C01AB)
