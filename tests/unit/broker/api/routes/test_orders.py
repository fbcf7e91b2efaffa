from __future__ import annotations

from decimal import Decimal

import pytest
from msgspec.structs import replace

from broker.api.schemas.responses import TYPE_PREFIX
from broker.domain import Fill, Order, OrderStatus, Side, TradeEffect, TradePart
from broker.events.orders import OrderStage
from broker.orders.checks.risk import Denial
from broker.orders.errors import UnknownOrderError
from broker.orders.store.trade_book import EXTERNAL, OpenTrade, TradeOwner
from broker.venue.errors import NotSentError
from producer.health import Condition
from tests.unit.broker.api.conftest import Client
from tests.unit.broker.api.fake_order_service import NOW
from tests.unit.broker.secret_volume import KEYS


async def test_the_stage_before_the_order_service_is_timed_where_an_order_is_valid(api: Client) -> None:
    await api.place()
    await api.place(units="-1")

    stages = [event for event in api.events if isinstance(event, OrderStage)]
    assert [event.stage for event in stages] == ["validate"]
    assert 0 < stages[0].duration_s < 60


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
        "expires_at": None,
        "units": "100",
        "filled_units": "100",
        "remaining_units": "0",
        "average_price": "1.10000",
        "price": None,
        "price_bound": None,
        "distance": None,
        "position_fill": "default",
        "trigger_condition": "default",
        "trade_id": None,
        "take_profit": None,
        "stop_loss": None,
        "trailing_stop": None,
        "tag": None,
        "comment": None,
        "venue_order_id": "8",
        "fills": [
            {
                "transaction_id": "9",
                "instrument": "EUR_USD",
                "side": "buy",
                "units": "100",
                "price": "1.10000",
                "time": "2026-01-05T10:00:00.250000Z",
                "profit": "-0.0000",
                "commission": "0",
                "financing": "0",
                "guaranteed_fee": "0",
                "half_spread_cost": "0",
                "trades": [],
            }
        ],
        "created_at": "2026-01-05T10:00:00.250000Z",
        "updated_at": "2026-01-05T10:00:00.250000Z",
    }


async def test_all_that_was_asked_is_read_back(api: Client) -> None:
    asked = {
        "type": "limit",
        "price": "1.09",
        "time_in_force": "gtd",
        "expires_at": "2026-01-06T10:00:00Z",
        "position_fill": "reduce_first",
        "take_profit": {"price": "1.12"},
        "trailing_stop": {"distance": "0.0050"},
        "tag": "momentum",
        "comment": "first",
    }
    shown = (await api.place(**asked)).json()

    attached = {"guaranteed": False, "time_in_force": "gtc", "expires_at": None, "tag": None, "comment": None}
    assert {name: shown[name] for name in asked} == {
        **asked,
        "take_profit": {"price": "1.12", "distance": None, **attached},
        "trailing_stop": {"price": None, "distance": "0.0050", **attached},
    }
    assert (shown["stop_loss"], shown["trade_id"], shown["remaining_units"]) == (None, None, "100")


async def test_fill_names_its_trades_and_its_costs(api: Client) -> None:
    fill = Fill(
        transaction_id="9",
        units=Decimal(150),
        price=Decimal("1.10000"),
        time=NOW,
        time_ns=1767607200123456789,
        instrument="EUR_USD",
        side=Side.SELL,
        commission=Decimal("0.15"),
        financing=Decimal("-0.01"),
        guaranteed_fee=Decimal("0.02"),
        trades=(
            TradePart(trade_id="9", effect=TradeEffect.OPENED, units=Decimal(50)),
            TradePart(trade_id="4", effect=TradeEffect.CLOSED, units=Decimal(100), profit=Decimal("-1.5")),
        ),
    )
    api.orders.outcome = lambda order: replace(order, fills=(fill,))
    (shown,) = (await api.place(units="150")).json()["fills"]

    assert (shown["instrument"], shown["side"], shown["time"]) == ("EUR_USD", "sell", "2026-01-05T10:00:00.123456789Z")
    assert (shown["commission"], shown["financing"], shown["guaranteed_fee"]) == ("0.15", "-0.01", "0.02")
    assert shown["trades"] == [
        {"trade_id": "9", "effect": "opened", "units": "50", "profit": "0"},
        {"trade_id": "4", "effect": "closed", "units": "100", "profit": "-1.5"},
    ]


async def test_caller_and_the_client_that_it_lists_are_given_what_is_theirs(api: Client) -> None:
    await api("GET", "/v1/orders?client=other")
    assert api.orders.claims == ["flow", "other"]


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


async def test_cancel_of_an_order_that_has_traded_in_part_is_200(api: Client) -> None:
    resting = (await api.place(type="limit", price="1.0")).json()
    held = api.orders.orders[resting["id"]]
    api.orders.orders[held.id] = replace(held, status=OrderStatus.PARTIALLY_FILLED, reason="CLIENT_REQUEST")
    answer = await api("DELETE", f"/v1/orders/{held.id}")

    assert (answer.status, answer.json()["status"]) == (200, "partially_filled")


async def test_lost_answer_is_202(api: Client) -> None:
    api.orders.outcome = lambda order: replace(order, status=OrderStatus.UNKNOWN, reason="ANSWER_LOST", fills=())
    answer = await api.place()

    assert (answer.status, answer.json()["status"], answer.headers["retry-after"]) == (202, "unknown", "1")


async def test_order_before_the_first_readiness_is_503_and_not_denied_for_good(api: Client) -> None:
    api.context.ready.clear()
    api.account.conditions = lambda: [
        Condition(name="History", ok=False, reason="DatabaseUnavailable", message="", since=NOW, advisory=True),
        Condition(name="Prices", ok=False, reason="StreamDown", message="", since=NOW),
    ]
    early = await api.place(client_order_id="early")
    assert (early.status, early.problem, early.json()["reason"]) == (503, "not-ready", "StreamDown")
    assert (await api("POST", "/v1/positions/EUR_USD/close")).status == 201
    exit_ = {"type": "stop_loss", "trade_id": "7", "price": "1.09"}
    assert (await api.place(client_order_id="exit", **exit_)).status == 201

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


@pytest.mark.parametrize("name", ["Ownership", "Venue"])
async def test_unknown_order_is_not_denied_while_the_account_is_being_taken(api: Client, name: str) -> None:
    api.account.conditions = lambda: [Condition(name=name, ok=False, reason="Starting", message="", since=NOW)]
    for method in ("GET", "DELETE"):
        answer = await api(method, "/v1/orders/01JGX5TVK2M4N6P8Q0R2S4T999")
        assert (answer.status, answer.problem) == (503, "not-ready")


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


@pytest.mark.parametrize(
    ("owner", "key", "status"),
    [("flow", "flow", 201), ("other", "flow", 403), ("other", "boss", 201), (EXTERNAL, "flow", 201)],
)
async def test_trade_gets_an_order_of_its_own_client_or_an_admin(
    api: Client, owner: str, key: str, status: int
) -> None:
    api.orders.open_trades["7"] = OpenTrade(
        id="7",
        instrument="EUR_USD",
        units=Decimal(-100),
        price=Decimal("1.1"),
        opened_at=NOW,
        owner=TradeOwner(client=owner),
    )
    body = {"type": "take_profit", "trade_id": "7", "price": "1.05"}
    answer = await api("POST", "/v1/orders", key=KEYS[key], body=body)

    assert (answer.status, len(api.orders.placed)) == (status, status == 201)
    assert status == 201 or answer.problem == "not-owner"


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


ORDER = {"instrument": "EUR_USD", "side": "buy", "type": "market", "units": "100"}


async def test_a_tried_order_is_not_placed(api: Client) -> None:
    answer = await api("POST", "/v1/orders/test", body=ORDER)
    assert answer.status == 200
    assert answer.json() == {
        "would_be_sent": True,
        "check": None,
        "reason": None,
        "message": None,
        "checks": ["account", "state"],
        "not_made": ["duplicate"],
        "trades_account": True,
        "bid": "1.10000",
        "ask": "1.10020",
    }
    assert (len(api.orders.tried), api.orders.placed) == (1, [])
    assert api.events[-1].route == "/v1/orders/test", "what the pre-promotion analysis measures"


async def test_a_preview_answers_itself_and_forwards_nothing(api: Client) -> None:
    api.orders.owner = "10.0.0.1:8080"
    answer = await api("POST", "/v1/orders/test", body=ORDER)
    assert (answer.status, answer.json()["trades_account"]) == (200, False)
    assert len(api.orders.tried) == 1


async def test_a_denial_is_an_answer_with_its_check(api: Client) -> None:
    api.orders.denial = Denial(check="collar", reason="PRICE_COLLAR", message="too far")
    found = (await api("POST", "/v1/orders/test", body=ORDER)).json()
    assert (found["would_be_sent"], found["check"], found["reason"]) == (False, "collar", "PRICE_COLLAR")


async def test_a_venue_that_cannot_be_asked_is_a_bad_gateway(api: Client) -> None:
    api.orders.fault = NotSentError("refused", operation="pricing")
    answer = await api("POST", "/v1/orders/test", body=ORDER)
    assert (answer.status, answer.json()["type"]) == (502, TYPE_PREFIX + "venue-unavailable")


@pytest.mark.parametrize(("body", "key", "status"), [({**ORDER, "unit": "1"}, "flow", 422), (ORDER, "auditor", 403)])
async def test_trying_an_order_needs_the_scope_and_a_valid_body(
    api: Client, body: dict[str, str], key: str, status: int
) -> None:
    assert (await api("POST", "/v1/orders/test", body=body, key=KEYS[key])).status == status
    assert api.orders.tried == []


@pytest.mark.parametrize(("name", "status"), [("key", 200), ("key%20EUR_USD", 200), ("key%20EUR%20USD", 422)])
async def test_order_of_an_operation_is_found_by_the_key_and_its_part(api: Client, name: str, status: int) -> None:
    for path in ("/v1/orders", "/v1/history/orders"):
        assert (await api("GET", f"{path}?client_order_id={name}")).status == status
