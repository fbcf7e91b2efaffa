from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from broker.domain import OrderType, Protection, Side, TimeInForce, TriggerCondition
from tests.unit.broker.api.conftest import Client


async def test_every_field_reaches_the_order_service(api: Client) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    body = {
        "client_order_id": "mine-1",
        "instrument": "EUR_USD",
        "side": "sell",
        "type": "stop",
        "units": "1000.5",
        "price": "1.09500",
        "price_bound": "1.09",
        "time_in_force": "gtd",
        "expires_at": "2026-01-06T10:00:00+01:00",
        "position_fill": "reduce_first",
        "trigger_condition": "mid",
        "take_profit": {
            "price": "1.08",
            "time_in_force": "gtd",
            "expires_at": "2026-01-07T10:00:00Z",
            "tag": "target",
            "comment": "first",
        },
        "stop_loss": {"distance": "0.01", "guaranteed": True},
        "tag": "basket",
        "comment": "rebalance",
    }
    await api("POST", "/v1/orders", body=body, headers={"traceparent": trace})

    (request,) = api.orders.placed
    assert (request.client, request.client_order_id, request.account) == ("flow", "mine-1", "101-004-1234567-001")
    assert (request.type, request.side, request.time_in_force) == (OrderType.STOP, Side.SELL, TimeInForce.GTD)
    assert (request.units, request.price, request.price_bound) == (
        Decimal("1000.5"),
        Decimal("1.09500"),
        Decimal("1.09"),
    )
    assert request.expires_at == datetime(2026, 1, 6, 9, tzinfo=UTC)
    assert request.trigger_condition is TriggerCondition.MID
    assert request.take_profit == Protection(
        price=Decimal("1.08"),
        time_in_force=TimeInForce.GTD,
        expires_at=datetime(2026, 1, 7, 10, tzinfo=UTC),
        tag="target",
        comment="first",
    )
    assert request.stop_loss is not None
    assert (request.stop_loss.distance, request.stop_loss.guaranteed) == (Decimal("0.01"), True)
    assert (request.tag, request.comment, request.traceparent) == ("basket", "rebalance", trace)


STOP = {"type": "stop_loss", "trade_id": "7", "price": "1"}


@pytest.mark.parametrize(
    ("changed", "field", "words"),
    [
        ({"units": "0"}, "units", "greater than 0"),
        ({"units": "-5"}, "units", "greater than 0"),
        ({"units": "NaN"}, "units", "digits"),
        ({"units": "Infinity"}, "units", "digits"),
        ({"units": "1E+3"}, "units", "digits"),
        ({"units": "+5"}, "units", "digits"),
        ({"units": "1_000"}, "units", "digits"),
        ({"units": " 5"}, "units", "digits"),
        ({"units": "\uff11\uff10"}, "units", "digits"),  # full-width
        ({"units": "1.2.3"}, "units", "digits"),
        ({"units": "1e400"}, "units", "digits"),
        ({"units": "many"}, "units", "digits"),
        ({"units": True}, "units", "Decimal input"),
        ({"side": "BUY"}, "side", "'buy' or 'sell'"),
        ({"type": "iceberg"}, "type", "'market'"),
        ({"instrument": "EURUSD"}, "instrument", "pattern"),
        ({"client_order_id": "a b"}, "client_order_id", "pattern"),
        ({"client_order_id": "x" * 65}, "client_order_id", "pattern"),
        ({"unitz": "1"}, "unitz", "not permitted"),
        ({"comment": "a\x00b"}, "comment", "pattern"),
        ({"type": "limit"}, "price", "is required for a limit order"),
        ({"price": "1.1"}, "price", "must be absent for a market order"),
        ({"time_in_force": "gtc"}, "time_in_force", "of a market order is fok or ioc"),
        ({"type": "market_if_touched", "price": "1", "time_in_force": "fok"}, "time_in_force", "gtc or gtd or gfd"),
        ({"type": "limit", "price": "1", "price_bound": "1"}, "price_bound", "must be absent for a limit order"),
        ({"trigger_condition": "mid"}, "trigger_condition", "must be absent for a market order"),
        ({**STOP, "take_profit": {"price": "2"}}, "take_profit", "must be absent for a stop_loss order"),
        ({**STOP, "trailing_stop": {"distance": "2"}}, "trailing_stop", "must be absent for a stop_loss order"),
        ({**STOP, "price_bound": "1"}, "price_bound", "must be absent for a stop_loss order"),
        ({**STOP, "position_fill": "open_only"}, "position_fill", "must be absent for a stop_loss order"),
        ({"take_profit": {"price": "1", "guaranteed": True}}, "take_profit.guaranteed", "must be absent"),
        ({"trailing_stop": {"distance": "1", "guaranteed": True}}, "trailing_stop.guaranteed", "must be absent"),
        ({"trailing_stop": {"price": "1"}}, "trailing_stop.price", "must be absent of a trailing_stop"),
        ({"stop_loss": {"price": "1", "time_in_force": "fok"}}, "stop_loss.time_in_force", "'gtc'"),
        ({"stop_loss": {"price": "1", "time_in_force": "gtd"}}, "stop_loss", "need each other"),
        ({"type": "limit", "price": "1", "time_in_force": "gtd"}, "expires_at", "gtd"),
        ({"expires_at": "2026-01-06T10:00:00Z"}, "expires_at", "gtd"),
        ({"expires_at": "2026-01-06T10:00:00"}, "expires_at", "timezone"),
        ({"expires_at": "0001-01-01T00:52:01+03:02"}, "expires_at", "years 1 to 9999"),
        ({"expires_at": "9999-12-31T23:52:01-03:02"}, "expires_at", "years 1 to 9999"),
        ({"trade_id": "7"}, "trade_id", "must be absent"),
        ({"type": "stop_loss", "price": "1"}, "trade_id", "is required for a stop_loss order"),
        ({"type": "trailing_stop_loss", "trade_id": "7"}, "distance", "is required"),
        ({"type": "stop_loss", "trade_id": "7", "price": "1", "distance": "1"}, "distance", "only one of them"),
        ({"take_profit": {}}, "take_profit", "price or distance"),
        ({"take_profit": {"price": "1", "distance": "1"}}, "take_profit", "only one of them"),
        ({"take_profit": {"price": "x"}}, "take_profit.price", "digits"),
    ],
)
async def test_malformed_order_is_422_naming_the_field(
    api: Client, changed: dict[str, Any], field: str, words: str
) -> None:
    answer = await api.place(**changed)

    assert (answer.status, answer.problem) == (422, "invalid-request")
    messages = {item["field"]: item["message"] for item in answer.json()["errors"]}
    assert field in messages
    assert words in messages[field]
    assert api.orders.placed == []


async def test_fields_that_say_nothing_are_taken(api: Client) -> None:
    nothing = {"price_bound": None, "position_fill": "default", "take_profit": None, "expires_at": None}
    answer = await api.place(**STOP, **nothing, trailing_stop=None, trigger_condition="default")

    assert answer.status == 201


@pytest.mark.parametrize("units", [100, 100.0, "100", "100.", "0100"])
async def test_numbers_are_json_numbers_or_digits(api: Client, units: object) -> None:
    assert (await api.place(units=units)).status == 201
    assert api.orders.placed[0].units == 100


async def test_order_of_a_trade_needs_neither_instrument_nor_side_nor_units(api: Client) -> None:
    answer = await api("POST", "/v1/orders", body=STOP)

    assert answer.status == 201
    (request,) = api.orders.placed
    assert (request.instrument, request.side, request.units) == ("EUR_USD", Side.BUY, Decimal(100))


@pytest.mark.parametrize(
    ("field", "value", "right"), [("instrument", "USD_JPY", "EUR_USD"), ("side", "sell", "buy"), ("units", "7", "100")]
)
async def test_order_of_a_trade_that_differs_from_it_is_422(api: Client, field: str, value: str, right: str) -> None:
    answer = await api("POST", "/v1/orders", body={**STOP, field: value})

    (error,) = answer.json()["errors"]
    assert (answer.status, error["field"]) == (422, field)
    assert right in error["message"]


async def test_every_wrong_field_is_named_at_once(api: Client) -> None:
    answer = await api("POST", "/v1/orders", body={"units": "-1", "side": "up"})

    fields = {item["field"] for item in answer.json()["errors"]}
    assert fields == {"instrument", "side", "type", "units"}
