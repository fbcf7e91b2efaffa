"""The simulated venue's JSON: numbers as texts, the names and shapes of v20's schema."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from broker.simulator.account import CLOSEOUT_SHARE, AccountBook, RestingOrder, Trade, margin, money, profit
from broker.simulator.clock import rfc3339
from broker.simulator.market import HOME, LIQUIDITY, Price, home_factor
from broker.simulator.matching import describe

Prices = Mapping[str, Price]
ZERO = "0.0000"


def price(item: Price, prices: Prices) -> dict[str, Any]:
    """A `ClientPrice`, of `pricing` and of its stream."""
    factor = str(home_factor(item.instrument, prices))
    return {
        "type": "PRICE",
        "instrument": item.instrument,
        "time": rfc3339(item.time_ns),
        "status": "tradeable" if item.tradeable else "non-tradeable",
        "tradeable": item.tradeable,
        "bids": [{"price": str(item.bid), "liquidity": LIQUIDITY}],
        "asks": [{"price": str(item.ask), "liquidity": LIQUIDITY}],
        "closeoutBid": str(item.bid),
        "closeoutAsk": str(item.ask),
        "quoteHomeConversionFactors": {"positiveUnits": factor, "negativeUnits": factor},
    }


def summary(book: AccountBook, prices: Prices) -> dict[str, Any]:
    """An `AccountSummary`."""
    unrealized = book.unrealized(prices)
    nav = book.balance + unrealized
    used = book.margin_used(prices)
    closeout = used * CLOSEOUT_SHARE
    trades = book.open_trades()
    realized = money(sum(book.realized.values(), Decimal(0)))
    return {
        "id": book.id,
        "alias": "Simulated",
        "currency": HOME,
        "createdByUserID": book.user_id,
        "createdTime": rfc3339(0),
        "guaranteedStopLossOrderMode": "ALLOWED",
        "resettablePL": str(realized),
        "commission": ZERO,
        "financing": ZERO,
        "guaranteedExecutionFees": ZERO,
        "marginRate": "0.0333",
        "hedgingEnabled": False,
        "balance": str(money(book.balance)),
        "pl": str(realized),
        "unrealizedPL": str(unrealized),
        "NAV": str(money(nav)),
        "marginUsed": str(used),
        "marginAvailable": str(money(max(nav - used, Decimal(0)))),
        "positionValue": str(_value(trades, prices)),
        "marginCloseoutUnrealizedPL": str(unrealized),
        "marginCloseoutNAV": str(money(nav)),
        "marginCloseoutMarginUsed": str(used),
        "marginCloseoutPercent": str(money(closeout / nav)) if nav > 0 else ZERO,
        "marginCloseoutPositionValue": str(_value(trades, prices)),
        "withdrawalLimit": str(money(max(nav - used, Decimal(0)))),
        "marginCallMarginUsed": str(used),
        "marginCallPercent": str(money(used / nav)) if nav > 0 else ZERO,
        "openTradeCount": len(trades),
        "openPositionCount": len({item.instrument for item in trades}),
        "pendingOrderCount": len(book.pending()),
        "lastTransactionID": book.last_id,
    }


def _value(trades: list[Trade], prices: Prices) -> Decimal:
    values = (abs(item.units) * prices[item.instrument].mid * home_factor(item.instrument, prices) for item in trades)
    return money(sum(values, Decimal(0)))


def trade(item: Trade, book: AccountBook, prices: Prices) -> dict[str, Any]:
    """A `Trade`."""
    found: dict[str, Any] = {
        "id": item.id,
        "instrument": item.instrument,
        "price": str(item.price),
        "openTime": rfc3339(item.open_time_ns),
        "initialUnits": str(item.initial_units),
        "state": item.state,
        "currentUnits": str(item.units),
        "realizedPL": str(money(item.realized)),
        "financing": ZERO,
    }
    if item.client:
        found["clientExtensions"] = dict(item.client)
    if item.state == "OPEN":
        found["unrealizedPL"] = str(money(profit(item, prices)))
        found["marginUsed"] = str(money(margin(item.instrument, item.units, prices)))
    else:
        found["closeTime"] = rfc3339(item.close_time_ns or 0)
        found["averageClosePrice"] = str(item.close_price)
    for waiting in book.pending():
        if waiting.spec.trade_id == item.id:
            found[_LINKS[waiting.spec.type]] = order(waiting)
    return found


_LINKS = {
    "TAKE_PROFIT": "takeProfitOrder",
    "STOP_LOSS": "stopLossOrder",
    "GUARANTEED_STOP_LOSS": "guaranteedStopLossOrder",
    "TRAILING_STOP_LOSS": "trailingStopLossOrder",
}


def order(item: RestingOrder) -> dict[str, Any]:
    """An `Order` of its type."""
    found = {
        "id": item.id,
        "createTime": rfc3339(item.create_time_ns),
        "type": item.spec.type,
        "state": item.state,
        **describe(item.spec),
    }
    if item.trailing_value is not None:
        found["trailingStopValue"] = str(item.trailing_value)
    if item.filled_by is not None:
        found["fillingTransactionID"] = item.filled_by
    if item.cancelled_by is not None:
        found["cancellingTransactionID"] = item.cancelled_by
    return found


def position(instrument: str, book: AccountBook, prices: Prices) -> dict[str, Any]:
    """A `Position`: both sides, of which one is zero without hedging."""
    trades = book.open_trades(instrument)
    realized = str(money(book.realized.get(instrument, Decimal(0))))
    return {
        "instrument": instrument,
        "pl": realized,
        "resettablePL": realized,
        "unrealizedPL": str(book.unrealized(prices, trades)),
        "financing": ZERO,
        "commission": ZERO,
        "guaranteedExecutionFees": ZERO,
        "marginUsed": str(money(margin(instrument, book.position(instrument), prices))),
        "long": _side([item for item in trades if item.units > 0], book, prices),
        "short": _side([item for item in trades if item.units < 0], book, prices),
    }


def _side(trades: list[Trade], book: AccountBook, prices: Prices) -> dict[str, Any]:
    units = sum((item.units for item in trades), Decimal(0))
    found: dict[str, Any] = {
        "units": str(units),
        "pl": ZERO,
        "resettablePL": ZERO,
        "unrealizedPL": str(book.unrealized(prices, trades)),
        "financing": ZERO,
        "guaranteedExecutionFees": ZERO,
    }
    if units:
        value = sum((item.units * item.price for item in trades), Decimal(0))
        found["averagePrice"] = str(round(value / units, 5))
        found["tradeIDs"] = [item.id for item in trades]
    return found
