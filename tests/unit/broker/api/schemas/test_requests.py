from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from broker.domain import OrderType, Side, TimeInForce
from tests.unit.broker.api.conftest import Client


async def test_every_field_reaches_the_order_service(api: Client) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    body = {
        "client_order_id": "mine-1",
        "instrument": "EUR_USD",
        "side": "sell",
        "type": "limit",
        "units": "1000.5",
        "price": "1.09500",
        "price_bound": "1.09",
        "time_in_force": "gtd",
        "expires_at": "2026-01-06T10:00:00+01:00",
        "position_fill": "reduce_first",
        "take_profit": {"price": "1.08"},
        "stop_loss": {"distance": "0.01", "guaranteed": True},
        "tag": "basket",
        "comment": "rebalance",
    }
    await api("POST", "/v1/orders", body=body, headers={"traceparent": trace})

    (request,) = api.orders.placed
    assert (request.client, request.client_order_id, request.account) == ("flow", "mine-1", "101-004-1234567-001")
    assert (request.type, request.side, request.time_in_force) == (OrderType.LIMIT, Side.SELL, TimeInForce.GTD)
    assert (request.units, request.price, request.price_bound) == (
        Decimal("1000.5"),
        Decimal("1.09500"),
        Decimal("1.09"),
    )
    assert request.expires_at == datetime(2026, 1, 6, 9, tzinfo=UTC)
    assert request.take_profit is not None
    assert request.take_profit.price == Decimal("1.08")
    assert request.stop_loss is not None
    assert (request.stop_loss.distance, request.stop_loss.guaranteed) == (Decimal("0.01"), True)
    assert (request.tag, request.comment, request.traceparent) == ("basket", "rebalance", trace)


@pytest.mark.parametrize(
    ("changed", "field", "words"),
    [
        ({"units": "0"}, "units", "greater than 0"),
        ({"units": "-5"}, "units", "greater than 0"),
        ({"units": "NaN"}, "units", "finite number"),
        ({"units": "1e400"}, "units", "digits"),
        ({"units": "many"}, "units", "valid decimal"),
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
        ({"type": "stop", "price": "1", "time_in_force": "fok"}, "time_in_force", "of a stop order"),
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
        ({"take_profit": {"price": "x"}}, "take_profit.price", "valid decimal"),
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


async def test_every_wrong_field_is_named_at_once(api: Client) -> None:
    answer = await api("POST", "/v1/orders", body={"units": "-1", "side": "up"})

    fields = {item["field"] for item in answer.json()["errors"]}
    assert fields == {"instrument", "side", "type", "units"}
