from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from broker.api.auth.keys import Quota
from broker.api.routes.order_entrance import OrderEntrance
from broker.events.process import HttpRequest
from broker.orders.errors import NotReadyError
from tests.unit.broker.api.asgi import Answer
from tests.unit.broker.api.conftest import Client
from tests.unit.broker.secret_volume import KEYS

MARKET = {"instrument": "EUR_USD", "side": "buy", "type": "market", "units": "100"}
LIMIT = MARKET | {"type": "limit", "price": "1.09", "client_order_id": "one"}
USUAL: dict[str, list[Any]] = {
    "instrument": ["EUR_USD", "DE30_EUR", "eur/usd"],
    "side": ["buy", "sell", "BUY"],
    "type": ["market", "limit", "stop", "stop_loss", "trailing_stop_loss", "swap"],
    "units": ["100", 100, 0.1, 1.10, "1e3", "-1", "0", "1_0", "٣", 10**30, None],
    "price": ["1.09", 1.09, 1.1000000000000001, "", None, True],
    "time_in_force": ["fok", "ioc", "gtc", "gtd", None],
    "expires_at": ["2030-01-01T00:00:00Z", "2030-01-01T00:00:00+05:00", "2030-01-01", 1893456000, None],
    "trade_id": ["7", 7, None],
    "distance": ["0.001", None],
    "stop_loss": [{"price": "1.08"}, {"distance": 0.001}, {"price": "1", "distance": "1"}, {}, []],
    "client_order_id": ["one", "two", "", "with space", 5, None],
    "tag": ["note", "\x00", "\ud800"],
    "unknown": [1],
}
BODIES = st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in USUAL.items()}).map(
    lambda changed: MARKET | changed
)
RAW = BODIES.map(lambda body: json.dumps(body).encode()) | st.sampled_from(
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b"\xff",
        b'{"units":NaN}',
        b'"text"',
        json.dumps(MARKET).encode() + b" ",
        b"\xef\xbb\xbf{}",
    ]
)
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "idempotency-key": st.sampled_from(["one", "two", "", "with space", "x" * 65, "é"]),
        "traceparent": st.sampled_from(["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "x" * 201]),
        "content-type": st.sampled_from(["application/json", "Application/JSON", "text/plain", "application/x+json"]),
        "authorization": st.just(f"Bearer {KEYS['boss']}"),
        "via": st.just("1.1 broker"),
    },
)


async def both(api: Client, **request: Any) -> tuple[Answer, Answer]:
    """The answers of the short way and of the long way, each to a service that knows no order."""
    answers = []
    for way in (OrderEntrance._caller, lambda *_: None):
        api.orders.placed.clear()
        api.orders.orders.clear()
        with patch.object(OrderEntrance, "_caller", way):
            answers.append(await api("POST", "/v1/orders", **request))
        answers[-1].headers["placed"] = repr(api.orders.placed)
    return answers[0], answers[1]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(raw=RAW, headers=HEADERS, key=st.sampled_from([*KEYS.values(), "unknown", None]))
@example(raw=json.dumps(MARKET).encode(), headers={"idempotency-key": "one"}, key=KEYS["flow"])
@example(raw=json.dumps(LIMIT).encode(), headers={"idempotency-key": "two"}, key=KEYS["flow"])
async def test_both_ways_answer_alike_and_place_the_same(
    api: Client, raw: bytes, headers: dict[str, str], key: str | None
) -> None:
    api.context.new_client_order_id = lambda: "auto-1"
    short, long = await both(api, raw=raw, headers=headers, key=key)
    assert short == long


@pytest.mark.parametrize("state", ["drain", "not_ready", "elsewhere", "no_keys", "not_owner", "several"])
async def test_both_ways_refuse_alike(api: Client, state: str) -> None:
    match state:
        case "drain":
            api.context.drain.set()
        case "not_ready":
            api.context.ready.clear()
        case "elsewhere":
            api.orders.owner = "broker-1:8080"
        case "no_keys":
            api.keys.append(None)
        case "not_owner":
            api.orders.fault = NotReadyError("NotOwner", 0.25)
        case "several":
            api.context.accounts = {**api.context.accounts, "other": api.account}
    short, long = await both(api, body=MARKET)
    assert short == long
    assert short.status >= 400


async def test_request_is_measured_under_its_route(api: Client) -> None:
    await both(api, body=MARKET)
    told = [(event.method, event.route, event.status_class) for event in api.events if isinstance(event, HttpRequest)]
    assert told == [("POST", "/v1/orders", "2xx")] * 2


async def test_body_that_is_too_large_is_measured_under_the_route(api: Client) -> None:
    api.context.settings = replace(api.context.settings, request_bytes=1)
    short, long = await both(api, body=MARKET)
    told = [(event.route, event.status_class) for event in api.events if isinstance(event, HttpRequest)]
    assert (short.status, told) == (413, [("/v1/orders", "4xx")] * 2)
    assert short == long


async def test_both_ways_give_the_caller_what_was_read_back_as_its_own(api: Client) -> None:
    await both(api, body=MARKET, key=KEYS["flow"])
    assert api.orders.claims == ["flow"] * 2


async def test_usual_order_takes_the_short_way(api: Client) -> None:
    with patch("fastapi.routing.solve_dependencies", side_effect=AssertionError("the long way")):
        answer = await api("POST", "/v1/orders", body=LIMIT)
    assert answer.status == 201


async def test_request_beyond_the_quota_is_counted_once_and_refused(api: Client) -> None:
    api.context.quota = Quota(requests_per_s=0.001, burst=2)
    answers = [await api("POST", "/v1/orders", body=MARKET) for _ in range(4)]
    assert [answer.status for answer in answers] == [201, 201, 429, 429]
