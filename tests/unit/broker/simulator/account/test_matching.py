from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.simulator.account import trading
from broker.simulator.account.book import AccountBook
from broker.simulator.account.matching import Matching
from broker.simulator.clock import NANOS
from broker.simulator.market.market import Scenario, SimulatedMarket
from broker.simulator.v20.answers import RefusalError

START_NS = 1_700_000_000 * NANOS
NAMES = ("EUR_USD", "USD_JPY", "EUR_GBP", "GBP_USD")


class SampleAccount:
    """One account and its market, moved by hand."""

    def __init__(self, balance: str = "100000") -> None:
        self.now_ns = START_NS
        self.market = SimulatedMarket(1, START_NS, NAMES)
        self.book = AccountBook("101-004-1234567-001", Decimal(balance), START_NS, self.market.prices)
        self.price("1.08500")

    @property
    def rules(self) -> Matching:
        return Matching(self.book, self.now_ns, "1")

    def price(self, mid: str, instrument: str = "EUR_USD") -> None:
        self.market.place(instrument, Decimal(mid), self.now_ns)
        self.rules.tick()

    def order(self, **fields: Any) -> dict[str, Any]:
        order = {"type": "MARKET", "instrument": "EUR_USD", "units": "100", **fields}
        return trading.place(self.rules, {"order": order})

    def kinds(self, after: int = 2) -> list[tuple[str, str | None]]:
        return [(entry["type"], entry.get("reason")) for entry in self.book.log[after:]]

    @property
    def last(self) -> dict[str, Any]:
        return self.book.log[-1]


@pytest.mark.parametrize(
    ("kind", "units", "level", "untouched", "touched"),
    [
        ("LIMIT", "100", "1.08000", "1.08100", "1.07900"),
        ("LIMIT", "-100", "1.09000", "1.08900", "1.09100"),
        ("STOP", "100", "1.09000", "1.08900", "1.09100"),
        ("STOP", "-100", "1.08000", "1.08100", "1.07900"),
        ("MARKET_IF_TOUCHED", "100", "1.08000", "1.08100", "1.07900"),
        ("MARKET_IF_TOUCHED", "100", "1.09000", "1.08900", "1.09100"),
        ("MARKET_IF_TOUCHED", "-100", "1.08000", "1.08100", "1.07900"),
    ],
)
def test_a_resting_order_trades_when_its_level_is_reached(
    kind: str, units: str, level: str, untouched: str, touched: str
) -> None:
    sample = SampleAccount()
    sample.order(type=kind, units=units, price=level)

    sample.price(untouched)
    assert sample.kinds() == [(f"{kind}_ORDER", "CLIENT_ORDER")]
    sample.price(touched)

    assert sample.last["type"] == "ORDER_FILL"
    assert sample.last["reason"] == f"{kind}_ORDER"
    assert sample.book.pending() == []


@pytest.mark.parametrize(
    ("condition", "before", "mid"),
    [
        ("DEFAULT", "1.08992", "1.08993"),
        ("ASK", "1.08992", "1.08993"),
        ("MID", "1.08999", "1.09000"),
        ("INVERSE", "1.09006", "1.09007"),
        ("BID", "1.09006", "1.09007"),
    ],
)
def test_a_stop_waits_for_the_price_of_its_condition(condition: str, before: str, mid: str) -> None:
    """The half spread is 7 points: the ask reaches 1.09 first, the bid last."""
    sample = SampleAccount()
    made = sample.order(type="STOP", price="1.09000", triggerCondition=condition)["orderCreateTransaction"]

    sample.price(before)
    waits = len(sample.book.pending())
    sample.price(mid)

    assert (made["triggerCondition"], waits, len(sample.book.pending())) == (condition, 1, 0)


def test_a_limit_order_whose_condition_is_met_still_wants_its_price() -> None:
    sample = SampleAccount()
    sample.order(type="LIMIT", price="1.08000", triggerCondition="BID")

    sample.price("1.08000")
    waits = len(sample.book.pending())
    sample.price("1.07993")

    assert (waits, sample.last["price"]) == (1, "1.08000")


def test_an_unknown_condition_is_refused() -> None:
    with pytest.raises(RefusalError, match="TRIGGER_CONDITION_INVALID"):
        SampleAccount().order(type="STOP", price="1.09000", triggerCondition="LAST")


def test_a_limit_is_never_filled_worse_than_its_price() -> None:
    sample = SampleAccount()
    sample.order(type="LIMIT", price="1.08000")

    sample.price("1.07000")

    assert Decimal(sample.last["price"]) == Decimal("1.07007")


def test_a_take_profit_closes_its_trade_and_ends_the_stop() -> None:
    sample = SampleAccount()
    sample.order(takeProfitOnFill={"price": "1.09000"}, stopLossOnFill={"distance": "0.00500"})

    sample.price("1.09100")

    assert sample.kinds(6) == [("ORDER_FILL", "TAKE_PROFIT_ORDER"), ("ORDER_CANCEL", "LINKED_TRADE_CLOSED")]
    assert sample.book.position("EUR_USD") == 0
    assert sample.book.pending() == []


def test_a_stop_loss_by_distance_stands_from_the_fill() -> None:
    sample = SampleAccount()

    sample.order(stopLossOnFill={"distance": "0.00500"})

    assert sample.last["price"] == "1.08007"


def test_a_trailing_stop_follows_one_way_only() -> None:
    sample = SampleAccount()
    sample.order(trailingStopLossOnFill={"distance": "0.00500"})
    stop = sample.book.pending()[0]

    sample.price("1.09000")
    risen = stop.trailing_value
    sample.price("1.08700")

    assert risen == stop.trailing_value == Decimal("1.08493")
    sample.price("1.08400")
    assert sample.last["reason"] == "TRAILING_STOP_LOSS_ORDER"


def test_a_guaranteed_stop_is_filled_at_its_price_across_a_gap() -> None:
    sample = SampleAccount()
    sample.order(guaranteedStopLossOnFill={"price": "1.08000"})

    sample.price("1.05000")

    assert sample.last["price"] == "1.08000"


def test_a_stop_is_filled_at_the_market_across_a_gap() -> None:
    sample = SampleAccount()
    sample.order(stopLossOnFill={"price": "1.08000"})

    sample.price("1.05000")

    assert sample.last["price"] == "1.04993"


def test_a_protection_that_would_lose_at_once_kills_the_order() -> None:
    sample = SampleAccount()

    losing_profit = sample.order(takeProfitOnFill={"price": "1.08000"})
    losing_stop = sample.order(stopLossOnFill={"price": "1.09000"})

    assert losing_profit["orderCancelTransaction"]["reason"] == "TAKE_PROFIT_ON_FILL_LOSS"
    assert losing_stop["orderCancelTransaction"]["reason"] == "STOP_LOSS_ON_FILL_LOSS"


def test_a_fill_across_zero_closes_and_opens() -> None:
    sample = SampleAccount()
    sample.order(units="100")
    sample.order(units="50")

    fill = sample.order(units="-200")["orderFillTransaction"]

    assert [part["units"] for part in fill["tradesClosed"]] == ["-100", "-50"]
    assert fill["tradeOpened"]["units"] == "-50"


def test_a_reduction_takes_the_oldest_trade_first() -> None:
    sample = SampleAccount()
    first = sample.order(units="100")["orderFillTransaction"]["tradeOpened"]["tradeID"]
    sample.order(units="100")

    fill = sample.order(units="-30")["orderFillTransaction"]

    assert fill["tradeReduced"]["tradeID"] == first
    assert sample.book.trades[first].units == 70


def test_reduce_only_never_opens() -> None:
    sample = SampleAccount()
    nothing = sample.order(positionFill="REDUCE_ONLY")
    sample.order(units="100")

    part = sample.order(units="-150", positionFill="REDUCE_ONLY", timeInForce="IOC")["orderFillTransaction"]

    assert "orderCancelTransaction" in nothing
    assert part["units"] == "-100"
    assert sample.book.position("EUR_USD") == 0


def test_an_order_with_a_date_expires() -> None:
    sample = SampleAccount()
    sample.order(type="LIMIT", price="1.00000", timeInForce="GTD", gtdTime="2023-11-14T23:00:00Z")

    sample.now_ns += 3600 * NANOS
    sample.rules.tick()

    assert (sample.last["type"], sample.last["reason"]) == ("ORDER_CANCEL", "TIME_IN_FORCE_EXPIRED")


def test_a_date_in_the_past_is_refused() -> None:
    with pytest.raises(RefusalError, match="TIME_IN_FORCE_GTD_TIMESTAMP_IN_PAST"):
        SampleAccount().order(type="LIMIT", price="1.00000", timeInForce="GTD", gtdTime="1600000000")


def test_an_order_for_the_day_expires_at_its_end() -> None:
    sample = SampleAccount()
    sample.order(type="LIMIT", price="1.00000", timeInForce="GFD")

    sample.now_ns += 86_400 * NANOS
    sample.rules.tick()

    assert sample.last["reason"] == "TIME_IN_FORCE_EXPIRED"


def test_nothing_triggers_on_a_weekend() -> None:
    sample = SampleAccount()
    sample.order(type="LIMIT", price="1.08000")
    sample.market.scenario = Scenario.WEEKEND

    sample.price("1.05000")

    assert len(sample.book.pending()) == 1


def test_positions_are_closed_when_equity_falls_to_half_the_margin() -> None:
    sample = SampleAccount(balance="1000")
    sample.order(units="25000")

    sample.price("1.05500")

    assert sample.last["reason"] == "MARKET_ORDER_MARGIN_CLOSEOUT"
    assert sample.book.position("EUR_USD") == 0
    assert sample.book.log[-2]["marginCloseout"] == {"reason": "MARGIN_CHECK_VIOLATION"}


def test_financing_is_the_sum_over_the_trades() -> None:
    sample = SampleAccount()
    sample.order(units="1000")
    sample.order(units="333")
    before = sample.book.balance

    sample.rules.finance()

    parts = sample.last["positionFinancings"][0]["openTradeFinancings"]
    total = sum(Decimal(part["financing"]) for part in parts)
    assert total == Decimal(sample.last["financing"]) == Decimal("-0.0793")
    assert sample.book.balance == before + total


def test_a_client_id_is_free_again_after_its_order_ended() -> None:
    sample = SampleAccount()
    sample.order(type="LIMIT", price="1.00000", clientExtensions={"id": "x"})
    trading.cancel(sample.rules, "@x")

    assert "orderCreateTransaction" in sample.order(type="LIMIT", price="1.00000", clientExtensions={"id": "x"})


def test_a_close_that_names_a_side_that_is_not_there_does_nothing() -> None:
    sample = SampleAccount()
    sample.order(units="100")

    with pytest.raises(RefusalError, match="CLOSEOUT_POSITION_DOESNT_EXIST"):
        trading.close_position(sample.rules, "EUR_USD", {"longUnits": "ALL", "shortUnits": "ALL"})

    assert sample.book.position("EUR_USD") == 100


def test_protection_that_is_refused_leaves_what_was_there() -> None:
    sample = SampleAccount()
    trade = sample.order(takeProfitOnFill={"price": "1.2"})["orderFillTransaction"]["id"]

    with pytest.raises(RefusalError, match="PRICE_PRECISION_EXCEEDED"):
        trading.protect(sample.rules, trade, {"takeProfit": {"price": "1.3"}, "stopLoss": {"price": "1.00000001"}})

    assert [str(order.spec.price) for order in sample.book.pending()] == ["1.20000"]


ACTS = st.lists(
    st.one_of(
        st.tuples(st.just("market"), st.sampled_from(NAMES), st.integers(-5000, 5000)),
        st.tuples(st.just("limit"), st.sampled_from(NAMES), st.integers(-5000, 5000)),
        st.tuples(st.just("protected"), st.just("EUR_USD"), st.integers(-5000, 5000)),
        st.tuples(st.just("guaranteed"), st.just("EUR_USD"), st.integers(-5000, 5000)),
        st.tuples(st.just("depth"), st.just(""), st.integers(1, 3000)),
        st.tuples(st.just("close"), st.sampled_from(NAMES), st.integers(0, 1)),
        st.tuples(st.just("move"), st.sampled_from(NAMES), st.integers(-300, 300)),
        st.tuples(st.just("day"), st.just(""), st.just(0)),
    ),
    max_size=40,
)


def perform(sample: SampleAccount, act: tuple[str, str, int]) -> None:
    kind, name, number = act
    mid = sample.market.prices[name].mid if name else Decimal(0)
    if kind == "market":
        sample.order(instrument=name, units=str(number))
    elif kind == "limit":
        place = str((mid * Decimal("0.999")).quantize(Decimal("0.001")))
        sample.order(type="LIMIT", instrument=name, units=str(number), price=place)
    elif kind == "protected":
        sample.order(units=str(number), takeProfitOnFill={"distance": "0.00100"}, stopLossOnFill={"distance": "0.001"})
    elif kind == "guaranteed":
        sample.order(units=str(number), guaranteedStopLossOnFill={"distance": "0.001"})
    elif kind == "depth":
        sample.market.liquidity = (number, number)
        for name in NAMES:
            sample.price(str(sample.market.prices[name].mid), name)
    elif kind == "close":
        trading.close_position(sample.rules, name, {("short" if number else "long") + "Units": "ALL"})
    elif kind == "move":
        sample.price(str(mid * (1 + Decimal(number) / 100_000)), name)
    else:
        sample.now_ns += 86_400 * NANOS
        sample.rules.finance()


@settings(max_examples=120, deadline=None)
@given(acts=ACTS)
def test_the_books_agree_with_the_log_to_the_last_place(acts: list[tuple[str, str, int]]) -> None:
    sample = SampleAccount()
    sample.book.commission_per_million = Decimal(50)
    for act in acts:
        try:
            perform(sample, act)
        except RefusalError:
            continue
    log, book = sample.book.log, sample.book

    fills = [entry for entry in log if entry["type"] == "ORDER_FILL"]
    paid = [Decimal(entry["amount"]) for entry in log if entry["type"] == "TRANSFER_FUNDS"]
    charged = [Decimal(entry["financing"]) for entry in log if entry["type"] == "DAILY_FINANCING"]
    earned = [Decimal(entry["pl"]) for entry in fills]
    costs = [Decimal(entry[name]) for entry in fills for name in ("commission", "guaranteedExecutionFee")]
    assert book.balance == sum([*paid, *charged, *earned]) - sum(costs)
    balances = [Decimal(entry["accountBalance"]) for entry in log if "accountBalance" in entry]
    assert balances[-1] == book.balance
    for name in NAMES:
        units = sum((Decimal(entry["units"]) for entry in fills if entry["instrument"] == name), Decimal(0))
        assert book.position(name) == units
    assert [entry["id"] for entry in log] == [str(number) for number in range(1, len(log) + 1)]
    ended = {entry["orderID"] for entry in log if entry["type"] == "ORDER_CANCEL"}
    traded: dict[str, Decimal] = {}
    for entry in fills:
        traded[entry["orderID"]] = traded.get(entry["orderID"], Decimal(0)) + Decimal(entry["units"])
    # An order that traded in part is still there, if it is a limit order that may rest.
    parts = {key for key, units in traded.items() if book.orders[key].state == "PENDING"}
    assert all(abs(traded[key]) < abs(book.orders[key].spec.units) for key in parts)
    assert {item.id for item in book.pending()} == set(book.orders) - ended - (set(traded) - parts)
    for order in book.pending():
        assert order.spec.trade_id is None or book.trades[order.spec.trade_id].state == "OPEN"


def test_the_same_seed_gives_the_same_prices() -> None:
    first, second, other = (SimulatedMarket(seed, START_NS) for seed in (7, 7, 8))
    for market in (first, second, other):
        for step in range(50):
            market.step(START_NS + step)

    assert first.prices == second.prices
    assert first.prices != other.prices
