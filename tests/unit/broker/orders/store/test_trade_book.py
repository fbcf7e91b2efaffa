from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from broker.domain import OrderStatus, OrderType, Side
from broker.history.rows import fill_rows
from broker.orders.store.order_store import OrderStore
from broker.orders.store.trade_book import EXTERNAL, NOBODY, TradeBook, TradeOwner
from broker.simulator.account import trading
from broker.simulator.v20.answers import RefusalError
from broker.venue.v20.parse import parse_trade
from broker.venue.v20.transactions import Transaction, parse_transaction
from tests.unit.broker.orders.samples import filled, make_store
from tests.unit.broker.simulator.account.test_matching import SampleAccount

OURS = TradeOwner(client="flow", order_id="01ORDER")


def opening(number: int = 8, units: str = "1000") -> Transaction:
    return filled(number, number - 1, units, tradeOpened={"tradeID": str(number), "units": units})


def reducing(number: int, units: str, trade: str = "8") -> Transaction:
    return filled(number, number - 1, units, tradeReduced={"tradeID": trade, "units": units, "realizedPL": "1"})


def test_trade_is_known_from_the_fill_that_opens_it() -> None:
    book = TradeBook()
    book.apply(opening(units="-1000"), OURS)
    trade = book.get("8")
    assert trade is not None
    assert (trade.instrument, trade.units, trade.closing_side, trade.owner) == (
        "EUR_USD",
        Decimal(-1000),
        Side.BUY,
        OURS,
    )


def test_trade_shrinks_as_it_is_closed_in_parts_and_goes_with_the_last() -> None:
    book = TradeBook()
    book.apply(opening(), OURS)
    (left,) = book.apply(reducing(10, "-400"), NOBODY)
    assert left.units == Decimal(600)
    assert book.apply(filled(12, 11, "-600", tradesClosed=[{"tradeID": "8", "units": "-600"}]), NOBODY) == ()
    assert list(book) == []


def test_repeated_fill_is_no_news() -> None:
    book = TradeBook()
    book.apply(opening(), OURS)
    book.apply(reducing(10, "-400"), NOBODY)
    assert book.apply(reducing(10, "-400"), NOBODY) == ()
    assert [trade.units for trade in book] == [Decimal(600)]


def test_fill_of_an_answer_opens_its_trade_before_the_stream_tells_of_it() -> None:
    book = TradeBook()
    book.open(opening(), OURS)
    assert [trade.id for trade in book] == ["8"]
    book.apply(opening(), OURS)
    assert [trade.units for trade in book] == [Decimal(1000)]


def test_venues_list_replaces_the_book_and_leaves_the_owners() -> None:
    book = TradeBook()
    book.apply(opening(), OURS)
    book.open(opening(30, "7"), OURS)
    raw = {"instrument": "EUR_USD", "price": "1.1", "openTime": "2026-01-05T12:00:00Z"}
    listed = [
        parse_trade({**raw, "id": "8", "currentUnits": "250"}),
        parse_trade({**raw, "id": "3", "currentUnits": "-5"}),
    ]
    book.set(listed, 20)
    assert {trade.id: (trade.units, trade.owner) for trade in book} == {
        "8": (Decimal(250), OURS),
        "3": (Decimal(-5), NOBODY),
        "30": (Decimal(7), OURS),
    }


def test_list_that_is_older_than_the_book_changes_nothing() -> None:
    book = TradeBook()
    book.apply(opening(), OURS)
    book.set([], 7)
    assert [trade.id for trade in book] == ["8"]


# A day at the venue: the simulator's account, and a store that reads its log and nothing else.

INSTRUMENTS = ("EUR_USD", "USD_JPY")
MIDS = {"EUR_USD": Decimal("1.08500"), "USD_JPY": Decimal("147.000")}
PIPS = {"EUR_USD": Decimal("0.0001"), "USD_JPY": Decimal("0.01")}
FAR, NEAR = 40, 15


class Day:
    """Actions on the simulator's account, each followed by a reading of its log."""

    def __init__(self, directory: Path) -> None:
        self.account = SampleAccount(balance="10000000")
        self.directory = directory
        self.store = self._opened()
        self.read = 0
        self.moves: Counter[str] = Counter()
        self.history: dict[str, dict[str, Any]] = {}
        for name in INSTRUMENTS:
            self.account.price(str(MIDS[name]), name)
        self.follow()

    def _opened(self) -> OrderStore:
        store = make_store(self.directory)
        store.open()
        return store

    def follow(self) -> None:
        log = self.account.book.log
        for raw in log[self.read :]:
            self.store.deliver(parse_transaction(raw))
        self.read = len(log)
        # Memory forgets finished orders; the history keeps them.
        rows = [row for record in self.store.index for row in fill_rows(record.order)]
        self.history |= {row["transaction_id"]: row for row in rows}

    def restart(self) -> None:
        self.store = self._opened()

    def price(self, instrument: str, pips: int) -> None:
        self.moves[instrument] += pips
        self.account.price(str(MIDS[instrument] + self.moves[instrument] * PIPS[instrument]), instrument)

    def enter(self, instrument: str, units: int, protections: dict[str, dict[str, str]]) -> None:
        self.account.order(instrument=instrument, units=str(units), **protections)

    def on_trade(self, pick: int, act: str, units: int) -> None:
        trades = self.account.book.open_trades()
        if not trades:
            return
        trade = trades[pick % len(trades)]
        level = trade.price + PIPS[trade.instrument] * (FAR if trade.units > 0 else -FAR)
        if act == "close":
            trading.close_trade(self.account.rules, trade.id, {"units": "ALL"})
        elif act == "reduce":
            trading.close_trade(self.account.rules, trade.id, {"units": str(min(Decimal(units), abs(trade.units)))})
        else:
            trading.protect(self.account.rules, trade.id, {"takeProfit": {"price": str(level)}})

    def cancel(self, pick: int) -> None:
        if pending := self.account.book.pending():
            trading.cancel(self.account.rules, pending[pick % len(pending)].id)


PROTECTIONS = st.fixed_dictionaries(
    {},
    optional={
        "takeProfitOnFill": st.just(FAR),
        "stopLossOnFill": st.just(NEAR),
        "trailingStopLossOnFill": st.just(NEAR),
    },
)
NAMES = st.sampled_from(INSTRUMENTS)
UNITS = st.integers(-900, 900).filter(bool)
ACTIONS = st.one_of(
    st.tuples(st.just("enter"), NAMES, UNITS, PROTECTIONS),
    st.tuples(st.just("price"), NAMES, st.integers(-60, 60)),
    st.tuples(
        st.just("trade"), st.integers(0, 9), st.sampled_from(("close", "reduce", "replace")), st.integers(1, 500)
    ),
    st.tuples(st.just("cancel"), st.integers(0, 9)),
    st.tuples(st.just("restart")),
)


def act(day: Day, action: tuple[Any, ...]) -> None:
    kind, *rest = action
    if kind == "enter":
        name, units, distances = rest
        distances = {key: {"distance": str(pips * PIPS[name])} for key, pips in distances.items()}
        day.enter(name, units, distances)
    elif kind == "price":
        day.price(*rest)
    elif kind == "trade":
        day.on_trade(*rest)
    elif kind == "cancel":
        day.cancel(*rest)
    else:
        day.restart()


@contextmanager
def day_on_disk() -> Iterator[Day]:
    with TemporaryDirectory() as directory:
        yield Day(Path(directory))


@given(st.lists(ACTIONS, min_size=5, max_size=40))
@settings(max_examples=40, deadline=None, phases=set(Phase) - {Phase.shrink})
def test_history_by_instrument_and_side_adds_up_to_the_venues_position(actions: list[tuple[Any, ...]]) -> None:
    with day_on_disk() as day:
        for action in actions:
            with suppress(RefusalError):  # the venue's answer; its log says what became of it
                act(day, action)
            day.follow()

        total: Counter[str] = Counter()
        for row in day.history.values():
            total[row["instrument"]] += row["units"] * Side(row["side"]).sign
        held = {name: day.account.book.position(name) for name in INSTRUMENTS}
        assert {name: total[name] for name in total} == {name: held[name] for name in total}
        assert {name for name in held if held[name]} <= total.keys()
        assert {item.id: item.units for item in day.store.trades} == {
            item.id: item.units for item in day.account.book.open_trades()
        }
        assert_protections_are_their_trades(day)


def assert_protections_are_their_trades(day: Day) -> None:
    resting = {record.order.venue_order_id: record.order for record in day.store.index.with_status(OrderStatus.PENDING)}
    assert resting.keys() == {item.id for item in day.account.book.pending()}
    for order in resting.values():
        trade = day.account.book.trades[str(order.request.trade_id)]
        asked = order.request
        assert (asked.instrument, asked.side.sign * asked.units) == (trade.instrument, -trade.units)


@pytest.mark.parametrize(
    ("protection", "pips", "kind"),
    [
        ("takeProfitOnFill", 45, OrderType.TAKE_PROFIT),
        ("stopLossOnFill", -20, OrderType.STOP_LOSS),
        ("trailingStopLossOnFill", -20, OrderType.TRAILING_STOP_LOSS),
        ("guaranteedStopLossOnFill", -20, OrderType.GUARANTEED_STOP_LOSS),
    ],
)
def test_exit_by_an_attached_order_is_of_its_trade(protection: str, pips: int, kind: OrderType) -> None:
    with day_on_disk() as day:
        distance = FAR if protection == "takeProfitOnFill" else NEAR
        day.enter("EUR_USD", 1000, {protection: {"distance": str(distance * PIPS["EUR_USD"])}})
        day.on_trade(0, "reduce", 400)
        day.price("EUR_USD", pips)
        day.follow()
        (ended,) = [record.order for record in day.store.index if record.order.request.type is kind]

        assert (ended.status, ended.request.side, ended.request.units) == (OrderStatus.FILLED, Side.SELL, Decimal(600))
        assert (ended.request.instrument, ended.request.client) == ("EUR_USD", EXTERNAL)
        assert [(fill.instrument, fill.side, fill.units) for fill in ended.fills] == [
            ("EUR_USD", Side.SELL, Decimal(600))
        ]
