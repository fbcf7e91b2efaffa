"""Exits against the simulated venue: what an attached order does, to whom it belongs, over restarts and take-overs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import aiohttp
import pytest
from msgspec.structs import replace

from broker.domain import Order, OrderRequest, OrderStatus, OrderType, Protection, Side
from broker.orders.service import OrderService
from broker.simulator.http.server import Simulator
from tests.unit.broker.orders.order_service_fixture import OrderServiceHarness, wait_until

pytestmark = pytest.mark.real
BRACKET = OrderRequest(
    client_order_id="entry",
    client="flow",
    account="101-004-1234567-001",
    instrument="EUR_USD",
    type=OrderType.MARKET,
    side=Side.BUY,
    units=Decimal(1000),
    take_profit=Protection(price=Decimal("1.10500")),
    stop_loss=Protection(price=Decimal("1.09000")),
)


@dataclass
class Venue:
    """The simulator, as the harness wants one."""

    simulator: Simulator

    @property
    def url(self) -> str:
        return self.simulator.rest_url

    @property
    def token(self) -> str:
        return self.simulator.token

    def price(self, mid: str) -> None:
        venue = self.simulator.venue
        venue.apply([venue.market.place("EUR_USD", Decimal(mid), venue.clock.now_ns())])


@pytest.fixture
async def venue() -> AsyncIterator[Venue]:
    async with Simulator(seed=1, ticks_per_s=0, heartbeat_s=0.05) as simulator:
        found = Venue(simulator)
        found.price("1.10000")
        yield found


def harness(venue: Venue, directory: Path) -> OrderServiceHarness:
    return OrderServiceHarness(venue, directory)  # type: ignore[arg-type] # of the fake it uses the address and token


def protections(service: OrderService) -> dict[OrderType, Order]:
    return {order.request.type: order for order in service.open_orders() if order.request.trade_id is not None}


@asynccontextmanager
async def bracketed(found: OrderServiceHarness) -> AsyncIterator[OrderService]:
    """A service whose client has entered a trade with a take-profit and a stop."""
    async with found.service() as service:
        entry = (await service.place(BRACKET)).order
        assert service.trade(entry.fills[0].trade_ids[0]) is not None, "known with the answer"
        await wait_until(lambda: len(protections(service)) == 2)
        yield service


async def test_attached_orders_are_their_clients_with_the_trades_instrument_side_and_units(
    venue: Venue, tmp_path: Path
) -> None:
    async with bracketed(harness(venue, tmp_path)) as service:
        asked = [order.request for order in protections(service).values()]

    assert {(item.client, item.instrument, item.side, item.units) for item in asked} == {
        ("flow", "EUR_USD", Side.SELL, Decimal(1000))
    }


async def test_exit_is_told_as_a_sale_of_what_was_left(venue: Venue, tmp_path: Path) -> None:
    found = harness(venue, tmp_path)
    async with bracketed(found) as service:
        target = protections(service)[OrderType.TAKE_PROFIT]
        await service.close_trade(str(target.request.trade_id), Decimal(400), client="flow")
        await wait_until(lambda: protections(service)[OrderType.TAKE_PROFIT].request.units == 600)
        venue.price("1.10700")
        await wait_until(lambda: not service.open_orders())
        ended = service.order(target.id)

    assert ended is not None
    assert (ended.status, ended.request.side, ended.filled_units) == (OrderStatus.FILLED, Side.SELL, Decimal(600))
    told = [(event.order_type, event.side, event.instrument, event.units) for event in found.of("OrderFilled")]
    assert told == [
        ("market", "buy", "EUR_USD", 1000.0),
        ("market", "sell", "EUR_USD", 400.0),
        ("take_profit", "sell", "EUR_USD", 600.0),
    ]


async def test_client_moves_and_cancels_what_came_with_its_order(venue: Venue, tmp_path: Path) -> None:
    async with bracketed(harness(venue, tmp_path)) as service:
        stop = protections(service)[OrderType.STOP_LOSS]
        moved = replace(stop.request, client_order_id="moved", price=Decimal("1.09500"))
        placed = (await service.replace(stop.id, moved)).order
        ended = await service.cancel(protections(service)[OrderType.TAKE_PROFIT].id)
        before = service.order(stop.id)

    assert (placed.status, placed.request.client, placed.request.price) == (
        OrderStatus.PENDING,
        "flow",
        Decimal("1.09500"),
    )
    assert before is not None
    assert (before.status, before.reason) == (OrderStatus.CANCELLED, "CLIENT_REQUEST_REPLACED")
    assert ended.status is OrderStatus.CANCELLED


async def test_protection_that_another_program_moves_keeps_its_owner(venue: Venue, tmp_path: Path) -> None:
    async with bracketed(harness(venue, tmp_path)) as service:
        trade = str(protections(service)[OrderType.STOP_LOSS].request.trade_id)
        url = f"{venue.url}/v3/accounts/{BRACKET.account}/trades/{trade}/orders"
        body, headers = {"stopLoss": {"price": "1.08500"}}, {"Authorization": f"Bearer {venue.token}"}
        async with aiohttp.ClientSession() as session, session.put(url, json=body, headers=headers) as answer:
            assert answer.status == 200
        await wait_until(lambda: protections(service)[OrderType.STOP_LOSS].request.price == Decimal("1.08500"))
        stop = protections(service)[OrderType.STOP_LOSS]

    assert (stop.request.client, stop.request.side, stop.request.units) == ("flow", Side.SELL, Decimal(1000))


async def test_trade_shows_whose_it_is_and_its_orders(venue: Venue, tmp_path: Path) -> None:
    async with bracketed(harness(venue, tmp_path)) as service:
        (shown,) = await service.trades.open()
        held = protections(service)

    assert (shown.client, shown.trade.instrument, shown.trade.units) == ("flow", "EUR_USD", Decimal(1000))
    assert shown.order_id is not None
    assert shown.order_ids == {"take_profit": held[OrderType.TAKE_PROFIT].id, "stop_loss": held[OrderType.STOP_LOSS].id}


async def test_owner_and_trade_outlive_a_restart(venue: Venue, tmp_path: Path) -> None:
    found = harness(venue, tmp_path)
    async with bracketed(found):
        pass
    venue.price("1.10100")
    async with found.service() as service:
        kept = protections(service)
        trade = service.trade(str(kept[OrderType.STOP_LOSS].request.trade_id))
        assert {order.request.client for order in kept.values()} == {"flow"}
        assert trade is not None
        assert (trade.instrument, trade.units, trade.owner.client) == ("EUR_USD", Decimal(1000), "flow")


async def test_exit_while_no_broker_ran_is_a_sale_all_the_same(venue: Venue, tmp_path: Path) -> None:
    found = harness(venue, tmp_path)
    async with bracketed(found) as service:
        stop = protections(service)[OrderType.STOP_LOSS]
    venue.price("1.08000")
    async with found.service() as service:
        ended = service.order(stop.id)
        assert service.open_orders() == []

    assert ended is not None
    assert (ended.status, ended.request.side, ended.fills[0].side) == (OrderStatus.FILLED, Side.SELL, Side.SELL)


@pytest.mark.parametrize("read_back", [5000, 0])
async def test_successor_without_a_journal_gives_the_client_what_came_with_its_order(
    venue: Venue, tmp_path: Path, read_back: int
) -> None:
    async with bracketed(harness(venue, tmp_path / "first")):
        pass
    other = harness(venue, tmp_path / "second")
    async with other.service(read_back_transactions=read_back) as service:
        service.claim("another")
        assert {order.request.client for order in service.open_orders()} == {"external"}
        service.claim("flow")
        assert {order.request.client for order in service.open_orders()} == {"flow"}
        stop = protections(service)[OrderType.STOP_LOSS]
        assert (stop.request.instrument, stop.request.side, stop.request.units) == ("EUR_USD", Side.SELL, Decimal(1000))
        assert (await service.cancel(stop.id)).status is OrderStatus.CANCELLED
