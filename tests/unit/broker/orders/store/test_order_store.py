from __future__ import annotations

from broker.domain import OrderStatus, Side
from broker.orders.model.trading_state import TradingState
from tests.unit.broker.orders.fake_venue import FakeVenue
from tests.unit.broker.orders.order_service_fixture import MakeRequest, OrderServiceHarness, wait_until


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
