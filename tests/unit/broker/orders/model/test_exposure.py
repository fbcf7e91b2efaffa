from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from broker.domain import Fill, OrderStatus, OrderType, PositionFill, Protection, Side, TimeInForce
from broker.orders.model.exposure import (
    ACCOUNT,
    WORKING,
    ExposureBook,
    WorkingUnits,
    gross_worth,
    resting_orders,
    units_to_open,
)
from broker.orders.model.lifecycle import OrderAction, OrderRecord
from tests.unit.broker.orders.samples import NOW, make_record, make_request

LIMIT: dict[str, Any] = {"type": OrderType.LIMIT, "price": Decimal("1.1")}
RECORDS = st.builds(
    make_record,
    st.sampled_from(OrderStatus),
    order_id=st.sampled_from("abcdef"),
    action=st.sampled_from(OrderAction),
    instrument=st.sampled_from(["EUR_USD", "USD_JPY"]),
    client=st.sampled_from(["flow", "other"]),
    side=st.sampled_from(Side),
    units=st.decimals(1, 10_000, places=1),
    type=st.sampled_from(OrderType),
    position_fill=st.sampled_from(PositionFill),
)


def book_of(*records: OrderRecord) -> ExposureBook:
    book = ExposureBook()
    for record in records:
        book.add(record)
    return book


@given(st.lists(RECORDS, max_size=40))
def test_running_sums_are_the_sums_over_all_orders(changes: list[OrderRecord]) -> None:
    book, held = ExposureBook(), dict[str, OrderRecord]()
    for record in changes:
        if record.id in held:
            book.remove(held[record.id])
        book.add(record)
        held[record.id] = record
    anew = book_of(*held.values())
    for client in (ACCOUNT, "flow", "other"):
        assert book.instruments(client) == anew.instruments(client)
        for name in ("EUR_USD", "USD_JPY"):
            assert book.of(name, client) == anew.of(name, client)
    assert book.flying == anew.flying


@pytest.mark.parametrize("status", OrderStatus)
def test_an_order_counts_while_it_may_fill(status: OrderStatus) -> None:
    assert book_of(make_record(status)).of("EUR_USD").buys == (100 if status in WORKING else 0)


def test_what_has_filled_counts_in_the_position_alone() -> None:
    record = make_record(OrderStatus.PENDING, **LIMIT)
    part = Fill(transaction_id="9", units=Decimal(40), price=Decimal("1.1"), time=NOW)
    working = book_of(replace(record, order=replace(record.order, fills=(part,)))).of("EUR_USD")
    assert (working.worst(Decimal(40), Side.BUY), working.worst(Decimal(40), Side.SELL)) == (Decimal(100), Decimal(0))


@pytest.mark.parametrize(
    "fields",
    [
        {"position_fill": PositionFill.REDUCE_ONLY},
        {"action": OrderAction.CLOSE_POSITION},
        {"action": OrderAction.CLOSE_TRADE, "target": "7"},
        {"type": OrderType.STOP_LOSS, "trade_id": "7"},
    ],
)
def test_what_only_reduces_opens_nothing(fields: dict[str, Any]) -> None:
    assert book_of(make_record(**fields)).of("EUR_USD").buys == 0


def test_what_was_let_through_as_an_exit_opens_nothing() -> None:
    assert book_of(replace(make_record(), reduce_only=True)).of("EUR_USD").buys == 0


def test_a_resting_order_has_no_position_against_it() -> None:
    # The position may be closed before it fills.
    assert units_to_open(make_request(**LIMIT), Decimal(-100), WorkingUnits()) == 100


@pytest.mark.parametrize(
    ("position", "working", "opens"),
    [
        (-60, WorkingUnits(), 40),
        (-60, WorkingUnits(closing_buys=Decimal(50)), 90),
        (-60, WorkingUnits(buys=Decimal(1000)), 100),
        (-60, WorkingUnits(sells=Decimal(1000), closing_sells=Decimal(50)), 40),
        (0, WorkingUnits(), 100),
        (60, WorkingUnits(), 100),
    ],
)
def test_an_order_that_turns_the_position_opens_what_is_left(position: int, working: WorkingUnits, opens: int) -> None:
    assert units_to_open(make_request(), Decimal(position), working) == opens
    at_once = make_request(time_in_force=TimeInForce.IOC, **LIMIT)
    assert units_to_open(at_once, Decimal(position), working) == opens


def test_an_order_rests_as_one_and_then_as_what_it_brings() -> None:
    leg = Protection(distance=Decimal("0.01"))
    assert resting_orders(make_request(type=OrderType.LIMIT)) == 1
    assert resting_orders(make_request()) == 0
    assert resting_orders(make_request(stop_loss=leg)) == 1
    assert resting_orders(make_request(take_profit=leg, stop_loss=leg, trailing_stop=leg)) == 3


def test_what_a_replaced_order_is_worth_is_left_out() -> None:
    resting = make_record(OrderStatus.PENDING, order_id="a", **LIMIT)
    working = book_of(resting, make_record(order_id="b")).of("EUR_USD")
    assert working.without(resting).buys == 100
    assert working.without(None).buys == working.buys == 200


def test_gross_worth_adds_long_and_short() -> None:
    book = book_of(make_record(instrument="USD_JPY", side=Side.SELL))
    held = {"EUR_USD": Decimal(-100), "USD_JPY": Decimal(30)}
    prices = {"EUR_USD": Decimal(2), "USD_JPY": Decimal(3)}
    assert gross_worth(book, ACCOUNT, held, prices.get) == 100 * 2 + 100 * 3
    assert gross_worth(book, ACCOUNT, held, prices.get, besides="USD_JPY") == 200
    assert gross_worth(book, "flow", held, {"EUR_USD": Decimal(2)}.get) is None
