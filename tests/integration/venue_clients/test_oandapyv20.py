"""oandapyV20 (hootnot, MIT) against the simulated venue: every endpoint that it offers."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import pkgutil
from dataclasses import dataclass
from typing import Any

import pytest
from oandapyV20 import API, endpoints, oandapyV20
from oandapyV20.contrib.requests import (
    LimitOrderRequest,
    MarketOrderRequest,
    MITOrderRequest,
    PositionCloseRequest,
    StopLossDetails,
    StopLossOrderRequest,
    StopOrderRequest,
    TakeProfitDetails,
    TakeProfitOrderRequest,
    TradeCloseRequest,
    TrailingStopLossOrderRequest,
)
from oandapyV20.endpoints import accounts, forexlabs, instruments, orders, positions, pricing, trades, transactions
from oandapyV20.endpoints.apirequest import APIRequest
from oandapyV20.exceptions import V20Error

from broker.simulator.http.server import Simulator
from tests.integration.venue_clients.walk import Walks, closing

pytestmark = pytest.mark.real

LABS = "of the API before v20; no page of v20's lists it"
WALKS = Walks(
    dict.fromkeys(
        [
            forexlabs.Autochartist,
            forexlabs.Calendar,
            forexlabs.CommitmentsOfTraders,
            forexlabs.HistoricalPositionRatios,
            forexlabs.OrderbookData,
            forexlabs.Spreads,
        ],
        LABS,
    )
)


@dataclass(slots=True)
class Desk:
    api: API
    account: str

    def send(self, request: APIRequest) -> Any:
        return self.api.request(request)

    def buy(self, **more: Any) -> str:
        data = MarketOrderRequest("EUR_USD", units=100, **more).data
        return str(self.send(orders.OrderCreate(self.account, data))["orderFillTransaction"]["tradeOpened"]["tradeID"])

    def limit(self) -> str:
        data = LimitOrderRequest("EUR_USD", units=100, price=1.08).data
        return str(self.send(orders.OrderCreate(self.account, data))["orderCreateTransaction"]["id"])


@WALKS.of(accounts.AccountList)
def lists_accounts(desk: Desk) -> None:
    assert desk.send(accounts.AccountList()) == {"accounts": [{"id": desk.account, "tags": []}]}


@WALKS.of(accounts.AccountDetails)
def reads_an_account_with_what_is_open(desk: Desk) -> None:
    trade = desk.buy()
    assert [item["id"] for item in desk.send(accounts.AccountDetails(desk.account))["account"]["trades"]] == [trade]


@WALKS.of(accounts.AccountSummary)
def reads_a_summary(desk: Desk) -> None:
    assert desk.send(accounts.AccountSummary(desk.account))["account"]["balance"] == "100000.0000"


@WALKS.of(accounts.AccountInstruments)
def lists_instruments(desk: Desk) -> None:
    asked = accounts.AccountInstruments(desk.account, params={"instruments": "EUR_USD,SPX500_USD"})
    found = desk.send(asked)["instruments"]
    assert [(item["name"], item["tradeUnitsPrecision"]) for item in found] == [("EUR_USD", 0), ("SPX500_USD", 1)]


@WALKS.of(accounts.AccountConfiguration)
def configures_an_account(desk: Desk) -> None:
    desk.send(accounts.AccountConfiguration(desk.account, data={"alias": "mine"}))
    assert desk.send(accounts.AccountSummary(desk.account))["account"]["alias"] == "mine"


@WALKS.of(accounts.AccountChanges)
def reads_changes(desk: Desk) -> None:
    order = desk.limit()
    found = desk.send(accounts.AccountChanges(desk.account, params={"sinceTransactionID": 2}))
    assert [item["id"] for item in found["changes"]["ordersCreated"]] == [order]


@WALKS.of(instruments.InstrumentsCandles)
def reads_candles(desk: Desk) -> None:
    asked = {"granularity": "M5", "from": "2026-01-05T00:00:00Z", "to": "2026-01-05T01:00:00Z", "price": "BA"}
    found = desk.send(instruments.InstrumentsCandles("EUR_USD", params=asked))["candles"]
    assert (len(found), set(found[0])) == (12, {"time", "volume", "complete", "bid", "ask"})


@WALKS.of(instruments.InstrumentsOrderBook, instruments.InstrumentsPositionBook)
def reads_books(desk: Desk) -> None:
    order_book = desk.send(instruments.InstrumentsOrderBook("EUR_USD"))["orderBook"]
    position_book = desk.send(instruments.InstrumentsPositionBook("EUR_USD"))["positionBook"]
    assert order_book["time"] == position_book["time"]
    assert order_book["buckets"]
    assert position_book["buckets"]


@WALKS.of(orders.OrderCreate)
def places_every_type_of_order(desk: Desk) -> None:
    trade = desk.buy(takeProfitOnFill=TakeProfitDetails(price=1.2).data, stopLossOnFill=StopLossDetails(price=1.0).data)
    placed = [
        LimitOrderRequest("EUR_USD", units=10, price=1.05),
        StopOrderRequest("EUR_USD", units=10, price=1.15),
        MITOrderRequest("EUR_USD", units=10, price=1.05),
        TrailingStopLossOrderRequest(trade, distance=0.01),
    ]
    types = [
        desk.send(orders.OrderCreate(desk.account, item.data))["orderCreateTransaction"]["type"] for item in placed
    ]
    assert types == ["LIMIT_ORDER", "STOP_ORDER", "MARKET_IF_TOUCHED_ORDER", "TRAILING_STOP_LOSS_ORDER"]


@WALKS.of(orders.OrderCreate)
def protects_a_trade_by_orders(desk: Desk) -> None:
    trade = desk.buy()
    for item in (TakeProfitOrderRequest(trade, price=1.2), StopLossOrderRequest(trade, price=1.0)):
        desk.send(orders.OrderCreate(desk.account, item.data))
    found = desk.send(trades.TradeDetails(desk.account, trade))["trade"]
    assert (found["takeProfitOrder"]["price"], found["stopLossOrder"]["price"]) == ("1.20000", "1.00000")


@WALKS.of(orders.OrderCreate)
def is_told_of_a_refusal(desk: Desk) -> None:
    data = LimitOrderRequest("EUR_USD", units=10, price=1.05).data
    data["order"]["price"] = "1.0500000001"
    with pytest.raises(V20Error, match="PRICE_PRECISION_EXCEEDED"):
        desk.send(orders.OrderCreate(desk.account, data))


@WALKS.of(orders.OrderList, orders.OrdersPending)
def lists_orders(desk: Desk) -> None:
    ids = {desk.limit(), desk.limit()}
    for asked in (orders.OrderList(desk.account, params={"instrument": "EUR_USD"}), orders.OrdersPending(desk.account)):
        assert {item["id"] for item in desk.send(asked)["orders"]} == ids


@WALKS.of(orders.OrderDetails)
def reads_an_order(desk: Desk) -> None:
    order = desk.limit()
    assert desk.send(orders.OrderDetails(desk.account, order))["order"]["state"] == "PENDING"


@WALKS.of(orders.OrderReplace)
def replaces_an_order(desk: Desk) -> None:
    order, data = desk.limit(), LimitOrderRequest("EUR_USD", units=5, price=1.07).data
    answer = desk.send(orders.OrderReplace(desk.account, order, data=data))
    assert answer["orderCreateTransaction"]["replacesOrderID"] == order


@WALKS.of(orders.OrderCancel)
def cancels_an_order(desk: Desk) -> None:
    order = desk.limit()
    assert desk.send(orders.OrderCancel(desk.account, order))["orderCancelTransaction"]["orderID"] == order


@WALKS.of(orders.OrderClientExtensions)
def names_an_order(desk: Desk) -> None:
    order = desk.limit()
    desk.send(orders.OrderClientExtensions(desk.account, order, data={"clientExtensions": {"id": "mine"}}))
    assert desk.send(orders.OrderDetails(desk.account, "@mine"))["order"]["id"] == order


@WALKS.of(positions.PositionList, positions.OpenPositions, positions.PositionDetails)
def reads_positions(desk: Desk) -> None:
    desk.buy()
    listed = desk.send(positions.PositionList(desk.account))["positions"]
    opened = desk.send(positions.OpenPositions(desk.account))["positions"]
    assert listed == opened == [desk.send(positions.PositionDetails(desk.account, "EUR_USD"))["position"]]


@WALKS.of(positions.PositionClose)
def closes_the_side_that_it_names(desk: Desk) -> None:
    desk.buy()
    answer = desk.send(positions.PositionClose(desk.account, "EUR_USD", data={"longUnits": "ALL"}))
    assert answer["longOrderFillTransaction"]["units"] == "-100"
    assert "shortOrderFillTransaction" not in answer


@WALKS.of(positions.PositionClose)
def closes_a_part_of_a_position(desk: Desk) -> None:
    desk.buy()
    data = PositionCloseRequest(longUnits=40).data
    assert (
        desk.send(positions.PositionClose(desk.account, "EUR_USD", data=data))["longOrderFillTransaction"]["units"]
        == "-40"
    )


@WALKS.of(pricing.PricingInfo)
def reads_prices(desk: Desk) -> None:
    asked = {"instruments": "EUR_USD,USD_JPY", "includeHomeConversions": "true"}
    found = desk.send(pricing.PricingInfo(desk.account, params=asked))
    assert [len(item["bids"]) for item in found["prices"]] == [3, 3]
    assert [item["currency"] for item in found["homeConversions"]] == ["EUR", "JPY", "USD"]


@WALKS.of(pricing.PricingStream)
def streams_prices(desk: Desk) -> None:
    request = pricing.PricingStream(desk.account, params={"instruments": "EUR_USD"})
    kinds = {next(stream)["type"] for stream in [desk.send(request)] for _ in range(2)}
    assert kinds == {"PRICE", "HEARTBEAT"}


@WALKS.of(trades.TradesList, trades.OpenTrades, trades.TradeDetails)
def reads_trades(desk: Desk) -> None:
    trade = desk.buy()
    found = desk.send(trades.TradeDetails(desk.account, trade))["trade"]
    assert desk.send(trades.OpenTrades(desk.account))["trades"] == [found]
    assert desk.send(trades.TradesList(desk.account, params={"instrument": "EUR_USD"}))["trades"] == [found]


@WALKS.of(trades.TradeCRCDO)
def protects_a_trade_in_one_call(desk: Desk) -> None:
    trade = desk.buy()
    details = {"takeProfit": {"timeInForce": "GTC", "price": "1.2"}, "stopLoss": {"timeInForce": "GTC", "price": "1.0"}}
    answer = desk.send(trades.TradeCRCDO(desk.account, trade, data=details))
    assert (answer["takeProfitOrderTransaction"]["price"], answer["stopLossOrderTransaction"]["price"]) == (
        "1.20000",
        "1.00000",
    )


@WALKS.of(trades.TradeClientExtensions)
def names_a_trade(desk: Desk) -> None:
    trade = desk.buy()
    desk.send(trades.TradeClientExtensions(desk.account, trade, data={"clientExtensions": {"id": "mine"}}))
    assert desk.send(trades.TradeDetails(desk.account, "@mine"))["trade"]["id"] == trade


@WALKS.of(trades.TradeClose)
def closes_a_trade_in_part_and_whole(desk: Desk) -> None:
    trade = desk.buy()
    part = desk.send(trades.TradeClose(desk.account, trade, data=TradeCloseRequest(units=40).data))
    rest = desk.send(trades.TradeClose(desk.account, trade))
    assert part["orderFillTransaction"]["tradeReduced"]["units"] == "-40"
    assert [item["units"] for item in rest["orderFillTransaction"]["tradesClosed"]] == ["-60"]


@WALKS.of(transactions.TransactionList)
def is_given_pages_of_transactions(desk: Desk) -> None:
    desk.buy()
    found = desk.send(transactions.TransactionList(desk.account, params={"pageSize": 3}))
    assert (found["count"], len(found["pages"])) == (4, 2)


@WALKS.of(transactions.TransactionDetails, transactions.TransactionIDRange, transactions.TransactionsSinceID)
def reads_transactions(desk: Desk) -> None:
    desk.buy()
    one = desk.send(transactions.TransactionDetails(desk.account, 4))["transaction"]
    ranged = desk.send(transactions.TransactionIDRange(desk.account, params={"from": 4, "to": 4}))["transactions"]
    since = desk.send(transactions.TransactionsSinceID(desk.account, params={"id": 3}))["transactions"]
    assert [one] == ranged == since


@WALKS.of(transactions.TransactionsStream)
def streams_transactions(desk: Desk) -> None:
    stream = desk.send(transactions.TransactionsStream(desk.account))
    assert next(stream)["lastTransactionID"] == "2"
    desk.buy()
    types = [next(item for item in stream if item["type"] != "HEARTBEAT")["type"] for _ in range(2)]
    assert types == ["MARKET_ORDER", "ORDER_FILL"]


@WALKS.each
async def test_oandapyv20(simulator: Simulator, monkeypatch: pytest.MonkeyPatch, step: Any) -> None:
    hosts = {"api": simulator.rest_url, "stream": simulator.stream_url}
    monkeypatch.setitem(oandapyV20.TRADING_ENVIRONMENTS, "practice", hosts)
    api = API(simulator.token, environment="practice")
    with closing(api.client):
        await asyncio.to_thread(step, Desk(api, simulator.account))


def test_every_endpoint_of_oandapyv20_is_walked_or_named_with_a_reason() -> None:
    names = [item.name for item in pkgutil.iter_modules(endpoints.__path__, f"{endpoints.__name__}.")]
    modules = [importlib.import_module(name) for name in names]
    classes = {item for module in modules for _, item in inspect.getmembers(module, inspect.isclass)}
    offered = {item for item in classes if issubclass(item, APIRequest) and vars(item).get("ENDPOINT")}

    assert WALKS.missing(offered) == set()
