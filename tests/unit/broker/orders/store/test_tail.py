from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from broker.domain import OrderStatus
from broker.orders.model.trading_state import AccountControl
from broker.orders.store.journal_format import encode_control, encode_order, encode_transaction
from broker.orders.store.tail import Change, changes
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
