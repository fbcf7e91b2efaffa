from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from broker.domain import Order, OrderStatus, OrderType, Protection, Side, TriggerCondition
from broker.orders.errors import ClientIdConflictError, TradeMismatchError, UnknownPositionError
from broker.orders.service import OrderService
from broker.orders.trades import TradeChange
from tests.unit.broker.orders.fake_venue import FakeVenue
from tests.unit.broker.orders.order_service_fixture import MakeRequest, OrderServiceHarness, wait_until

TARGET, STOP = Protection(price=Decimal("1.20000")), Protection(price=Decimal("1.05000"), tag="t")


def change(key: str = "key", trade_id: str = "1", **legs: Protection | None) -> TradeChange:
    return TradeChange(trade_id=trade_id, legs=legs, client="flow", key=key)


def resting(venue: FakeVenue) -> dict[str, str]:
    return {item["type"]: item.get("price") or item["distance"] for item in venue.pending.values()}


def order_of(service: OrderService, key: str) -> Order:
    found = service.by_client_id("flow", key)
    assert found is not None
    return found


async def test_named_orders_are_placed_moved_and_cancelled_and_the_others_stay(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with harness.service() as service:
        await service.place(make_request())
        placed = await service.trades.change_orders(change("one", take_profit=TARGET, stop_loss=STOP))
        first = resting(venue)
        moved = await service.trades.change_orders(change("two", stop_loss=Protection(distance=Decimal("0.01"))))
        second = resting(venue)
        ended = await service.trades.change_orders(change("three", take_profit=None, trailing_stop=None))
        orders = [order_of(service, name) for name in ("one take_profit", "one stop_loss", "two stop_loss")]

    assert [(item.subject, item.outcome) for item in placed.outcomes] == [
        ("take_profit", "done"),
        ("stop_loss", "done"),
    ]
    assert first == {"TAKE_PROFIT_ORDER": "1.20000", "STOP_LOSS_ORDER": "1.05000"}
    assert second == {"TAKE_PROFIT_ORDER": "1.20000", "STOP_LOSS_ORDER": "0.01"}
    assert (placed.complete, moved.complete, ended.complete) == (True, True, True)
    assert {(item.subject, item.outcome) for item in ended.outcomes} == {
        ("take_profit", "done"),
        ("trailing_stop", "ended"),
    }
    assert resting(venue) == {"STOP_LOSS_ORDER": "0.01"}
    assert [(item.status, item.reason) for item in orders] == [
        (OrderStatus.CANCELLED, "CLIENT_REQUEST"),
        (OrderStatus.CANCELLED, "CLIENT_REQUEST_REPLACED"),
        (OrderStatus.PENDING, None),
    ]
    assert (orders[0].request.instrument, orders[0].request.side) == ("EUR_USD", Side.SELL)


@pytest.mark.parametrize("restarts", [False, True])
async def test_repeated_change_sends_nothing_and_cancels_no_later_order(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest, restarts: bool
) -> None:
    async def repeat(service: OrderService) -> None:
        again = await service.trades.change_orders(change("one", take_profit=TARGET))
        gone = await service.trades.change_orders(change("two", take_profit=None))
        assert [again.replayed, gone.replayed] == [True, True]
        with pytest.raises(ClientIdConflictError, match="change the orders of trade 1 with another content"):
            await service.trades.change_orders(change("one", take_profit=None))
        with pytest.raises(ClientIdConflictError, match="cannot be used to change the orders of trade 2"):
            await service.trades.change_orders(change("one", trade_id="2", take_profit=TARGET))

    async with harness.service() as service:
        await service.place(make_request())
        await service.trades.change_orders(change("one", take_profit=TARGET))
        await service.trades.change_orders(change("two", take_profit=None))
        await service.trades.change_orders(change("three", take_profit=TARGET))
        writes = len(venue.writes)
        if not restarts:
            await repeat(service)
    if restarts:
        async with harness.service() as service:
            await repeat(service)

    assert len(venue.writes) == writes
    assert resting(venue) == {"TAKE_PROFIT_ORDER": "1.20000"}


@pytest.mark.parametrize(("fault", "outcome"), [("lose", "done"), ("quiet", "done"), ("drop", "unknown")])
async def test_lost_answer_is_found_in_the_log_and_sent_once(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest, fault: str, outcome: str
) -> None:
    async with harness.service() as service:
        await service.place(make_request())
        venue.faults.append(fault)
        (found,) = (await service.trades.change_orders(change(stop_loss=STOP))).outcomes

    assert found.outcome == outcome
    assert len(venue.writes) == 2
    assert len(venue.pending) == (outcome == "done")


async def test_trade_that_is_not_open_is_said(harness: OrderServiceHarness) -> None:
    async with harness.service() as service:
        with pytest.raises(UnknownPositionError):
            await service.trades.change_orders(change(take_profit=TARGET))


async def test_order_of_a_trade_takes_instrument_side_and_units_from_it(
    harness: OrderServiceHarness, make_request: MakeRequest
) -> None:
    empty: dict[str, Any] = {"instrument": "", "units": Decimal(0), "type": OrderType.STOP_LOSS, "trade_id": "1"}
    async with harness.service() as service:
        await service.place(make_request())
        whole = await service.trades.complete(make_request("stop", price=Decimal("1.05"), **empty), frozenset())
        wrong = make_request("stop", **{**empty, "units": Decimal(7), "instrument": "USD_JPY"})
        with pytest.raises(TradeMismatchError) as caught:
            await service.trades.complete(wrong, frozenset({"units", "instrument", "side"}))
        unknown = await service.trades.complete(make_request("stop", **{**empty, "trade_id": "9"}), frozenset())
        with pytest.raises(UnknownPositionError):
            await service.place(unknown)

    assert (whole.instrument, whole.side, whole.units) == ("EUR_USD", Side.SELL, Decimal(100))
    assert caught.value.faults == {
        "instrument": "must be EUR_USD, as of trade 1, or absent",
        "side": "must be sell, as of trade 1, or absent",
        "units": "must be 100, as of trade 1, or absent",
    }


async def test_changed_extensions_keep_our_id_and_are_shown(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    limit = make_request(type=OrderType.LIMIT, price=Decimal("1.09"), tag="a", comment="b")
    async with harness.service() as service:
        order = (await service.place(limit)).order
        placed_as = venue.writes[0][2]["order"]["clientExtensions"]["id"]
        changed = await service.change_extensions(order.id, tag="new", comment="")
        again = await service.place(limit)

    assert venue.writes[1][2] == {"clientExtensions": {"id": placed_as, "tag": "new", "comment": ""}}
    assert (changed.request.tag, changed.request.comment) == ("new", None)
    assert (again.replayed, len(venue.writes)) == (True, 2)


async def test_order_that_ended_before_the_cancel_came_has_ended(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with harness.service() as service:
        await service.place(make_request())
        # Shown by the venue as the trade's, gone by the time of the cancel, and told by no stream.
        venue.pending["77"] = {"id": "77", "type": "STOP_LOSS_ORDER", "tradeID": "1", "price": "1.05", "time": "0"}
        venue.gate.clear()
        changing = asyncio.create_task(service.trades.change_orders(change(stop_loss=None)))
        await wait_until(lambda: len(venue.writes) == 2)
        del venue.pending["77"]
        venue.gate.set()
        found = await changing

    assert [(item.subject, item.outcome) for item in found.outcomes] == [("stop_loss", "ended")]
    assert found.complete


async def test_refused_token_is_a_failure_that_the_same_key_may_follow(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with harness.service() as service:
        await service.place(make_request())
        venue.faults.append("401")
        (failed,) = (await service.trades.change_orders(change(stop_loss=STOP))).outcomes
        (done,) = (await service.trades.change_orders(change(stop_loss=STOP))).outcomes

    assert (failed.outcome, failed.reason, done.outcome) == ("failed", "VenueUnauthorized", "done")


async def test_moved_order_shows_the_trigger_that_the_venue_hands_on(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with harness.service() as service:
        await service.place(make_request())
        venue.handed_on = {"triggerCondition": "MID"}
        await service.trades.change_orders(change(stop_loss=STOP))
        again = await service.trades.change_orders(change(stop_loss=STOP))
        moved = order_of(service, "key stop_loss")

    assert moved.request.trigger_condition is TriggerCondition.MID
    assert (again.replayed, [item.outcome for item in again.outcomes], len(venue.writes)) == (True, ["done"], 2)
