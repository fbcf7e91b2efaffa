from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from broker.domain import OrderRequest, OrderType, Protection, Side
from broker.orders.trades import Trades
from tests.unit.broker.api.conftest import ACCOUNT, Client
from tests.unit.broker.api.fake_order_service import FakeTrades, make_order
from tests.unit.broker.secret_volume import KEYS


def fake(trades: Trades) -> FakeTrades:
    assert isinstance(trades, FakeTrades)
    return trades


async def test_trade_shows_its_orders_and_its_opener(api: Client) -> None:
    trade = (await api("GET", "/v1/trades/7")).json()

    assert (trade["id"], trade["state"], trade["units"], trade["initial_units"]) == ("7", "open", "-100", "-300")
    assert (trade["client"], trade["order_id"], trade["opened_at"]) == (
        "flow",
        "01ORDER",
        "2026-01-05T10:00:00.250000Z",
    )
    assert trade["take_profit"] == {
        "venue_order_id": "8",
        "order_id": "venue-8",
        "price": "1.20000",
        "distance": None,
        "time_in_force": "gtc",
        "expires_at": None,
        "trigger_condition": "default",
        "tag": None,
        "comment": None,
    }
    assert trade["stop_loss"] is None


async def test_trades_are_listed_by_instrument_and_client(api: Client) -> None:
    counts = [
        len((await api("GET", f"/v1/trades?{query}")).json()["trades"])
        for query in ("", "instrument=EUR_USD", "instrument=USD_JPY", "client=flow", "client=other")
    ]

    assert counts == [1, 1, 0, 1, 0]


async def test_unknown_trade_is_404(api: Client) -> None:
    answer = await api("GET", "/v1/trades/99")

    assert (answer.status, answer.problem) == (404, "unknown-position")


async def test_change_of_orders_tells_null_from_absent(api: Client) -> None:
    body = {"stop_loss": {"distance": "0.01", "tag": "t"}, "take_profit": None}
    answer = await api("PUT", "/v1/trades/7/orders", body=body, headers={"Idempotency-Key": "move"})

    (change,) = fake(api.orders.trades).changes
    assert (change.trade_id, change.client, change.key) == ("7", "flow", "move")
    assert change.legs == {"stop_loss": Protection(distance=Decimal("0.01"), tag="t"), "take_profit": None}
    assert answer.status == 200
    assert [item["subject"] for item in answer.json()["results"]] == ["stop_loss", "take_profit"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "body"),
        ({"trailing_stop": {"price": "1"}}, "trailing_stop.price"),
        ({"stop_loss": {"price": "1", "guaranteed": True}}, "stop_loss.guaranteed"),
        ({"take_profit": {"price": "1", "distance": "1"}}, "take_profit"),
        ({"target": {"price": "1"}}, "target"),
    ],
)
async def test_change_that_fits_no_order_is_422_with_the_field(api: Client, body: dict[str, Any], field: str) -> None:
    answer = await api("PUT", "/v1/trades/7/orders", body=body)

    assert (answer.status, [item["field"] for item in answer.json()["errors"]]) == (422, [field])
    assert fake(api.orders.trades).changes == []


async def test_reader_changes_no_trade(api: Client) -> None:
    body = {"take_profit": None}
    assert (await api("PUT", "/v1/trades/7/orders", body=body, key=KEYS["auditor"])).status == 403
    assert (await api("PUT", "/v1/trades/7/orders", body=body, key=KEYS["boss"])).status == 200


async def test_extensions_of_a_trade_keep_its_id_and_what_is_absent(api: Client) -> None:
    answer = await api("PUT", "/v1/trades/7/extensions", body={"tag": None})

    assert answer.status == 200
    assert fake(api.orders.trades).extensions == [("trade", "7", "theirs", {"tag": "", "comment": "kept"})]


async def test_extensions_of_an_order_are_changed_by_its_owner(api: Client) -> None:
    request = OrderRequest(
        client_order_id="mine",
        client="boss",
        account=ACCOUNT,
        instrument="EUR_USD",
        type=OrderType.LIMIT,
        side=Side.BUY,
        units=Decimal(1),
        comment="kept",
    )
    order = make_order(request)
    api.orders.orders[order.id] = order
    path = f"/v1/orders/{order.id}/extensions"
    refused = await api("PUT", path, body={"tag": "new"})
    changed = await api("PUT", path, body={"tag": "new"}, key=KEYS["boss"])

    assert (refused.status, changed.status) == (403, 200)
    now = api.orders.orders[order.id].request
    assert (now.tag, now.comment) == ("new", "kept")
