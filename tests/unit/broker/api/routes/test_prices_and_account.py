from __future__ import annotations

import json
import os
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openapi_spec_validator import validate

from broker.events.events import HttpRequest, OrderStage
from broker.orders.model.trading_state import TradingState
from producer.trace import current_trace
from tests.unit.broker.api.conftest import Client
from tests.unit.broker.secret_volume import KEYS


async def test_prices_come_from_memory(api: Client) -> None:
    answer = await api("GET", "/v1/prices?instruments=EUR_USD,NO_SUCH")

    assert answer.json() == {
        "prices": [
            {
                "instrument": "EUR_USD",
                "bid": "1.10000",
                "ask": "1.10020",
                "time": "2026-01-05T10:00:00.250000Z",
                "tradeable": True,
            }
        ]
    }
    assert len((await api("GET", "/v1/prices")).json()["prices"]) == 2


async def test_numbers_have_no_exponent(api: Client) -> None:
    (position,) = (await api("GET", "/v1/positions")).json()["positions"]

    assert (position["units"], position["realized_profit"]) == ("-100", "10")


async def test_account_is_the_summary(api: Client) -> None:
    body = (await api("GET", "/v1/account")).json()

    assert (body["currency"], body["balance"], body["last_transaction_id"]) == ("USD", "100000.0000", "7")


async def test_state_is_set_with_actor_and_reason(api: Client) -> None:
    answer = await api("PUT", "/v1/admin/state", key=KEYS["boss"], body={"state": "halted", "reason": "news"})

    assert (answer.status, answer.json()) == (200, {"state": "halted"})
    assert api.orders.states == [(TradingState.HALTED, "boss", "news")]
    assert (await api("GET", "/v1/admin/state")).json() == {"state": "halted"}


async def test_reconcile_tells_the_mismatches(api: Client) -> None:
    answer = await api("POST", "/v1/admin/reconcile", key=KEYS["boss"])

    assert answer.json() == {"mismatches": [{"kind": "position", "subject": "EUR_USD", "ours": "0", "theirs": "100"}]}


async def test_conditions_are_told(api: Client) -> None:
    (condition,) = (await api("GET", "/v1/admin/conditions")).json()["conditions"]

    assert (condition["name"], condition["ok"]) == ("Venue", True)


async def test_unknown_address_and_method_are_problems(api: Client) -> None:
    assert (await api("GET", "/v2/orders")).problem == "not-found"
    wrong = await api("PATCH", "/v1/orders")
    assert (wrong.status, wrong.problem) == (405, "method-not-allowed")


async def test_body_beyond_the_limit_is_413(api: Client) -> None:
    answer = await api("POST", "/v1/orders", raw=b'{"comment":"' + b"x" * 70_000 + b'"}')

    assert (answer.status, answer.problem) == (413, "too-large")
    assert api.orders.placed == []


@pytest.mark.parametrize("raw", [b"", b"{", b"[" * 60_000, b'"\\ud800"', b"\xff", b"null", b"[]", b"1e999999"])
async def test_body_that_is_no_order_is_a_client_error(api: Client, raw: bytes) -> None:
    answer = await api("POST", "/v1/orders", raw=raw)

    assert answer.status in {400, 422}
    assert answer.problem in {"bad-request", "invalid-request"}


async def test_json_of_another_content_type_is_a_client_error(api: Client) -> None:
    answer = await api(
        "POST", "/v1/orders", raw=b"a=b", headers={"content-type": "application/x-www-form-urlencoded"}
    )

    assert (answer.status, answer.problem) == (422, "invalid-request")


HOSTILE_BODIES = int(os.environ.get("HOSTILE_BODIES", "200"))
"""How many are tried; a long run sets 100000."""

_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
_ORDER = st.fixed_dictionaries(
    {},
    optional={
        "client_order_id": st.text(max_size=70) | _ANY,
        "instrument": st.sampled_from(["EUR_USD", "USD_JPY", "\x00"]) | _ANY,
        "side": st.sampled_from(["buy", "sell"]) | _ANY,
        "type": st.sampled_from(["market", "limit", "stop_loss", "trailing_stop_loss"]) | _ANY,
        "units": st.decimals(allow_nan=True).map(str) | _ANY,
        "price": st.decimals(allow_nan=True).map(str) | _ANY,
        "distance": st.floats() | _ANY,
        "time_in_force": st.sampled_from(["gtc", "gtd", "fok"]) | _ANY,
        "expires_at": st.datetimes().map(str) | st.integers() | _ANY,
        "trade_id": st.text(max_size=30) | _ANY,
        "take_profit": _ANY,
        "comment": st.text(max_size=200) | _ANY,
    },
)


@settings(max_examples=HOSTILE_BODIES, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    raw=_ORDER.map(lambda value: json.dumps(value).encode())
    | st.binary(max_size=200)
    | _ANY.map(lambda value: json.dumps(value, ensure_ascii=True).encode())
)
async def test_hostile_bodies_never_break_it(api: Client, raw: bytes) -> None:
    answer = await api("POST", "/v1/orders", raw=raw)

    assert answer.status in {201, 202, 400, 409, 422}


@settings(max_examples=HOSTILE_BODIES // 2, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from(
        [
            "/v1/orders/{}",
            "/v1/orders?client_order_id={}",
            "/v1/prices?instruments={}",
            "/v1/history/orders?cursor={}",
            "/v1/history/orders?since={}",
            "/v1/history/fills?limit={}",
            "/v1/history/transactions?type={}&cursor={}",
            "/v1/history/orders?client={}&status={}",
            "/v1/events?types={}",
        ]
    ),
    text=st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=40),
)
async def test_hostile_addresses_never_break_it(api: Client, path: str, text: str) -> None:
    if path.startswith("/v1/events") and set(text) <= set("orderpic,"):
        return
    answer = await api("GET", path.format(text, text).replace("\n", "").replace("\r", ""))

    assert answer.status in {200, 404, 422}


async def test_every_answer_is_an_event_with_the_route_template(api: Client) -> None:
    await api.place()
    await api("GET", "/v1/orders/01JGX5TVK2M4N6P8Q0R2S4T999")
    await api("GET", "/nothing")
    await api("BREW", "/v1/orders")

    told = [event[:3] for event in api.events if isinstance(event, HttpRequest)]
    assert told == [
        ("POST", "/v1/orders", "2xx"),
        ("GET", "/v1/orders/{order_id}", "4xx"),
        ("GET", "unmatched", "4xx"),
        ("other", "/v1/orders", "4xx"),
    ]


async def test_the_stage_before_the_desk_is_timed_where_an_order_is_valid(api: Client) -> None:
    await api.place()
    await api.place(units="-1")

    stages = [event for event in api.events if isinstance(event, OrderStage)]
    assert [event.stage for event in stages] == ["validate"]
    assert 0 < stages[0].duration_s < 60


async def test_callers_trace_is_current_while_the_desk_works(api: Client) -> None:
    seen: list[bytes | None] = []

    async def look() -> None:
        seen.append(current_trace.get())

    api.orders.before = look
    body = {"instrument": "EUR_USD", "side": "buy", "type": "market", "units": "100"}
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await api("POST", "/v1/orders", body=body, headers={"traceparent": trace})
    await api("POST", "/v1/orders", body=body, headers={"traceparent": "nonsense"})

    assert seen == [bytes.fromhex("0af7651916cd43dd8448eb211c80319cb7ad6b716920333101"), None]


async def test_answers_are_not_sniffed_or_cached(api: Client) -> None:
    answer = await api("GET", "/v1/account")

    assert (answer.headers["x-content-type-options"], answer.headers["cache-control"]) == ("nosniff", "no-store")


async def test_openapi_document_is_valid_and_says_enough_for_a_generated_client(api: Client) -> None:
    document = (await api("GET", "/openapi.json", key=None)).json()
    validate(document)
    operations = [item for path in document["paths"].values() for item in path.values()]
    ids = [item["operationId"] for item in operations]

    assert len(ids) == len(set(ids))
    assert all(item.get("summary") and item.get("description") for item in operations)
    assert all(item["security"] for item in operations)
    schemas = document["components"]["schemas"]
    assert schemas["OrderBody"]["examples"]
    assert schemas["OrderView"]["properties"]["units"]["type"] == "string"
    errors = [
        response["content"]
        for item in operations
        for status, response in item["responses"].items()
        if status >= "400"
    ]
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemView"}}}
    assert len(errors) > 50
    assert all(content == problem for content in errors)


async def test_documentation_page_needs_no_other_host(api: Client) -> None:
    page = await api("GET", "/docs", key=None)
    names = ("swagger-ui-bundle.js", "swagger-ui.css", "start.js", "favicon-32x32.png")
    assets: dict[str, Any] = {name: await api("GET", f"/docs/{name}", key=None) for name in names}

    assert page.status == 200
    assert b"http" not in page.content.replace(b"http-equiv", b"")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert {name: answer.status for name, answer in assets.items()} == dict.fromkeys(names, 200)
    assert (await api("GET", "/docs/..%2fapplication.py", key=None)).status == 404
    assert (await api("GET", "/docs/README.md", key=None)).status == 404
