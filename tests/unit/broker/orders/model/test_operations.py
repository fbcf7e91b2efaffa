from __future__ import annotations

from decimal import Decimal
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from broker.domain import Operation, Order, OrderStatus, OrderType, Side
from broker.orders.model.lifecycle import OrderAction, OrderRecord
from broker.orders.model.operations import Asked, closing_request, is_same, made_by
from broker.venue.v20.parse import parse_order
from tests.unit.broker.orders.samples import CLIENT_ID, NOW, make_request

ACTIONS = {
    Operation.PLACE: OrderAction.CREATE,
    Operation.REPLACE: OrderAction.REPLACE,
    Operation.CLOSE_POSITION: OrderAction.CLOSE_POSITION,
    Operation.KILL: OrderAction.CLOSE_POSITION,
    Operation.CLOSE_TRADE: OrderAction.CLOSE_TRADE,
}
SIZES = [Decimal(100), Decimal(200)]


def ordering(operation: Operation, target: str | None, units: Decimal, side: Side) -> Asked:
    request = make_request(
        type=OrderType.LIMIT, price=Decimal("1.1"), side=side, units=units, operation=operation, target=target
    )
    return Asked(operation=operation, target=target, request=request)


ORDERINGS = [
    ordering(operation, target, units, side)
    for (operation, target), units, side in product(
        [(Operation.PLACE, None), (Operation.REPLACE, "01A"), (Operation.REPLACE, "01B")], SIZES, Side
    )
]
CLOSES = [
    Asked(operation=operation, target=target, units=units)
    for (operation, target), units in product(
        [
            (Operation.CLOSE_POSITION, "EUR_USD"),
            (Operation.CLOSE_POSITION, "USD_JPY"),
            (Operation.CLOSE_TRADE, "7"),
            (Operation.CLOSE_TRADE, "8"),
        ],
        [None, *SIZES],
    )
]
ASKS = [*ORDERINGS, *CLOSES]


def made(asked: Asked, **changed: Any) -> OrderRecord:
    """The order that an operation made, of a position or trade of 100 units."""
    of_trade = asked.operation is Operation.CLOSE_TRADE
    request = asked.request or closing_request(
        asked,
        Decimal(100),
        account="101",
        instrument="EUR_USD" if of_trade else asked.target,
        client="flow",
        client_order_id="first",
        trade_id=asked.target if of_trade else None,
    )
    order = Order(id="01ORDER", request=request, status=OrderStatus.FILLED, created_at=NOW, updated_at=NOW)
    record = OrderRecord(
        order=order,
        client_id=CLIENT_ID,
        checkpoint=0,
        action=ACTIONS[asked.operation],
        target=asked.target,
        close_units=asked.units,
    )
    return replace(record, **changed)


@given(first=st.sampled_from(ASKS), second=st.sampled_from(ASKS), from_history=st.booleans())
def test_key_belongs_to_one_operation_on_one_target(first: Asked, second: Asked, from_history: bool) -> None:
    # The history keeps the order, and neither the action nor our id at the venue.
    forgotten = {"client_id": "", "action": OrderAction.CREATE, "target": None, "close_units": None}
    record = made(first, **(forgotten if from_history else {}))

    assert is_same(record, second) == (first == second)


@given(first=st.sampled_from(ASKS), second=st.sampled_from(ASKS))
def test_old_journal_tells_operations_apart_by_their_actions(first: Asked, second: Asked) -> None:
    record = made(first)
    bare = replace(record.order.request, operation=None, target=None, closes_all=False)
    record = replace(record, order=replace(record.order, request=bare))

    assert is_same(record, second) == (first == second)


@given(second=st.sampled_from(CLOSES))
def test_order_of_an_old_history_is_no_close(second: Asked) -> None:
    request = make_request(units=Decimal(200))
    order = Order(id="01ORDER", request=request, status=OrderStatus.FILLED, created_at=NOW, updated_at=NOW)

    assert not is_same(OrderRecord(order=order, client_id="", checkpoint=0), second)


@pytest.mark.parametrize(
    ("raw", "operation", "target"),
    [
        ({"type": "LIMIT_ORDER", "price": "1.1"}, Operation.PLACE, None),
        ({"type": "LIMIT_ORDER", "price": "1.1", "replacesOrderID": "5"}, Operation.REPLACE, "venue-5"),
        ({"type": "MARKET_ORDER", "tradeClose": {"tradeID": "7", "units": "ALL"}}, Operation.CLOSE_TRADE, "7"),
        (
            {"type": "MARKET_ORDER", "longPositionCloseout": {"instrument": "EUR_USD", "units": "ALL"}},
            Operation.CLOSE_POSITION,
            "EUR_USD",
        ),
    ],
)
def test_order_that_was_read_back_tells_its_operation(
    raw: dict[str, Any], operation: Operation, target: str | None
) -> None:
    common = {"id": "9", "time": "2026-01-05T12:00:00Z", "instrument": "EUR_USD", "units": "100"}
    found = parse_order({**common, **raw}, "101", "flow")
    order = Order(id="01ORDER", request=found.request, status=OrderStatus.PENDING, created_at=NOW, updated_at=NOW)
    record = OrderRecord(order=order, client_id=CLIENT_ID, checkpoint=0, action=OrderAction.ADOPTED)

    assert made_by(record) == (operation, target)
    same = [item for item in ASKS if is_same(record, item, replaced="5")]
    assert {item.operation for item in same} <= {operation}
    assert len(same) >= 1
    assert not any(is_same(record, item, replaced="6") for item in ASKS if item.operation is Operation.REPLACE)
