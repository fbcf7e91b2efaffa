from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from broker.simulator.account import trading
from broker.simulator.account.account import AccountBook
from broker.simulator.account.matching import Matching
from broker.simulator.market.market import SimulatedMarket
from broker.simulator.v20.answers import RefusalError

LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.floats(allow_nan=True),
    st.text(max_size=12),
    st.sampled_from(
        ["1", "-100", "1.08", "1e400", "NaN", "ALL", "NONE", "0", "1.080001", "2030-01-01T00:00:00Z", "3"]
    ),
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
    st.sampled_from(
        ["MARKET", "LIMIT", "STOP", "MARKET_IF_TOUCHED", "TAKE_PROFIT", "STOP_LOSS", "TRAILING_STOP_LOSS"]
    )
    | VALUES,
    st.sampled_from(["EUR_USD", "USD_JPY", "GBP_USD"]) | VALUES,
    st.dictionaries(FIELDS, VALUES | INNER, max_size=4),
)


def sample_rules() -> Matching:
    market = SimulatedMarket(1, 1, ("EUR_USD", "USD_JPY"))
    rules = Matching(AccountBook("101-004-1234567-001", Decimal(100_000), 1), market.prices, 2, "1")
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
