from __future__ import annotations

from decimal import Decimal

from broker.domain import OrderStatus, Side
from tests.unit.broker.orders.fake_venue import FakeVenue
from tests.unit.broker.orders.order_service_fixture import MakeRequest, OrderServiceHarness


async def test_position_is_closed_by_the_venues_close(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with harness.service() as service:
        await service.place(make_request())
        order = (await service.close_position("EUR_USD")).order

    assert (order.status, order.request.side, order.filled_units) == (OrderStatus.FILLED, Side.SELL, Decimal(100))
    assert venue.writes[1][2]["longUnits"] == "ALL"
    assert venue.position == 0


async def test_trade_is_closed_and_its_order_known_without_a_client_id(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with harness.service() as service:
        await service.place(make_request())
        venue.faults.append("lose")
        order = (await service.close_trade("1")).order

    assert order.status is OrderStatus.FILLED
    assert venue.writes[1][2] == {"units": "ALL"}
    assert venue.position == 0
