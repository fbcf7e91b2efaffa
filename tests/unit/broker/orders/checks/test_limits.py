from __future__ import annotations

import asyncio
from collections import Counter
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from broker.domain import OrderRequest, OrderType, PositionFill, Protection, Side, TimeInForce
from broker.orders.checks.market_view import MarketView, Usage
from broker.orders.checks.risk import check
from broker.orders.model.exposure import WorkingUnits
from broker.orders.settings import OrderSettings, RiskLimits
from tests.unit.broker.orders.checks.test_risk import MARKET
from tests.unit.broker.orders.fake_venue import FakeVenue
from tests.unit.broker.orders.order_service_fixture import MakeRequest, OrderServiceHarness
from tests.unit.broker.orders.samples import make_request

LIMIT: dict[str, Any] = {"type": OrderType.LIMIT, "price": Decimal("1.09")}
LEG = Protection(distance=Decimal("0.01"))


def denied(request: OrderRequest, market: MarketView, **settings: Any) -> str | None:
    found = check(request, market, OrderSettings(**settings))
    return found.reason if found is not None else None


def using(buys: int = 0, sells: int = 0) -> Usage:
    return Usage(working=WorkingUnits(buys=Decimal(buys), sells=Decimal(sells)))


def test_what_works_on_the_same_side_counts_against_the_position_limit() -> None:
    limits = RiskLimits(position_units=Decimal(150))
    assert denied(make_request(), replace(MARKET, account_usage=using(buys=50)), account=limits) is None
    assert denied(make_request(), replace(MARKET, account_usage=using(sells=51)), account=limits) is None
    assert denied(make_request(), replace(MARKET, account_usage=using(buys=51)), account=limits) == (
        "POSITION_LIMIT_EXCEEDED"
    )


def test_the_message_says_what_was_counted() -> None:
    market = replace(MARKET, position=Decimal(10), account_usage=using(buys=50))
    found = check(make_request(), market, OrderSettings(account=RiskLimits(position_units=Decimal(100))))
    assert found is not None
    assert found.message == (
        "the position could become 160 units (10 held, 50 resting or on their way, 100 of this order), more than 100"
    )


def test_a_clients_limit_counts_its_own_working_orders() -> None:
    market = replace(MARKET, account_usage=using(buys=1000), client_usage=using(buys=50))
    clients = {"flow": RiskLimits(position_units=Decimal(150))}
    assert denied(make_request(), market, clients=clients) is None
    assert denied(make_request(units=Decimal(101)), market, clients=clients) == "POSITION_LIMIT_EXCEEDED"


def test_a_market_order_may_turn_the_position_within_the_limit() -> None:
    market, limits = replace(MARKET, position=Decimal(-100)), RiskLimits(position_units=Decimal(100))
    assert denied(make_request(units=Decimal(200)), market, account=limits) is None
    assert denied(make_request(units=Decimal(201)), market, account=limits) == "POSITION_LIMIT_EXCEEDED"


@pytest.mark.parametrize(
    ("others", "expected"),
    [(Decimal(0), None), (Decimal(890), "GROSS_EXPOSURE_EXCEEDED"), (None, "GROSS_EXPOSURE_UNKNOWN")],
)
def test_gross_exposure_adds_up_all_instruments(others: Decimal | None, expected: str | None) -> None:
    market = replace(MARKET, account_usage=Usage(other_exposure=others))
    assert denied(make_request(), market, account=RiskLimits(gross_exposure=Decimal(999))) == expected


def test_an_order_that_widens_nothing_passes_a_gross_exposure_that_is_used_up() -> None:
    market = replace(MARKET, position=Decimal(-500), account_usage=using())
    limits = RiskLimits(gross_exposure=Decimal(1))
    assert denied(make_request(**LIMIT), market, account=limits) is None
    assert denied(make_request(side=Side.SELL), market, account=limits) == "GROSS_EXPOSURE_EXCEEDED"


@pytest.mark.parametrize(
    ("changed", "fields", "expected"),
    [
        ({"margin_available": Decimal("3.31")}, {}, None),
        ({"margin_available": Decimal("3.30")}, {}, "INSUFFICIENT_MARGIN"),
        ({"margin_available": Decimal("3.31"), "margin_rate": Decimal("0.05")}, {}, "INSUFFICIENT_MARGIN"),
        ({"margin_available": Decimal(0), "position": Decimal(-100)}, {}, None),
        ({"margin_available": Decimal("3.31"), "position": Decimal(-100)}, {"units": Decimal(200)}, None),
        ({"margin_available": None}, {"units": Decimal(10000)}, None),
        ({"margin_available": Decimal(0), "conversion": None}, {}, None),
    ],
)
def test_an_entry_needs_its_margin(changed: dict[str, Any], fields: dict[str, Any], expected: str | None) -> None:
    assert denied(make_request(**fields), replace(MARKET, **changed)) == expected


def test_attached_orders_count_as_open_ones() -> None:
    limits = RiskLimits(open_orders=2)
    assert denied(make_request(take_profit=LEG, stop_loss=LEG), MARKET, account=limits) is None
    market = replace(MARKET, account_usage=Usage(open_orders=1))
    assert denied(make_request(stop_loss=LEG), market, account=limits) is None
    assert denied(make_request(take_profit=LEG, stop_loss=LEG), market, account=limits) == "OPEN_ORDERS_LIMIT_EXCEEDED"


async def test_of_ten_orders_at_once_as_many_go_as_the_position_may_hold(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with harness.service(account=RiskLimits(position_units=Decimal(1000))) as service:
        requests = [make_request(f"order-{number}", units=Decimal(1000)) for number in range(10)]
        placed = await asyncio.gather(*map(service.place, requests))
    assert venue.position == 1000
    assert Counter(item.order.reason for item in placed) == {None: 1, "POSITION_LIMIT_EXCEEDED": 9}


async def test_resting_orders_count_until_they_end(harness: OrderServiceHarness, make_request: MakeRequest) -> None:
    limits = RiskLimits(position_units=Decimal(150))
    async with harness.service(account=limits, clients={"flow": limits}) as service:
        first = (await service.place(make_request("first", **LIMIT))).order
        second = (await service.place(make_request("second", **LIMIT))).order
        replacing = (await service.replace(first.id, make_request("third", **LIMIT))).order
        await service.cancel(replacing.id)
        fourth = (await service.place(make_request("fourth", **LIMIT))).order
    assert second.reason == "POSITION_LIMIT_EXCEEDED"
    assert (replacing.reason, fourth.reason) == (None, None)


async def test_what_rested_before_a_restart_counts(harness: OrderServiceHarness, make_request: MakeRequest) -> None:
    async with harness.service() as service:
        await service.place(make_request("first", **LIMIT))
    async with harness.service(account=RiskLimits(position_units=Decimal(150))) as service:
        assert (await service.place(make_request("second"))).order.reason == "POSITION_LIMIT_EXCEEDED"


async def test_reduce_only_orders_leave_the_limit_to_others(
    harness: OrderServiceHarness, make_request: MakeRequest
) -> None:
    async with harness.service(account=RiskLimits(position_units=Decimal(150))) as service:
        fields = {"position_fill": PositionFill.REDUCE_ONLY, **LIMIT}
        await service.place(make_request("first", units=Decimal(1000), **fields))
        assert (await service.place(make_request("second"))).order.reason is None


async def test_margin_of_orders_on_their_way_is_not_available_twice(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    # 1000.0000 is available; an order of 20,000 needs 660.
    async with harness.service(sample_s=600.0) as service:
        requests = [make_request(f"order-{number}", units=Decimal(20_000)) for number in range(3)]
        placed = await asyncio.gather(*map(service.place, requests))
        later = (await service.place(make_request("later", units=Decimal(20_000)))).order
        closed = (await service.close_position("EUR_USD")).order
        after = (await service.place(make_request("after", units=Decimal(20_000)))).order
    assert Counter(item.order.reason for item in placed) == {None: 1, "INSUFFICIENT_MARGIN": 2}
    assert later.reason == "INSUFFICIENT_MARGIN"
    assert (closed.reason, after.reason) == (None, None)


async def test_without_the_margin_check_the_venue_decides(
    harness: OrderServiceHarness, make_request: MakeRequest
) -> None:
    async with harness.service(margin_check=False) as service:
        assert (await service.place(make_request(units=Decimal(90_000)))).order.reason is None


async def test_used_share_of_every_limit_is_sampled(harness: OrderServiceHarness, make_request: MakeRequest) -> None:
    limits = RiskLimits(position_units=Decimal(1000), gross_exposure=Decimal(1100), open_orders=10, orders_per_s=5)
    async with harness.service(account=limits, daily_loss=Decimal(10), sample_s=0.1) as service:
        await service.place(make_request("first", **LIMIT))
        harness.events.clear()
        async with asyncio.timeout(60):
            while len(harness.of("RiskUtilisation")) < 6:
                await asyncio.sleep(0.01)
    found = {event.limit: event.ratio for event in harness.of("RiskUtilisation")}
    assert set(found) == {"position_units", "gross_exposure", "open_orders", "order_rate", "daily_loss", "margin"}
    assert (found["position_units"], found["open_orders"]) == (0.1, 0.1)
    assert found["gross_exposure"] == pytest.approx(110.01 / 1100)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, None),
        ({"time_in_force": TimeInForce.IOC}, None),
        ({"type": OrderType.LIMIT, "price": Decimal("1.1"), "time_in_force": TimeInForce.FOK}, None),
        ({"type": OrderType.LIMIT, "price": Decimal("1.1")}, "OPEN_ORDERS_LIMIT_EXCEEDED"),
        ({"stop_loss": LEG}, "OPEN_ORDERS_LIMIT_EXCEEDED"),
    ],
)
def test_order_that_never_rests_counts_for_no_limit_of_those_that_do(
    fields: dict[str, Any], expected: str | None
) -> None:
    full = replace(MARKET, account_usage=Usage(open_orders=2))
    assert denied(make_request(**fields), full, account=RiskLimits(open_orders=2)) == expected
