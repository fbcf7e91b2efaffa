from __future__ import annotations

from decimal import Decimal
from typing import Any

from broker.domain import OrderStatus, OrderType, Side
from broker.events.orders import OrderCancelled, OrderFilled, OrderTransition
from broker.orders.model.lifecycle import OrderRecord, fold
from broker.orders.model.order_events import events_of
from tests.unit.broker.orders.samples import NOW, cancelled, created, filled, make_record


def told(before: OrderRecord | None, after: OrderRecord, kind: type[Any]) -> list[Any]:
    events = events_of(before, after, instruments={}, decision_price=None, duration_s=None)
    return [event for event in events if isinstance(event, kind)]


def test_exit_is_told_with_the_instrument_and_side_of_its_fill() -> None:
    before = make_record(OrderStatus.PENDING, type=OrderType.STOP_LOSS, instrument="", units=Decimal(0))
    after = fold(before, [filled(8, 7, units="-60")], NOW)
    (event,) = told(before, after, OrderFilled)
    assert (event.instrument, event.side, event.units, event.partial) == ("EUR_USD", Side.SELL, 60.0, "false")


def test_partial_fill_is_told_as_one() -> None:
    before = make_record()
    after = fold(before, [created(7), filled(8, 7, units="60")], NOW)
    assert [event.partial for event in told(before, after, OrderFilled)] == ["true"]


def test_end_of_the_rest_is_told_once() -> None:
    resting = make_record(OrderStatus.PENDING, type=OrderType.LIMIT)
    ended = fold(resting, [created(7), cancelled(9, 7, "CLIENT_REQUEST")], NOW)
    late = fold(ended, [filled(8, 7, units="60")], NOW)
    assert late.status is OrderStatus.PARTIALLY_FILLED
    assert len(told(resting, ended, OrderCancelled)) == 1
    assert told(ended, late, OrderCancelled) == []


def test_order_that_memory_first_sees_on_its_way_is_told_as_received_too() -> None:
    sent = make_record(OrderStatus.SUBMITTED)
    assert [event.status for event in told(None, sent, OrderTransition)] == ["received", "submitted"]
    denied = make_record(OrderStatus.DENIED)
    assert [event.status for event in told(None, denied, OrderTransition)] == ["denied"]
