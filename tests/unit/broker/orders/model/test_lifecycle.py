from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from broker.domain import OrderStatus, OrderType, Side, TimeInForce
from broker.orders.model.lifecycle import TABLE, OrderAction, OrderEvent, after, concerns, fold
from broker.venue.v20.transactions import Transaction
from tests.unit.broker.orders.samples import NOW, cancelled, created, filled, make_record, rejected, transaction


def test_every_status_can_be_reached_from_received() -> None:
    reached = {OrderStatus.RECEIVED}
    while more := {end for (start, _), end in TABLE.items() if start in reached} - reached:
        reached |= more
    assert reached == set(OrderStatus)


def test_a_201_with_a_killed_order_is_cancelled() -> None:
    assert after(OrderStatus.SUBMITTED, OrderEvent.CANCEL) is OrderStatus.CANCELLED


def test_presumed_absent_is_adopted_when_it_trades() -> None:
    assert after(OrderStatus.PRESUMED_ABSENT, OrderEvent.FILL) is OrderStatus.FILLED


TRADED = {OrderStatus.CANCELLED: 0, OrderStatus.PARTIALLY_FILLED: 1, OrderStatus.FILLED: 2}


@given(st.lists(st.sampled_from(OrderEvent)))
def test_a_final_order_stays_as_it_is_but_for_fills_told_late(events: list[OrderEvent]) -> None:
    status = OrderStatus.RECEIVED
    for event in events:
        following = after(status, event) or status
        if status.is_final and following is not status:
            assert event in {OrderEvent.FILL, OrderEvent.FILL_IN_PART, OrderEvent.FILL_AND_KILL}
            assert TRADED[following] > TRADED[status]
        status = following


@given(st.lists(st.sampled_from(OrderEvent)))
def test_nothing_is_sent_twice(events: list[OrderEvent]) -> None:
    status, submissions = OrderStatus.RECEIVED, 0
    for event in events:
        following = after(status, event)
        submissions += event is OrderEvent.SUBMIT and following is not None
        status = following or status
    assert submissions <= 1


def test_created_and_filled_is_filled() -> None:
    order = fold(make_record(), [created(7), filled(8, 7)], NOW).order
    assert (order.status, order.venue_order_id, order.filled_units) == (OrderStatus.FILLED, "7", Decimal(100))
    assert order.fills[0].profit == Decimal("-0.5000")


@pytest.mark.parametrize("reason", ["MARKET_HALTED", "INSUFFICIENT_MARGIN", "BOUNDS_VIOLATION", "INVENTED_YESTERDAY"])
def test_created_and_cancelled_is_cancelled_with_the_venues_reason(reason: str) -> None:
    order = fold(make_record(), [created(7), cancelled(8, 7, reason)], NOW).order
    assert (order.status, order.reason, order.fills) == (OrderStatus.CANCELLED, reason, ())


def test_created_only_is_pending() -> None:
    assert fold(make_record(), [created(7, "LIMIT_ORDER")], NOW).status is OrderStatus.PENDING


@pytest.mark.parametrize("reason", ["UNITS_MINIMUM_NOT_MET", "UNITS_MIMIMUM_NOT_MET", "INVENTED_YESTERDAY"])
def test_reject_is_rejected_with_the_venues_reason_in_any_spelling(reason: str) -> None:
    order = fold(make_record(), [rejected(7, reason)], NOW).order
    assert (order.status, order.reason) == (OrderStatus.REJECTED, reason)


def test_partial_fill_takes_the_units_of_the_fill() -> None:
    trades: dict[str, Any] = {
        "tradeReduced": {"tradeID": "3", "units": "-40"},
        "tradesClosed": [{"tradeID": "2", "units": "-20"}],
    }
    order = fold(make_record(), [created(7), filled(8, 7, units="60", requestedUnits="100", **trades)], NOW).order
    assert (order.status, order.filled_units) == (OrderStatus.PARTIALLY_FILLED, Decimal(60))
    assert order.fills[0].trade_ids == ("2", "3")


@pytest.mark.parametrize("times", [{}, {"time_in_force": TimeInForce.IOC}, {"time_in_force": TimeInForce.FOK}])
def test_partial_fill_of_an_immediate_order_ends_it(times: dict[str, Any]) -> None:
    order = fold(make_record(**times), [created(7), filled(8, 7, units="60")], NOW).order
    assert (order.status, order.reason) == (OrderStatus.PARTIALLY_FILLED, None)


def test_cancelled_rest_leaves_a_partially_filled_order_with_its_reason() -> None:
    order = fold(
        make_record(), [created(7), filled(8, 7, units="60"), cancelled(9, 7, "TIME_IN_FORCE_EXPIRED")], NOW
    ).order
    assert (order.status, order.reason, order.filled_units) == (
        OrderStatus.PARTIALLY_FILLED,
        "TIME_IN_FORCE_EXPIRED",
        Decimal(60),
    )


def test_fill_has_the_venues_instrument_side_time_and_costs() -> None:
    costs = {"commission": "1.50", "financing": "-0.0210", "guaranteedExecutionFee": "0.75"}
    record = make_record(type=OrderType.STOP_LOSS, trade_id="3", instrument="", units=Decimal(0))
    (fill,) = fold(record, [created(7), filled(8, 7, units="-60", instrument="USD_JPY", **costs)], NOW).order.fills
    assert (fill.instrument, fill.side, fill.units) == ("USD_JPY", Side.SELL, Decimal(60))
    assert (fill.commission, fill.financing, fill.guaranteed_fee) == (
        Decimal("1.50"),
        Decimal("-0.0210"),
        Decimal("0.75"),
    )
    assert fill.time_ns == 1767614400_123456789


LIMIT: dict[str, Any] = {"type": OrderType.LIMIT, "price": Decimal("1.1")}
RESTS = [created(7, "LIMIT_ORDER"), filled(8, 7, units="60")]


def test_order_that_rests_is_pending_with_what_it_has_traded() -> None:
    order = fold(make_record(**LIMIT), RESTS, NOW).order
    assert (order.status, order.filled_units) == (OrderStatus.PENDING, Decimal(60))


def test_order_that_rests_is_filled_by_its_last_part() -> None:
    order = fold(make_record(**LIMIT), [*RESTS, filled(9, 7, units="40")], NOW).order
    assert (order.status, order.filled_units) == (OrderStatus.FILLED, Decimal(100))


def test_order_that_rests_is_partially_filled_when_its_rest_ends() -> None:
    order = fold(make_record(**LIMIT), [*RESTS, cancelled(9, 7, "CLIENT_REQUEST")], NOW).order
    assert (order.status, order.reason) == (OrderStatus.PARTIALLY_FILLED, "CLIENT_REQUEST")


def test_fill_told_behind_the_cancel_of_the_rest_counts() -> None:
    record = fold(make_record(**LIMIT), [RESTS[0], cancelled(9, 7, "CLIENT_REQUEST")], NOW)
    order = fold(record, RESTS[1:], NOW).order
    assert (order.status, order.reason, order.filled_units) == (
        OrderStatus.PARTIALLY_FILLED,
        "CLIENT_REQUEST",
        Decimal(60),
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"action": OrderAction.CLOSE_TRADE, "target": "3"},
        {"action": OrderAction.CLOSE_POSITION},
        {"type": OrderType.STOP_LOSS, "trade_id": "3"},
        {"type": OrderType.TAKE_PROFIT, "trade_id": "3", "units": Decimal(0)},
    ],
)
def test_order_for_all_that_is_there_is_filled_by_whatever_it_closed(fields: dict[str, Any]) -> None:
    order = fold(make_record(**fields), [created(7), filled(8, 7, units="-60")], NOW).order
    assert order.status is OrderStatus.FILLED


def test_close_of_units_that_closed_fewer_is_partially_filled() -> None:
    record = replace(make_record(action=OrderAction.CLOSE_POSITION), close_units=Decimal(100))
    order = fold(record, [created(7), filled(8, 7, units="-60")], NOW).order
    assert order.status is OrderStatus.PARTIALLY_FILLED


def test_order_that_an_old_journal_has_as_filled_stays_so() -> None:
    held = fold(make_record(**LIMIT), RESTS, NOW)
    old = replace(held, order=replace(held.order, status=OrderStatus.FILLED))
    order = fold(old, [filled(9, 7, units="20"), cancelled(10, 7, "CLIENT_REQUEST")], NOW).order
    assert (order.status, order.reason, order.filled_units) == (OrderStatus.FILLED, "CLIENT_REQUEST", Decimal(80))


def test_fill_without_its_creation_is_known_by_the_client_id() -> None:
    order = fold(make_record(OrderStatus.UNKNOWN), [filled(8, 7)], NOW).order
    assert (order.status, order.venue_order_id) == (OrderStatus.FILLED, "7")


def test_second_order_under_the_same_client_id_is_not_ours() -> None:
    order = fold(make_record(), [created(7), filled(8, 7), created(9), filled(10, 9)], NOW).order
    assert [fill.transaction_id for fill in order.fills] == ["8"]


def test_closed_trade_is_known_by_the_trade_behind_the_checkpoint() -> None:
    record = make_record(action=OrderAction.CLOSE_TRADE, target="3", checkpoint=6)
    close: dict[str, Any] = {"tradeClose": {"tradeID": "3", "units": "ALL"}}
    assert not concerns(record, created(5, client_id=None, **close))
    assert not concerns(record, created(7, client_id="another", **close))
    assert not concerns(record, created(7, client_id=None, tradeClose={"tradeID": "3", "units": "40"}))
    order = fold(record, [created(7, client_id=None, **close), filled(8, 7, client_id=None)], NOW).order
    assert order.status is OrderStatus.FILLED


def test_exit_of_a_trade_that_was_not_known_is_as_its_fill_tells() -> None:
    asked: dict[str, Any] = {"type": OrderType.STOP_LOSS, "instrument": "", "units": Decimal(0), "trade_id": "3"}
    record = make_record(OrderStatus.PENDING, venue_order_id="7", client_id="venue:7", **asked)
    order = fold(record, [filled(8, 7, units="-600", client_id=None)], NOW).order
    assert (order.status, order.request.instrument, order.request.side, order.request.units) == (
        OrderStatus.FILLED,
        "EUR_USD",
        Side.SELL,
        Decimal(600),
    )


def test_foreign_transactions_say_nothing() -> None:
    record = make_record()
    others = [created(7, client_id="other"), filled(8, 7, client_id="other"), transaction(9, "DAILY_FINANCING")]
    assert fold(record, others, NOW) is record


STORIES = [
    [created(7), filled(8, 7)],
    [created(7), cancelled(8, 7, "MARKET_HALTED")],
    [created(7), filled(8, 7, units="60"), filled(9, 7, units="40")],
    [created(7), filled(8, 7, units="60"), cancelled(9, 7, "CLIENT_REQUEST")],
    [rejected(7, "ACCOUNT_LOCKED")],
    [created(7, "LIMIT_ORDER")],
]


@given(story=st.sampled_from(STORIES), cuts=st.lists(st.integers(0, 3), max_size=6))
def test_pieces_and_repetitions_of_a_story_end_as_the_story(story: list[Transaction], cuts: list[int]) -> None:
    whole = fold(make_record(), story, NOW)
    record = make_record()
    for cut in cuts:
        record = fold(record, story[:cut], NOW)
    assert fold(fold(record, story, NOW), story, NOW) == whole


def test_clock_that_was_set_back_makes_no_change_earlier_than_the_one_before_it() -> None:
    before = make_record()
    back = NOW - timedelta(minutes=10)
    moved = before.moved(OrderStatus.UNKNOWN, back)
    told = fold(before, [created(7), filled(8, 7)], back)
    assert before.order.updated_at == moved.order.updated_at == told.order.updated_at == NOW
