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


async def protected(client: V20Client, **details: Any) -> str:
    fill = (await client.order(units="100", **details))["orderFillTransaction"]
    return str(fill["tradeOpened"]["tradeID"])


async def test_a_protection_hands_on_what_its_successor_does_not_name(client: V20Client) -> None:
    profit = {"price": "1.10000", "timeInForce": "GTD", "gtdTime": "2099-01-01T00:00:00.000000000Z"}
    trade = await protected(client, takeProfitOnFill=profit)

    changed = await client.put(f"/trades/{trade}/orders", {"takeProfit": {"clientExtensions": {"id": "mine"}}})

    order = (await client.get("/orders/@mine"))["order"]
    assert {key: order[key] for key in profit} == profit
    ended, made = changed["takeProfitOrderCancelTransaction"], changed["takeProfitOrderTransaction"]
    assert (ended["reason"], ended["replacedByOrderID"]) == ("CLIENT_REQUEST_REPLACED", made["id"])
    assert (made["reason"], made["replacesOrderID"]) == ("REPLACEMENT", ended["orderID"])


@pytest.mark.parametrize(
    ("before", "change", "after"),
    [
        ({"price": "1.08000"}, {"timeInForce": "GFD"}, {"price": "1.08000", "timeInForce": "GFD"}),
        ({"price": "1.08000"}, {"distance": "0.01"}, {"price": "1.07493", "distance": "0.01000"}),
        ({"distance": "0.01"}, {"price": "1.08000"}, {"price": "1.08000", "distance": None}),
        ({"distance": "0.01"}, {"timeInForce": "GFD"}, {"price": "1.07507", "timeInForce": "GFD"}),
        (
            {"price": "1.08000", "timeInForce": "GTD", "gtdTime": "2099-01-01T00:00:00Z"},
            {"timeInForce": "GTC"},
            {"price": "1.08000", "timeInForce": "GTC", "gtdTime": None},
        ),
    ],
)
async def test_what_a_change_settles_is_not_handed_on(
    client: V20Client, before: dict[str, str], change: dict[str, str], after: dict[str, str | None]
) -> None:
    trade = await protected(client, stopLossOnFill=before)

    await client.put(f"/trades/{trade}/orders", {"stopLoss": change})

    order = (await client.get(f"/trades/{trade}"))["trade"]["stopLossOrder"]
    assert {key: order.get(key) for key in after} == after


async def test_all_changes_of_a_request_are_one_batch(client: V20Client) -> None:
    trade = await protected(client, takeProfitOnFill={"price": "1.10000"}, stopLossOnFill={"price": "1.07000"})
    details = {"takeProfit": {"price": "1.2"}, "stopLoss": None, "trailingStopLoss": {"distance": "0.01"}}

    changed = await client.put(f"/trades/{trade}/orders", details)

    entries = [await client.get(f"/transactions/{item}") for item in changed["relatedTransactionIDs"]]
    assert {entry["transaction"]["batchID"] for entry in entries} == {changed["relatedTransactionIDs"][0]}
    assert len(entries) == 4


async def test_two_protections_of_a_request_may_not_share_a_client_id(client: V20Client) -> None:
    trade = await protected(client, takeProfitOnFill={"price": "1.10000"})
    same = {"clientExtensions": {"id": "same"}}
    details = {"takeProfit": {"price": "1.2"} | same, "stopLoss": {"price": "1.0"} | same}

    refused = await client.put(f"/trades/{trade}/orders", details, status=400)

    assert refused["stopLossOrderRejectTransaction"]["rejectReason"] == "CLIENT_ORDER_ID_ALREADY_EXISTS"
    assert [order["price"] for order in (await client.get("/pendingOrders"))["orders"]] == ["1.10000"]


async def test_a_protection_that_is_null_ends_and_is_not_replaced(client: V20Client) -> None:
    trade = await protected(client, takeProfitOnFill={"price": "1.10000"}, stopLossOnFill={"price": "1.07000"})

    changed = await client.put(f"/trades/{trade}/orders", {"takeProfit": None})

    assert changed["takeProfitOrderCancelTransaction"]["reason"] == "CLIENT_REQUEST"
    assert [order["type"] for order in (await client.get("/pendingOrders"))["orders"]] == ["STOP_LOSS"]


async def test_a_waiting_order_takes_extensions_for_the_trade_that_it_will_open(client: V20Client) -> None:
    order = (await client.order(type="LIMIT", price="1.00000"))["orderCreateTransaction"]["id"]

    changed = await client.put(f"/orders/{order}/clientExtensions", {"tradeClientExtensions": {"tag": "later"}})

    assert changed["orderClientExtensionsModifyTransaction"]["tradeClientExtensionsModify"] == {"tag": "later"}
    assert (await client.get(f"/orders/{order}"))["order"]["tradeClientExtensions"] == {"tag": "later"}


@pytest.mark.parametrize(
    ("instrument", "units", "minimum"),
    [("SPX500_USD", "1.5", "0.1"), ("BTC_USD", "0.25", "0.01"), ("EUR_USD", "7", "1")],
)
async def test_units_have_the_places_of_their_instrument(
    client: V20Client, instrument: str, units: str, minimum: str
) -> None:
    listed = (await client.get(f"/instruments?instruments={instrument}"))["instruments"][0]
    fill = (await client.order(instrument=instrument, units=units))["orderFillTransaction"]
    refused = await client.order(instrument=instrument, units=units + ("1" if "." in units else ".1"), status=400)
    closed = await client.put(f"/positions/{instrument}/close", {"longUnits": minimum})

    assert (listed["minimumTradeSize"], listed["tradeUnitsPrecision"]) == (minimum, len(minimum.partition(".")[2]))
    assert fill["units"] == fill["tradeOpened"]["units"] == units
    assert refused["errorCode"] == "UNITS_PRECISION_EXCEEDED"
    assert closed["longOrderFillTransaction"]["units"] == f"-{minimum}"


@pytest.mark.parametrize(("instrument", "least"), [("EUR_USD", "0.00050"), ("USD_JPY", "0.050")])
async def test_a_trailing_stop_keeps_its_least_distance(client: V20Client, instrument: str, least: str) -> None:
    listed = (await client.get(f"/instruments?instruments={instrument}"))["instruments"][0]
    trade = (await client.order(instrument=instrument))["orderFillTransaction"]["id"]
    near = str(Decimal(least) - Decimal(least).scaleb(-1))
    stop = {"type": "TRAILING_STOP_LOSS", "tradeID": trade}

    refused = await client.order(**stop, distance=near, status=400)
    attached = await client.order(instrument=instrument, trailingStopLossOnFill={"distance": near}, status=400)
    far = await client.order(**stop, distance="100000", status=400)

    assert listed["minimumTrailingStopDistance"] == least
    assert (refused["errorCode"], attached["errorCode"], far["errorCode"]) == (
        "PRICE_DISTANCE_MINIMUM_NOT_MET",
        "TRAILING_STOP_LOSS_ON_FILL_PRICE_DISTANCE_MINIMUM_NOT_MET",
        "PRICE_DISTANCE_MAXIMUM_EXCEEDED",
    )
    await client.order(**stop, distance=least)


async def test_home_conversions_come_for_both_currencies_and_take_the_factors_place(client: V20Client) -> None:
    """As recorded on 2026-09-23: a gain converts 1 % worse, a loss 1 % dearer."""
    plain = await client.get("/pricing?instruments=EUR_JPY")
    found = await client.get("/pricing?instruments=EUR_JPY&includeHomeConversions=true")

    assert "quoteHomeConversionFactors" in plain["prices"][0]
    assert "quoteHomeConversionFactors" not in found["prices"][0]
    assert [item["currency"] for item in found["homeConversions"]] == ["EUR", "JPY", "USD"]
    euro = {key: Decimal(value) for key, value in found["homeConversions"][0].items() if key != "currency"}
    assert (euro["accountGain"] / euro["positionValue"], euro["accountLoss"] / euro["positionValue"]) == (
        Decimal("0.99"),
        Decimal("1.01"),
    )


async def test_prices_that_are_no_newer_are_left_out(client: V20Client) -> None:
    at = (await client.get("/pricing?instruments=EUR_USD"))["prices"][0]["time"]

    assert (await client.get(f"/pricing?instruments=EUR_USD&since={at}"))["prices"] == []


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
