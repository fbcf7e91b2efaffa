from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.simulator.account import trading
from broker.simulator.account.book import AccountBook
from broker.simulator.account.matching import Matching
from broker.simulator.http.server import Simulator
from broker.simulator.market.market import SimulatedMarket
from broker.simulator.v20.answers import RefusalError
from tests.v20_client import V20Client

LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.floats(allow_nan=True),
    st.text(max_size=12),
    st.sampled_from(["1", "-100", "1.08", "1e400", "NaN", "ALL", "NONE", "0", "1.080001", "2030-01-01T00:00:00Z", "3"]),
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2)
)
FIELDS = st.sampled_from(
    [
        "units",
        "price",
        "priceBound",
        "distance",
        "timeInForce",
        "gtdTime",
        "positionFill",
        "tradeID",
        "clientExtensions",
        "tradeClientExtensions",
        "takeProfitOnFill",
        "stopLossOnFill",
        "trailingStopLossOnFill",
        "guaranteedStopLossOnFill",
    ]
)
INNER = st.dictionaries(
    st.sampled_from(["price", "distance", "id", "gtdTime", "timeInForce", "clientExtensions"]), VALUES
)
ORDERS = st.builds(
    lambda kind, name, more: {"type": kind, "instrument": name, "units": "10", "price": "1.0"} | more,
    st.sampled_from(["MARKET", "LIMIT", "STOP", "MARKET_IF_TOUCHED", "TAKE_PROFIT", "STOP_LOSS", "TRAILING_STOP_LOSS"])
    | VALUES,
    st.sampled_from(["EUR_USD", "USD_JPY", "GBP_USD"]) | VALUES,
    st.dictionaries(FIELDS, VALUES | INNER, max_size=4),
)


def sample_rules() -> Matching:
    market = SimulatedMarket(1, 1, ("EUR_USD", "USD_JPY"))
    rules = Matching(AccountBook("101-004-1234567-001", Decimal(100_000), 1, market.prices), 2, "1")
    trading.place(rules, {"order": {"type": "MARKET", "instrument": "EUR_USD", "units": "100"}})
    trading.place(rules, {"order": {"type": "LIMIT", "instrument": "EUR_USD", "units": "100", "price": "1"}})
    return rules


def consistent(rules: Matching) -> bool:
    rules.tick()
    book = rules.book
    fills = [entry for entry in book.log if entry["type"] == "ORDER_FILL"]
    earned = sum((Decimal(entry["pl"]) for entry in fills), Decimal(0))
    return book.balance == 100_000 + earned and book.last_id == str(len(book.log))


@settings(max_examples=300, deadline=None)
@given(order=ORDERS)
def test_no_order_breaks_the_venue(order: Any) -> None:
    rules = sample_rules()

    with suppress(RefusalError):
        trading.place(rules, {"order": order})

    assert consistent(rules)


@settings(max_examples=200, deadline=None)
@given(
    body=VALUES
    | st.dictionaries(
        st.sampled_from(
            [
                "order",
                "units",
                "longUnits",
                "shortUnits",
                "longClientExtensions",
                "takeProfit",
                "stopLoss",
                "clientExtensions",
            ]
        ),
        VALUES | INNER | ORDERS,
    ),
    act=st.sampled_from(
        [
            trading.place,
            lambda rules, body: trading.replace(rules, "5", body),
            lambda rules, body: trading.modify_order(rules, "5", body),
            lambda rules, body: trading.modify_trade(rules, "4", body),
            lambda rules, body: trading.close_trade(rules, "4", body),
            lambda rules, body: trading.protect(rules, "4", body),
            lambda rules, body: trading.close_position(rules, "EUR_USD", body),
        ]
    ),
)
def test_no_body_breaks_the_venue(body: Any, act: Callable[[Matching, Any], Any]) -> None:
    rules = sample_rules()

    with suppress(RefusalError):
        act(rules, body)

    assert consistent(rules)


@pytest.mark.parametrize(("body", "left"), [({"longUnits": "ALL"}, "0"), ({"longUnits": "40"}, "60")])
async def test_a_close_leaves_a_side_alone_that_it_does_not_name(
    client: V20Client, body: dict[str, str], left: str
) -> None:
    await client.order(units="100")

    closed = await client.put("/positions/EUR_USD/close", body)

    assert {key for key in closed if key.startswith("short")} == set()
    assert (await client.get("/positions/EUR_USD"))["position"]["long"]["units"] == left


@pytest.mark.parametrize("body", [None, {}])
async def test_a_close_that_names_nothing_is_refused(client: V20Client, body: Any) -> None:
    await client.order(units="100")

    refused = await client.put("/positions/EUR_USD/close", body, status=400)

    assert refused == {"errorMessage": "Invalid JSON body, must be an object"}
    assert (await client.get("/positions/EUR_USD"))["position"]["long"]["units"] == "100"


async def test_a_close_of_both_sides_is_refused_for_both(client: V20Client) -> None:
    """As recorded on 2026-01-15: the side that exists falls with the other, in one batch."""
    await client.order(units="-100")

    refused = await client.put("/positions/EUR_USD/close", {"longUnits": "ALL", "shortUnits": "ALL"}, status=400)

    missing, held = refused["longOrderRejectTransaction"], refused["shortOrderRejectTransaction"]
    assert (missing["rejectReason"], held["rejectReason"], refused["errorCode"]) == (
        "CLOSEOUT_POSITION_DOESNT_EXIST",
        "CLOSEOUT_POSITION_REJECT",
        "CLOSEOUT_POSITION_DOESNT_EXIST",
    )
    assert ("units" in missing, held["units"]) == (False, "100")
    assert {item["batchID"] for item in (missing, held)} == {missing["id"]}
    assert refused["relatedTransactionIDs"] == [missing["id"], held["id"]]
    for item in (missing, held):
        assert (item["instrument"], item["timeInForce"], item["positionFill"]) == ("EUR_USD", "FOK", "REDUCE_ONLY")


async def configure(client: V20Client, body: Any, status: int = 200) -> Any:
    return await client.call("PATCH", "/configuration", body, status=status)


async def test_an_alias_shows_in_the_summary_and_is_a_transaction(client: V20Client) -> None:
    answer = await configure(client, {"alias": "Scalping"})

    assert (await client.get("/summary"))["account"]["alias"] == "Scalping"
    entry = answer["clientConfigureTransaction"]
    assert (entry["type"], entry["alias"], "marginRate" in entry) == ("CLIENT_CONFIGURE", "Scalping", False)
    assert await client.log(2) == [entry]
    assert answer["lastTransactionID"] == "3"


async def test_a_margin_rate_counts_for_what_is_open_and_what_comes(client: V20Client) -> None:
    await client.order(units="10000")

    await configure(client, {"marginRate": "0.1"})

    account = (await client.get("/summary"))["account"]
    assert account["marginRate"] == "0.1"
    assert account["marginUsed"] == "1085.0000"
    refused = await client.order(units="1000000")
    assert refused["orderCancelTransaction"]["reason"] == "INSUFFICIENT_MARGIN"


async def test_an_instrument_may_need_more_margin_than_the_account(client: V20Client) -> None:
    await client.order(units="10000")
    await configure(client, {"marginRate": "0.02"})

    assert Decimal((await client.get("/summary"))["account"]["marginUsed"]) == Decimal("361.3050")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({}, "CLIENT_CONFIGURE_DATA_MISSING"),
        ({"marginRate": "0"}, "MARGIN_RATE_INVALID"),
        ({"marginRate": "1.5"}, "MARGIN_RATE_INVALID"),
        ({"marginRate": "0.5"}, "MARGIN_RATE_WOULD_TRIGGER_MARGIN_CALL"),
        ({"marginRate": "1", "alias": "never"}, "MARGIN_RATE_WOULD_TRIGGER_CLOSEOUT"),
    ],
)
async def test_a_refused_configuration_changes_nothing_and_is_a_transaction(
    client: V20Client, body: dict[str, str], reason: str
) -> None:
    await client.order(units="190000")
    before = (await client.get("/summary"))["account"]

    answer = await configure(client, body, 400)

    assert answer["errorCode"] == reason
    assert answer["clientConfigureRejectTransaction"]["rejectReason"] == reason
    after = (await client.get("/summary"))["account"]
    assert after == before | {"lastTransactionID": after["lastTransactionID"]}
    kinds = [entry["type"] for entry in (await client.get("/transactions/sinceid?id=4&type=ADMIN"))["transactions"]]
    assert kinds == ["CLIENT_CONFIGURE_REJECT"]


@pytest.mark.parametrize("body", [[], {"alias": 7}, {"marginRate": "much"}, {"marginRate": True}])
async def test_a_configuration_that_cannot_be_read_leaves_no_transaction(client: V20Client, body: Any) -> None:
    answer = await configure(client, body, 400)

    assert answer["errorCode"] == "oanda::rest::core::InvalidParameterException"
    assert await client.log(2) == []


async def test_a_stream_tells_of_a_configuration(simulator: Simulator, client: V20Client) -> None:
    url = f"{simulator.stream_url}/v3/accounts/{simulator.account}/transactions/stream"
    async with client.session.get(url) as stream:
        await configure(client, {"alias": "Told"})
        lines = [line async for line in _until(stream, b"CLIENT_CONFIGURE")]
    assert b'"alias":"Told"' in lines[-1]


async def _until(stream: Any, word: bytes) -> Any:
    async for line in stream.content:
        yield line
        if word in line:
            return
