from __future__ import annotations

import asyncio
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from broker.domain import OrderRequest, OrderStatus, OrderType, PositionFill, Protection, Side
from broker.orders.checks.market_view import MarketView, Usage
from broker.orders.checks.risk import CHECKS, check, check_as_entry, is_exit
from broker.orders.errors import NotReadyError
from broker.orders.model.trading_state import TradingState
from broker.orders.settings import OrderSettings, RiskLimits
from tests.unit.broker.orders.checks.test_risk import MARKET, QUOTE
from tests.unit.broker.orders.fake_venue import FakeVenue
from tests.unit.broker.orders.order_service_fixture import MakeRequest, OrderServiceHarness, wait_until
from tests.unit.broker.orders.samples import make_request

LONG = Decimal(100)
EXIT = make_request(side=Side.SELL)
CLOSE = make_request(side=Side.SELL, position_fill=PositionFill.REDUCE_ONLY)
LIMIT_EXIT = make_request(side=Side.SELL, type=OrderType.LIMIT, price=Decimal("1.11"))
STOP_LOSS = make_request(type=OrderType.STOP_LOSS, side=Side.SELL, trade_id="5", price=Decimal("1.09"))
# For each check: a market, settings and fields of an order in which it denies an entry.
ENTRY_IS_DENIED: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "account": ({}, {}, {"account": "999"}),
    "state": ({"state": TradingState.HALTED}, {}, {}),
    "reducing": ({"state": TradingState.REDUCING}, {}, {}),
    "instrument": ({"instrument": None}, {}, {}),
    "form": ({}, {}, {"type": OrderType.LIMIT, "price": None}),
    "precision": ({}, {}, {"units": Decimal("0.5")}),
    "size": ({}, {"account": RiskLimits(units=Decimal(99))}, {}),
    "position": ({}, {"account": RiskLimits(position_units=Decimal(99))}, {}),
    "tradeable": ({"quote": replace(QUOTE, tradeable=False)}, {}, {}),
    "stale_price": ({"prices_alive": False}, {}, {}),
    "collar": ({}, {}, {"price_bound": Decimal("0.1")}),
    "protection": ({}, {}, {"stop_loss": Protection(distance=Decimal(1))}),
    "notional": ({}, {"account": RiskLimits(notional=Decimal(1))}, {}),
    "gross_exposure": ({}, {"account": RiskLimits(gross_exposure=Decimal(1))}, {}),
    "margin": ({"margin_available": Decimal(1)}, {}, {}),
    "open_orders": (
        {"account_usage": Usage(open_orders=1000)},
        {},
        {"stop_loss": Protection(distance=Decimal("0.01"))},
    ),
    "order_rate": ({"account_usage": Usage(order_tokens=0.0)}, {"account": RiskLimits(orders_per_s=1.0)}, {}),
    "duplicate": ({"twin": True}, {}, {}),
    "daily_loss": ({"day_profit": Decimal(-1)}, {"daily_loss": Decimal(1)}, {}),
    "circuit": ({"circuit_allows": False}, {}, {}),
}


def denial_of(request: OrderRequest, market: MarketView, settings: dict[str, Any]) -> str | None:
    found = check(request, market, OrderSettings(**settings))
    return found.check if found is not None else None


@pytest.mark.parametrize("name", CHECKS)
def test_every_check_guards_entries(name: str) -> None:
    market, settings, fields = ENTRY_IS_DENIED[name]
    assert denial_of(make_request(**fields), replace(MARKET, **market), settings) == name


@pytest.mark.parametrize("name", CHECKS)
def test_an_exit_is_refused_by_what_the_table_says_and_by_nothing_else(name: str) -> None:
    market, settings, fields = ENTRY_IS_DENIED[name]
    view = replace(MARKET, position=LONG, **market)
    expected = name if CHECKS[name].guards_exits else None
    assert denial_of(replace(EXIT, **fields), view, settings) == expected
    assert denial_of(replace(CLOSE, **fields), replace(view, position=Decimal(0), closes=True), settings) == expected


@pytest.mark.parametrize("request_", [LIMIT_EXIT, STOP_LOSS, CLOSE])
@pytest.mark.parametrize("name", [name for name, item in CHECKS.items() if not item.guards_exits])
def test_resting_exits_and_orders_of_a_trade_pass_as_well(name: str, request_: OrderRequest) -> None:
    market, settings, _ = ENTRY_IS_DENIED[name]
    assert denial_of(request_, replace(MARKET, position=LONG, **market), settings) is None


@pytest.mark.parametrize(
    ("request_", "position", "expected"),
    [
        (EXIT, 100, True),
        (EXIT, 99, False),
        (EXIT, 0, False),
        (EXIT, -100, False),
        (CLOSE, 1, True),
        (CLOSE, 0, False),
        (make_request(side=Side.SELL, position_fill=PositionFill.OPEN_ONLY), 100, False),
        (STOP_LOSS, 0, True),
    ],
)
def test_an_exit_can_only_reduce(request_: OrderRequest, position: int, expected: bool) -> None:
    assert is_exit(request_, Decimal(position)) is expected
    assert is_exit(request_, Decimal(position), closes=True)


def test_a_close_of_more_than_the_instruments_maximum_is_left_to_the_venue() -> None:
    market = replace(MARKET, position=Decimal(5_000_000), closes=True)
    assert check(replace(CLOSE, units=Decimal(5_000_000)), market, OrderSettings()) is None


def test_the_collar_does_not_measure_by_a_silent_stream() -> None:
    far = replace(LIMIT_EXIT, price=Decimal("1.5"))
    settings = OrderSettings()
    live = check(far, replace(MARKET, position=LONG), settings)
    assert live is not None
    assert live.reason == "PRICE_COLLAR"
    assert check(far, replace(MARKET, position=LONG, prices_alive=False), settings) is None


def test_an_exit_that_would_pass_as_an_entry_needs_no_hold() -> None:
    market = replace(MARKET, position=LONG)
    assert check_as_entry(EXIT, market, OrderSettings()) is None
    assert check_as_entry(EXIT, replace(market, state=TradingState.REDUCING), OrderSettings()) is not None


def test_the_docs_list_what_refuses_exits() -> None:
    text = (Path(__file__).parents[5] / "docs/orders.md").read_text(encoding="utf-8")
    section = text.split("\n## Exits\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (refuses|lets pass) \| (.+) \|$", section, re.MULTILINE)
    assert rows == [(name, "refuses" if item.guards_exits else "lets pass", item.why) for name, item in CHECKS.items()]


async def test_closes_go_on_while_the_price_stream_is_silent(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with harness.service() as service:
        await service.place(make_request(units=Decimal(200)))
        engine = service.leadership.engine
        assert engine is not None
        monkeypatch.setattr(type(engine._dependencies.prices.stream), "is_alive", False)
        with pytest.raises(NotReadyError, match="PricesPending"):
            await service.place(make_request("entry"))
        part = (await service.place(make_request("part", side=Side.SELL))).order
        closed = (await service.close_position("EUR_USD", client="flow", client_order_id="close")).order
    assert (part.status, closed.status) == (OrderStatus.FILLED, OrderStatus.FILLED)
    assert venue.position == 0


async def test_an_exit_that_passes_as_one_is_held_to_that_at_the_venue(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with harness.service() as service:
        await service.place(make_request(units=Decimal(1000)))
        service.set_state(TradingState.REDUCING, "operator", "end of day")
        sell = {"side": Side.SELL, "units": Decimal(800)}
        for name in ("a", "b"):
            fields = {"type": OrderType.LIMIT, "price": Decimal("1.11")}
            resting = (await service.place(make_request(name, **sell, **fields))).order
            assert resting.status is OrderStatus.PENDING
            assert resting.request.position_fill is PositionFill.DEFAULT
    sent = [body["order"]["positionFill"] for _, _, body in venue.writes]
    assert sent == ["DEFAULT", "REDUCE_ONLY", "REDUCE_ONLY"]


async def test_an_exit_on_its_way_when_reducing_begins_goes_as_one(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with harness.service() as service:
        await service.place(make_request())
        harness.rest.connections.requests.obey(60.0)
        exit_ = asyncio.create_task(service.place(make_request("exit", side=Side.SELL)))
        entry = asyncio.create_task(service.place(make_request("entry")))
        await wait_until(lambda: harness.rest.connections.requests.depth >= 2)
        service.set_state(TradingState.REDUCING, "operator", "drill")
        harness.rest.connections.requests.open()
        closed, denied = (await exit_).order, (await entry).order
    assert closed.status is OrderStatus.FILLED
    assert (denied.status, denied.reason) == (OrderStatus.DENIED, "TRADING_REDUCING")
    assert [body["order"]["positionFill"] for _, _, body in venue.writes] == ["DEFAULT", "REDUCE_ONLY"]
