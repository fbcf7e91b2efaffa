from __future__ import annotations

from decimal import Decimal

from broker.domain import OrderStatus, OrderType, Side
from broker.orders.model.trading_state import TradingState
from broker.orders.settings import RiskLimits
from tests.unit.broker.orders.fake_venue import FakeVenue
from tests.unit.broker.orders.order_service_fixture import MakeRequest, OrderServiceHarness


async def test_reducing_lets_a_position_be_closed_and_no_other_opened(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with harness.service() as service:
        await service.place(make_request())
        service.set_state(TradingState.REDUCING, "operator", "end of day")
        opening = (await service.place(make_request("second"))).order
        closing = (await service.place(make_request("third", side=Side.SELL))).order

    assert (opening.status, opening.reason) == (OrderStatus.DENIED, "TRADING_REDUCING")
    assert closing.status is OrderStatus.FILLED


async def test_untradeable_is_denied_before_any_write(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    venue.tradeable = False
    async with harness.service() as service:
        order = (await service.place(make_request())).order

    assert (order.status, order.reason) == (OrderStatus.DENIED, "MARKET_HALTED")
    assert venue.writes == []
    assert [(event.reason, event.source) for event in harness.of("OrderRefused")] == [("MARKET_HALTED", "risk")]


async def test_as_many_orders_are_open_as_the_limit_says(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with harness.service(
        account=RiskLimits(open_orders=2), clients={"flow": RiskLimits(open_orders=2)}
    ) as service:
        for name in ("a", "b", "c"):
            await service.place(make_request(name, type=OrderType.LIMIT, price=Decimal("1.09000")))
        third = service.by_client_id("flow", "c")
        assert len(service.open_orders()) == 2
    assert third is not None
    assert (third.status, third.reason) == (OrderStatus.DENIED, "OPEN_ORDERS_LIMIT_EXCEEDED")
    assert len(venue.writes) == 2


async def test_replacement_takes_the_place_of_the_order_that_it_ends(
    harness: OrderServiceHarness, make_request: MakeRequest
) -> None:
    limit, price = RiskLimits(open_orders=1), Decimal("1.09000")
    async with harness.service(account=limit, clients={"flow": limit}) as service:
        first = (await service.place(make_request("a", type=OrderType.LIMIT, price=price))).order
        second = (
            await service.replace(first.id, make_request("b", type=OrderType.LIMIT, price=Decimal("1.08000")))
        ).order
    assert second.status is OrderStatus.PENDING


async def test_each_check_of_an_order_is_an_event(harness: OrderServiceHarness, make_request: MakeRequest) -> None:
    async with harness.service() as service:
        await service.place(make_request(instrument="NO_SUCH"))

    assert [(event.check, event.result) for event in harness.of("RiskCheck")] == [
        ("account", "passed"),
        ("state", "passed"),
        ("instrument", "denied"),
    ]


async def test_an_order_that_passes_all_checks_is_one_event(
    harness: OrderServiceHarness, make_request: MakeRequest
) -> None:
    async with harness.service() as service:
        await service.place(make_request())

    assert len(harness.of("RiskPassed")) == 1
    assert harness.of("RiskCheck") == []
