from __future__ import annotations

import asyncio
from decimal import Decimal
from types import SimpleNamespace

import pytest

from broker.domain import OrderStatus, OrderType, Side
from broker.orders.errors import ClientIdConflictError, HedgingAccountError
from broker.orders.model.trading_state import TradingState
from broker.orders.recovery import catch_up
from tests.unit.broker.orders.fake_venue import ACCOUNT, FakeVenue
from tests.unit.broker.orders.order_service_fixture import MakeRequest, OrderServiceHarness, blocked, wait_until


async def test_successor_on_another_volume_knows_the_callers_ids(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    other = OrderServiceHarness(venue, harness.directory / "elsewhere")
    async with harness.service() as service:
        filled = (await service.place(make_request())).order
        resting = (await service.place(make_request("second", type=OrderType.LIMIT, price=Decimal("1.09")))).order
    async with other.service() as service:
        again = (await service.place(make_request())).order
        with pytest.raises(ClientIdConflictError):
            await service.place(make_request("second", type=OrderType.LIMIT, price=Decimal("1.08")))
        ended = await service.cancel(resting.id)
        state = service.state

    assert (again.id, again.status, again.fills) == (filled.id, OrderStatus.FILLED, filled.fills)
    assert again.request == make_request()
    assert ended.status is OrderStatus.CANCELLED
    assert state is TradingState.ACTIVE
    assert len(venue.writes) == 3
    assert other.of("ReconcileMismatch") == []


async def test_successor_on_another_volume_gives_the_venues_refusal_again(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    request = make_request(units=Decimal(666))
    other = OrderServiceHarness(venue, harness.directory / "elsewhere")
    async with harness.service() as service:
        refused = (await service.place(request)).order
    async with other.service() as service:
        again = (await service.place(request)).order
        with pytest.raises(ClientIdConflictError):
            await service.place(make_request(units=Decimal(667)))

    assert (again.id, again.status, again.reason) == (refused.id, OrderStatus.REJECTED, "UNITS_LIMIT_EXCEEDED")
    assert len(venue.writes) == 1
    assert other.of("OrderRefused") == [], "its own process has told it"


async def test_venue_that_cannot_be_asked_is_a_reason_in_the_conditions_spelling(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    venue.token = "another"
    async with harness.service(wait_ready=False) as service:
        await wait_until(lambda: any(item.reason == "NotAuthorized" for item in service.conditions()))
        assert "Venue" in blocked(service)
        service.set_state(TradingState.HALTED, "tester", "a test")
        (trading,) = [item for item in service.conditions() if item.name == "Trading"]
        assert (trading.ok, trading.reason) == (False, "Halted")


async def test_start_whose_reads_get_no_turn_says_so_and_goes_on_when_they_do(
    harness: OrderServiceHarness, make_request: MakeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, ahead_s = asyncio.get_running_loop(), 0.0
    real = loop.time
    monkeypatch.setattr(loop, "time", lambda: real() + ahead_s)
    async with harness.service(wait_ready=False) as service:
        harness.rest.connections.requests.obey(3600.0)
        reasons: list[str] = []
        while "NotSent" not in reasons:
            ahead_s += 1.0
            await asyncio.sleep(0)
            reasons = [item.reason for item in service.conditions() if item.name == "Venue"]
        assert ahead_s > 4 * 20, "four tries, each with its deadline"
        harness.rest.connections.requests.open()
        await wait_until(lambda: not blocked(service))
        assert (await service.place(make_request())).order.status is OrderStatus.FILLED


async def test_start_before_its_token_tries_again_soon_and_then_ever_later(
    harness: OrderServiceHarness, venue: FakeVenue, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    real, right = asyncio.sleep, venue.token

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 8:
            venue.token = right
        await real(0)

    monkeypatch.setattr(catch_up, "asyncio", SimpleNamespace(sleep=sleep))
    venue.token = "another"
    async with harness.service():
        pass
    assert pauses[0] <= 0.02
    assert pauses[:5] == sorted(pauses[:5])
    assert 0.25 <= pauses[-1] <= 0.5


async def test_hedging_account_is_refused_by_name(harness: OrderServiceHarness, venue: FakeVenue) -> None:
    venue.hedging = True
    with pytest.raises(HedgingAccountError, match=f"account {ACCOUNT} has hedging on"):
        async with harness.service(wait_ready=False) as service:
            await wait_until(lambda: any(item.reason == "HedgingAccount" for item in service.conditions()))
    assert venue.writes == []


async def test_order_of_a_trade_that_is_closed_by_now_is_read_back_with_the_trades_instrument_side_and_size(
    harness: OrderServiceHarness, venue: FakeVenue
) -> None:
    market = {"type": "MARKET", "instrument": "EUR_USD", "units": "100"}
    trade = venue.make(market)["orderFillTransaction"]["tradeOpened"]["tradeID"]
    stop = venue.make({"type": "STOP_LOSS", "tradeID": trade, "price": "1.05000"})["orderCreateTransaction"]
    venue.cancel(stop, "LINKED_TRADE_CLOSED")
    venue.position = Decimal(0)
    async with harness.service() as service:
        order = service.order(f"venue-{stop['id']}")

    assert order is not None
    assert (order.status, order.request.instrument, order.request.side, order.request.units) == (
        OrderStatus.CANCELLED,
        "EUR_USD",
        Side.SELL,
        Decimal(100),
    )
