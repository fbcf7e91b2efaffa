from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.domain import OrderRequest, OrderType, PositionFill, Protection, Side, TimeInForce, TriggerCondition
from broker.venue.v20 import order_requests as order_call
from tests import v20_schema
from tests.unit.broker.orders.samples import make_request


def created_order(request: OrderRequest, client_id: str) -> dict[str, Any]:
    body = order_call.create(request, client_id).body
    assert body is not None
    found: dict[str, Any] = body["order"]
    return found


def test_market_order_is_texts_and_fok() -> None:
    call = order_call.create(make_request(side=Side.SELL, price_bound=Decimal("1.09000"), tag="t"), "bk.a.1.X")
    assert (call.method, call.path) == ("POST", "/orders")
    assert call.body == {
        "order": {
            "type": "MARKET",
            "timeInForce": "FOK",
            "clientExtensions": {"id": "bk.a.1.X", "tag": "t"},
            "instrument": "EUR_USD",
            "units": "-100",
            "positionFill": "DEFAULT",
            "priceBound": "1.09000",
        }
    }


def test_limit_order_carries_price_expiry_and_protection() -> None:
    request = make_request(
        type=OrderType.LIMIT,
        price=Decimal("1.10000"),
        time_in_force=TimeInForce.GTD,
        expires_at=datetime(2026, 1, 6, 8, 0, 0, 5, tzinfo=UTC),
        position_fill=PositionFill.REDUCE_FIRST,
        take_profit=Protection(price=Decimal("1.11")),
        stop_loss=Protection(distance=Decimal("0.00500"), guaranteed=True),
        trailing_stop=Protection(distance=Decimal("0.01")),
    )
    order = created_order(request, "id")
    assert order == {
        "type": "LIMIT",
        "timeInForce": "GTD",
        "clientExtensions": {"id": "id"},
        "instrument": "EUR_USD",
        "units": "100",
        "positionFill": "REDUCE_FIRST",
        "takeProfitOnFill": {"price": "1.11"},
        "guaranteedStopLossOnFill": {"distance": "0.00500"},
        "trailingStopLossOnFill": {"distance": "0.01"},
        "price": "1.10000",
        "gtdTime": "2026-01-06T08:00:00.000005000Z",
    }


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"type": OrderType.TAKE_PROFIT, "price": Decimal("1.2")}, {"type": "TAKE_PROFIT", "price": "1.2"}),
        ({"type": OrderType.STOP_LOSS, "distance": Decimal("0.1")}, {"type": "STOP_LOSS", "distance": "0.1"}),
        ({"type": OrderType.GUARANTEED_STOP_LOSS, "price": Decimal(1)}, {"type": "GUARANTEED_STOP_LOSS", "price": "1"}),
        (
            {"type": OrderType.TRAILING_STOP_LOSS, "distance": Decimal("0.1")},
            {"type": "TRAILING_STOP_LOSS", "distance": "0.1"},
        ),
    ],
)
def test_dependent_orders_name_their_trade_and_no_units(fields: dict[str, object], expected: dict[str, str]) -> None:
    order = created_order(make_request(trade_id="7", **fields), "id")
    assert order == {"timeInForce": "GTC", "clientExtensions": {"id": "id"}, "tradeID": "7"} | expected


def test_order_of_a_trade_names_its_time_in_force_so_that_it_inherits_none() -> None:
    call = order_call.change_trade_order(
        make_request(type=OrderType.STOP_LOSS, trade_id="7", price=Decimal("1.06"), time_in_force=TimeInForce.GTC), "id"
    )
    assert call.body == {"stopLoss": {"timeInForce": "GTC", "price": "1.06", "clientExtensions": {"id": "id"}}}


def test_numbers_have_no_exponent() -> None:
    assert order_call.number(Decimal("1E+6")) == "1000000"
    assert order_call.number(Decimal("0.0000001")) == "0.0000001"


def test_ids_in_paths_are_encoded() -> None:
    assert order_call.cancel("@a/b").path == "/orders/%40a%2Fb/cancel"


def test_close_asks_all_only_of_the_side_that_exists() -> None:
    call = order_call.close_position("EUR_USD", "id", long=False, units=None)
    assert call.body == {"shortUnits": "ALL", "shortClientExtensions": {"id": "id"}, "longUnits": "NONE"}
    assert order_call.close_trade("7", Decimal(10)).body == {"units": "10"}


SENT_AS = {
    "price_bound": "priceBound",
    "time_in_force": "timeInForce",
    "expires_at": "gtdTime",
    "position_fill": "positionFill",
    "trigger_condition": "triggerCondition",
    "trade_id": "tradeID",
    "take_profit": "takeProfitOnFill",
    "stop_loss": "stopLossOnFill",
    "trailing_stop": "trailingStopLossOnFill",
}


@pytest.mark.parametrize("kind", OrderType)
def test_fields_of_each_type_are_those_of_the_venues_description(kind: OrderType) -> None:
    # The description of 2018 has no guaranteed stop: it has the fields of a stop-loss.
    described = v20_schema.request_fields(kind.name.removeprefix("GUARANTEED_"))
    ours = order_call.FIELDS[kind]
    sent = {SENT_AS.get(name, name) for name in ours - {"side", "tag", "comment"}}
    assert sent == described - {"type", "clientExtensions", "tradeClientExtensions", "clientTradeID", "guaranteed"}


@pytest.mark.parametrize(
    ("leg", "definition", "later"),
    [
        ("take_profit", "TakeProfitDetails", {"distance"}),
        ("stop_loss", "StopLossDetails", set()),
        ("trailing_stop", "TrailingStopLossDetails", set()),
    ],
)
def test_fields_of_attached_orders_are_those_of_the_venues_description(
    leg: str, definition: str, later: set[str]
) -> None:
    sent = {SENT_AS.get(name, name) for name in order_call.LEG_FIELDS[leg] - {"tag", "comment"}}
    assert sent - later == v20_schema.fields(definition) - {"clientExtensions"}


def test_every_field_of_every_type_is_sent() -> None:
    values = {
        "price": Decimal("1.1"),
        "price_bound": Decimal("1.2"),
        "distance": Decimal("0.1"),
        "time_in_force": TimeInForce.GTD,
        "expires_at": datetime(2026, 1, 6, tzinfo=UTC),
        "position_fill": PositionFill.OPEN_ONLY,
        "trigger_condition": TriggerCondition.INVERSE,
        "trade_id": "7",
        "take_profit": Protection(price=Decimal(1)),
        "stop_loss": Protection(price=Decimal(1)),
        "trailing_stop": Protection(distance=Decimal(1)),
    }
    for kind, fields in order_call.FIELDS.items():
        plain = set(fields) - {"side", "tag", "comment"}
        order = created_order(make_request(type=kind, **values), "id")
        sent = set(order) - {"type", "clientExtensions", "gtdTime"}
        assert sent == {SENT_AS.get(name, name) for name in plain - {"expires_at"}}, kind


def test_attached_order_carries_its_time_in_force_and_its_texts() -> None:
    leg = Protection(
        distance=Decimal("0.01"),
        time_in_force=TimeInForce.GTD,
        expires_at=datetime(2026, 1, 6, tzinfo=UTC),
        tag="t",
        comment="c",
    )
    assert created_order(make_request(trailing_stop=leg), "id")["trailingStopLossOnFill"] == {
        "distance": "0.01",
        "timeInForce": "GTD",
        "gtdTime": "2026-01-06T00:00:00.000000000Z",
        "clientExtensions": {"tag": "t", "comment": "c"},
    }


PRICES = st.decimals("0.5", "2", places=5)
PROTECTIONS = st.none() | st.builds(Protection, price=PRICES) | st.builds(Protection, distance=PRICES)


@given(
    kind=st.sampled_from(OrderType),
    side=st.sampled_from(Side),
    units=st.integers(1, 10**8).map(Decimal),
    price=PRICES,
    time_in_force=st.sampled_from([TimeInForce.GTC, TimeInForce.GTD]),
    position_fill=st.sampled_from(PositionFill),
    take_profit=st.none() | st.builds(Protection, price=PRICES),
    stop_loss=PROTECTIONS,
)
def test_every_order_is_one_of_the_venues_description(
    kind: OrderType, side: Side, units: Decimal, price: Decimal, time_in_force: TimeInForce, **fields: Any
) -> None:
    dependent = kind in order_call.DEPENDENT
    request = make_request(
        type=kind,
        side=side,
        units=units,
        price=None if kind is OrderType.TRAILING_STOP_LOSS else price,
        distance=price if kind is OrderType.TRAILING_STOP_LOSS else None,
        time_in_force=TimeInForce.FOK if kind is OrderType.MARKET else time_in_force,
        expires_at=datetime(2026, 1, 6, tzinfo=UTC),
        trade_id="7" if dependent else None,
        tag="t",
        comment="c",
        **fields,
    )
    order = created_order(request, "bk.a.1.X.y")
    described = order["type"].removeprefix("GUARANTEED_")  # the description is older than these: as a stop-loss
    assert v20_schema.request_faults(described, order | {"type": described}) == []
