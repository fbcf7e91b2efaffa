from __future__ import annotations

import asyncio
from pathlib import Path

from broker.domain import OrderStatus, Side
from broker.orders.model.trading_state import TradingState
from broker.orders.store.journal import OrderJournalError
from broker.orders.store.order_store import Waiter
from tests.unit.broker.orders.fake_venue import FakeVenue
from tests.unit.broker.orders.order_service_fixture import MakeRequest, OrderServiceHarness, wait_until
from tests.unit.broker.orders.samples import created, filled, make_record, make_store


async def test_order_by_a_later_stranger_under_our_mark_halts(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with harness.service() as service:
        extensions = {"id": "bk.elsewhere.1.01STRANGER.caller"}
        made = venue.make(
            {"type": "LIMIT", "instrument": "EUR_USD", "units": "5", "price": "1", "clientExtensions": extensions}
        )
        await venue.push(*made.values())
        await wait_until(lambda: service.state is TradingState.HALTED)
        order = (await service.place(make_request())).order

    assert order.reason == "TRADING_HALTED"
    assert [event.kind for event in harness.of("ReconcileMismatch")] == ["foreign_order"]


async def test_order_made_by_hand_is_adopted_and_followed(harness: OrderServiceHarness, venue: FakeVenue) -> None:
    async with harness.service() as service:
        made = venue.make({"type": "LIMIT", "instrument": "EUR_USD", "units": "-5", "price": "1.2"})
        await venue.push(*made.values())
        await wait_until(lambda: len(service.open_orders()) == 1)
        adopted = service.open_orders()[0]
        await venue.push(venue.cancel(made["orderCreateTransaction"], "CLIENT_REQUEST"))
        await wait_until(lambda: not service.open_orders())
        ended = service.order(adopted.id)

    assert (adopted.request.client, adopted.request.side) == ("external", Side.SELL)
    assert ended is not None
    assert ended.status is OrderStatus.CANCELLED
    assert harness.of("OrderTransition") == []


def test_fill_that_comes_when_another_process_owns_the_account_is_told_by_that_one(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    events: list[object] = []
    store._emit = events.append
    store.open()
    sent = make_record(OrderStatus.SUBMITTED)
    store.put_intent(sent)
    waiter = store.waiters[sent.id] = Waiter(received_s=0.0)
    told = len(events)
    store._lease.is_unexpired = lambda: False  # type: ignore[method-assign] # lost

    folded = store.fold(sent.id, (created(10), filled(11, 10)))

    assert (folded.status, store.index[sent.id].status) == (OrderStatus.SUBMITTED, OrderStatus.SUBMITTED)
    assert len(events) == told
    assert waiter.settled.is_set()
    asyncio.run(store.journal.close())


def test_fill_that_the_volume_refuses_is_told_at_once(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    store.open()
    sent = make_record(OrderStatus.SUBMITTED)
    store.put_intent(sent)

    def refuse(payload: bytes) -> int:
        raise OrderJournalError("no space")

    store.journal.append = refuse  # type: ignore[method-assign] # a full volume
    assert store.fold(sent.id, (created(10), filled(11, 10))).status is OrderStatus.FILLED
    asyncio.run(store.journal.close())


def test_unknown_order_stays_unknown_while_the_volume_refuses_its_end(tmp_path: Path) -> None:
    """Told at once, it would be told again behind a kill: the journal does not know of it."""
    store = make_store(tmp_path)
    events: list[object] = []
    store._emit = events.append
    store.open()
    sent = make_record(OrderStatus.SUBMITTED)
    store.put_intent(sent)
    store.move(sent.id, OrderStatus.UNKNOWN, "TimedOut")
    told, append = len(events), store.journal.append

    def refuse(payload: bytes) -> int:
        raise OrderJournalError("no space")

    store.journal.append = refuse  # type: ignore[method-assign] # a full volume
    assert store.search(sent.id, (created(10), filled(11, 10))).status is OrderStatus.UNKNOWN
    assert len(events) == told

    store.journal.append = append  # type: ignore[method-assign] # there is room again
    assert store.search(sent.id, (created(10), filled(11, 10))).status is OrderStatus.FILLED
    assert len(events) > told
    asyncio.run(store.journal.close())
