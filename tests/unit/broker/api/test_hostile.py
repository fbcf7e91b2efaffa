from __future__ import annotations

import json
import os

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.broker.api.conftest import Client
from tests.unit.broker.secret_volume import KEYS

HOSTILE_BODIES = int(os.environ.get("HOSTILE_BODIES", "200"))
"""Number of bodies tried; a long run sets 100000."""


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


_LEG = st.fixed_dictionaries(
    {}, optional={"price": st.decimals().map(str) | _ANY, "distance": _ANY, "guaranteed": _ANY, "expires_at": _ANY}
)
_OTHER_BODIES = {
    "POST /v1/orders/cancel": st.fixed_dictionaries(
        {}, optional={"instrument": _ANY, "client": st.text(max_size=70) | _ANY, "keep_exits": _ANY}
    ),
    "POST /v1/positions/close": st.fixed_dictionaries({}, optional={"instrument": _ANY}),
    "POST /v1/admin/kill": st.fixed_dictionaries({}, optional={"confirm": st.text() | _ANY, "reason": _ANY}),
    "PUT /v1/trades/7/orders": st.fixed_dictionaries(
        {}, optional={"take_profit": _LEG | _ANY, "stop_loss": _LEG | _ANY, "trailing_stop": _LEG | _ANY}
    ),
    "PUT /v1/trades/7/extensions": st.fixed_dictionaries({}, optional={"tag": st.text() | _ANY, "comment": _ANY}),
}


@settings(max_examples=HOSTILE_BODIES, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(route=st.sampled_from(sorted(_OTHER_BODIES)), data=st.data())
async def test_hostile_bodies_break_no_other_route(api: Client, route: str, data: st.DataObject) -> None:
    body = data.draw(_OTHER_BODIES[route] | _ANY)
    answer = await api(*route.split(" "), raw=json.dumps(body).encode(), key=KEYS["boss"])

    assert answer.status in {200, 400, 403, 422}


@settings(max_examples=HOSTILE_BODIES // 2, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from(
        [
            "/v1/orders/{}",
            "/v1/trades/{}",
            "/v1/trades?instrument={}&client={}",
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
