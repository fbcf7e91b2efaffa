from __future__ import annotations

import asyncio
from dataclasses import replace as replace_settings
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from broker.domain import Fill, Order, OrderStatus, OrderType, Side, TimeInForce
from broker.orders.errors import DrainingError, NotReadyError, UnknownOrderError
from broker.orders.store.journal import OrderJournalError
from broker.venue.errors import NotAuthorizedError, NotSentError, RateLimitedError
from producer.health import Condition
from tests.unit.broker.api.conftest import Client
from tests.unit.broker.api.fake_order_service import NOW
from tests.unit.broker.secret_volume import KEYS


async def test_market_order_is_201_with_its_fill(api: Client) -> None:
    answer = await api.place()

    assert answer.status == 201
    assert answer.headers["location"] == "/v1/orders/01JGX5TVK2M4N6P8Q0R2S4T001"
    assert answer.json() == {
        "id": "01JGX5TVK2M4N6P8Q0R2S4T001",
        "client_order_id": "auto-1",
        "client": "flow",
        "status": "filled",
        "reason": None,
        "message": None,
        "instrument": "EUR_USD",
        "side": "buy",
        "type": "market",
        "time_in_force": "fok",
        "units": "100",
        "filled_units": "100",
        "average_price": "1.10000",
        "price": None,
        "venue_order_id": "8",
        "fills": [
            {
                "transaction_id": "9",
                "units": "100",
                "price": "1.10000",
                "time": "2026-01-05T10:00:00.250000Z",
                "profit": "-0.0000",
            }
        ],
        "created_at": "2026-01-05T10:00:00.250000Z",
        "updated_at": "2026-01-05T10:00:00.250000Z",
    }


async def test_every_field_reaches_the_desk(api: Client) -> None:
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


async def test_idempotency_key_is_the_client_order_id(api: Client) -> None:
    body = {"instrument": "EUR_USD", "side": "buy", "type": "market", "units": "100"}
    first = await api("POST", "/v1/orders", body=body, headers={"Idempotency-Key": "retry-7"})
    again = await api("POST", "/v1/orders", body=body, headers={"Idempotency-Key": "retry-7"})

    assert first.json()["client_order_id"] == "retry-7"
    assert (again.status, again.content) == (201, first.content)
    assert (first.headers["idempotent-replayed"], again.headers["idempotent-replayed"]) == ("false", "true")
    assert len(api.orders.placed) == 1


async def test_same_id_with_another_body_is_409(api: Client) -> None:
    await api.place(client_order_id="one")
    answer = await api.place(client_order_id="one", units="200")

    assert (answer.status, answer.problem) == (409, "client-order-id-conflict")


async def test_two_different_ids_in_one_request_are_422(api: Client) -> None:
    body = {"instrument": "EUR_USD", "side": "buy", "type": "market", "units": "1", "client_order_id": "a"}
    answer = await api("POST", "/v1/orders", body=body, headers={"Idempotency-Key": "b"})

    assert answer.status == 422
    assert [item["field"] for item in answer.json()["errors"]] == ["client_order_id"]
    assert api.orders.placed == []


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


@pytest.mark.parametrize("status", [OrderStatus.DENIED, OrderStatus.REJECTED])
async def test_refused_order_is_422_with_its_reason_and_the_order(api: Client, status: OrderStatus) -> None:
    api.orders.outcome = lambda order: replace(order, status=status, reason="UNITS", message="too large", fills=())
    answer = await api.place()

    assert (answer.status, answer.problem) == (422, f"order-{status}")
    body = answer.json()
    assert body["reason"] == "UNITS"
    assert "too large" in body["detail"]
    assert (body["order"]["status"], body["order"]["units"]) == (status, "100")
    assert answer.headers["location"] == f"/v1/orders/{body['order']['id']}"


async def test_killed_order_is_201_cancelled(api: Client) -> None:
    api.orders.outcome = lambda order: replace(
        order, status=OrderStatus.CANCELLED, reason="INSUFFICIENT_LIQUIDITY", fills=()
    )
    answer = await api.place()

    assert (answer.status, answer.json()["status"], answer.json()["reason"]) == (
        201,
        "cancelled",
        "INSUFFICIENT_LIQUIDITY",
    )


async def test_lost_answer_is_202(api: Client) -> None:
    api.orders.outcome = lambda order: replace(order, status=OrderStatus.UNKNOWN, reason="ANSWER_LOST", fills=())
    answer = await api.place()

    assert (answer.status, answer.json()["status"], answer.headers["retry-after"]) == (202, "unknown", "1")


@pytest.mark.parametrize(
    ("fault", "status", "problem", "retry_after"),
    [
        (NotReadyError("StreamDown", 2.5), 503, "not-ready", "3"),
        (DrainingError(5.0), 503, "draining", "5"),
        (OrderJournalError("disk"), 503, "not-ready", "5"),
        (NotAuthorizedError("401"), 503, "not-ready", "2"),
        (RateLimitedError("429"), 503, "venue-busy", "1"),
        (NotSentError("no connection"), 502, "venue-unavailable", "1"),
    ],
)
async def test_desk_that_cannot_is_a_problem_with_retry_after(
    api: Client, fault: Exception, status: int, problem: str, retry_after: str
) -> None:
    api.orders.fault = fault
    answer = await api.place()

    assert (answer.status, answer.problem, answer.headers["retry-after"]) == (status, problem, retry_after)


async def test_standby_is_409_and_says_who_trades(api: Client) -> None:
    api.orders.fault = NotReadyError("NotOwner", 2.5)
    words = "the account is traded by broker (process 7, epoch 3)"
    api.account.conditions = lambda: [
        Condition(name="Ownership", ok=False, reason="NotOwner", message=words, since=NOW)
    ]
    answer = await api.place()

    assert (answer.status, answer.problem, answer.headers["retry-after"]) == (409, "not-owner-of-account", "3")
    assert words in answer.json()["detail"]


async def test_order_before_the_first_readiness_is_503_and_not_denied_for_good(api: Client) -> None:
    api.context.ready.clear()
    api.account.conditions = lambda: [
        Condition(name="History", ok=False, reason="DatabaseUnavailable", message="", since=NOW, advisory=True),
        Condition(name="Prices", ok=False, reason="StreamDown", message="", since=NOW),
    ]
    early = await api.place(client_order_id="early")
    assert (early.status, early.problem, early.json()["reason"]) == (503, "not-ready", "StreamDown")
    assert (await api("POST", "/v1/positions/EUR_USD/close")).status == 201

    api.context.ready.set()
    assert (await api.place(client_order_id="early")).status == 201


async def test_draining_refuses_orders_and_still_cancels(api: Client) -> None:
    resting = (await api.place(type="limit", price="1.0")).json()
    api.context.drain.set()

    refused = await api.place()
    assert (refused.status, refused.problem, refused.headers["retry-after"]) == (503, "draining", "5")
    replaced = await api("PUT", f"/v1/orders/{resting['id']}", body={"instrument": "EUR_USD"})
    assert replaced.status == 503
    cancelled = await api("DELETE", f"/v1/orders/{resting['id']}")
    assert (cancelled.status, cancelled.json()["status"]) == (200, "cancelled")
    assert (await api("GET", f"/v1/orders/{resting['id']}")).status == 200


async def test_fault_of_our_own_is_500_without_its_text(api: Client) -> None:
    api.orders.fault = RuntimeError("password=hunter2")
    answer = await api.place()

    assert (answer.status, answer.problem) == (500, "internal")
    assert b"hunter2" not in answer.content


@pytest.mark.parametrize("name", ["Ownership", "Venue"])
async def test_unknown_order_is_not_denied_while_the_account_is_being_taken(api: Client, name: str) -> None:
    api.account.conditions = lambda: [Condition(name=name, ok=False, reason="Starting", message="", since=NOW)]
    for method in ("GET", "DELETE"):
        answer = await api(method, "/v1/orders/01JGX5TVK2M4N6P8Q0R2S4T999")
        assert (answer.status, answer.problem) == (503, "not-ready")


async def test_deadline_of_the_broker_that_passes_the_request_on_holds(api: Client) -> None:
    async def long() -> None:
        await asyncio.sleep(0.1)

    api.orders.before = long
    body = {"instrument": "EUR_USD", "side": "buy", "type": "market", "units": "100"}
    answer = await api("POST", "/v1/orders", body=body, headers={"Broker-Deadline-Ms": "10"})
    assert (answer.status, answer.problem) == (504, "deadline")


@pytest.mark.parametrize("text", ["", "soon", "-1", "1.5", "9" * 5000, "\u0661"])
async def test_deadline_that_is_none_is_ours(api: Client, text: str) -> None:
    body = {"instrument": "EUR_USD", "side": "buy", "type": "market", "units": "100"}
    headers = {"Broker-Deadline-Ms": text.encode().decode("latin-1")}
    assert (await api("POST", "/v1/orders", body=body, headers=headers)).status == 201


async def test_deadline_is_504_and_the_order_goes_on(api: Client) -> None:
    release = asyncio.Event()
    api.orders.before = lambda: _until(release)
    api.context.settings = replace_settings(api.context.settings, deadline_s=0.01)
    answer = await api.place(client_order_id="slow")
    assert (answer.status, answer.problem) == (504, "deadline")
    assert len(api.context.in_flight) == 1

    release.set()
    assert await api.context.in_flight.wait_idle(5)
    assert [request.client_order_id for request in api.orders.placed] == ["slow"]


async def _until(event: asyncio.Event) -> None:
    await event.wait()


async def test_open_orders_are_listed_with_filters(api: Client) -> None:
    await api.place(type="limit", price="1.0", client_order_id="a")
    await api.place(type="limit", price="100", instrument="USD_JPY", client_order_id="b")
    await api.place(client_order_id="filled")

    async def ids(query: str) -> list[str]:
        return [item["client_order_id"] for item in (await api("GET", f"/v1/orders{query}")).json()["orders"]]

    assert await ids("") == ["a", "b"]
    assert await ids("?instrument=USD_JPY") == ["b"]
    assert await ids("?client=other") == []
    assert await ids("?client_order_id=filled") == ["filled"]
    assert await ids("?client_order_id=never") == []


async def test_unknown_order_is_404(api: Client) -> None:
    for method in ("GET", "DELETE"):
        answer = await api(method, "/v1/orders/01JGX5TVK2M4N6P8Q0R2S4T999")
        assert (answer.status, answer.problem) == (404, "unknown-order")


async def test_cancelling_a_filled_order_is_409_with_the_order(api: Client) -> None:
    order = (await api.place()).json()
    answer = await api("DELETE", f"/v1/orders/{order['id']}")

    assert (answer.status, answer.problem) == (409, "not-cancelled")
    assert answer.json()["order"]["status"] == "filled"


async def test_cancelling_twice_is_200_twice(api: Client) -> None:
    order = (await api.place(type="limit", price="1.0")).json()
    answers = [await api("DELETE", f"/v1/orders/{order['id']}") for _ in range(2)]

    assert [answer.status for answer in answers] == [200, 200]


async def test_order_that_rests_no_more_cannot_be_replaced(api: Client) -> None:
    order = (await api.place()).json()
    api.orders.fault = UnknownOrderError("it does not rest")
    body = {"instrument": "EUR_USD", "side": "buy", "type": "limit", "units": "1", "price": "1.0"}
    answer = await api("PUT", f"/v1/orders/{order['id']}", body=body)

    assert (answer.status, answer.problem) == (404, "unknown-order")


async def test_replacement_is_the_new_order(api: Client) -> None:
    order = (await api.place(type="limit", price="1.0")).json()
    body = {"instrument": "EUR_USD", "side": "buy", "type": "limit", "units": "50", "price": "1.05"}
    answer = await api("PUT", f"/v1/orders/{order['id']}", body=body)

    assert (answer.status, answer.json()["units"]) == (201, "50")
    assert [item for item, _ in api.orders.replaced] == [order["id"]]


async def test_only_its_owner_or_an_admin_changes_an_order(api: Client) -> None:
    order = (await api("POST", "/v1/orders", key=KEYS["boss"], body=_limit())).json()

    answer = await api("DELETE", f"/v1/orders/{order['id']}")
    assert (answer.status, answer.problem) == (403, "not-owner")
    replaced = await api("PUT", f"/v1/orders/{order['id']}", body=_limit())
    assert replaced.status == 403
    mine = (await api("POST", "/v1/orders", body=_limit())).json()
    assert (await api("DELETE", f"/v1/orders/{mine['id']}", key=KEYS["boss"])).status == 200


def _limit() -> dict[str, str]:
    return {"instrument": "EUR_USD", "side": "buy", "type": "limit", "units": "50", "price": "1.05"}


async def test_position_is_closed_in_part_or_whole(api: Client) -> None:
    part = await api("POST", "/v1/positions/EUR_USD/close", body={"side": "buy", "units": "40"})
    whole = await api("POST", "/v1/positions/EUR_USD/close")

    assert (part.status, whole.status) == (201, 201)
    assert api.orders.closed == [("EUR_USD", Side.BUY, Decimal(40)), ("EUR_USD", None, None)]
    missing = await api("POST", "/v1/positions/USD_JPY/close")
    assert (missing.status, missing.problem) == (404, "unknown-position")


async def test_closing_again_with_the_same_key_closes_once(api: Client) -> None:
    answers = [
        await api("POST", "/v1/positions/EUR_USD/close", headers={"Idempotency-Key": "close-1"}) for _ in range(2)
    ]

    assert answers[0].content == answers[1].content
    assert len(api.orders.placed) == 1


async def test_trade_is_closed(api: Client) -> None:
    answer = await api("POST", "/v1/trades/17/close", body={"units": "10"})

    assert answer.status == 201
    assert api.orders.closed == [("17", Decimal(10))]


async def test_average_price_is_weighted_over_the_fills(api: Client) -> None:
    def partly(order: Order) -> Order:
        fill = order.fills[0]
        fills: tuple[Fill, ...] = (
            replace(fill, units=Decimal(30), price=Decimal("1.10000")),
            replace(fill, units=Decimal(10), price=Decimal("1.20000")),
        )
        return replace(order, fills=fills)

    api.orders.outcome = partly
    body = (await api.place()).json()

    assert (body["filled_units"], body["average_price"]) == ("40", "1.125")
