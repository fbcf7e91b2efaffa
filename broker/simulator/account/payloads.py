"""JSON of an account and its market: numbers as texts, the names and shapes of v20's schema."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from broker.simulator.account.account import (
    CLOSEOUT_SHARE,
    ZERO,
    AccountBook,
    RestingOrder,
    SimulatedTrade,
    money,
    notional,
    profit,
)
from broker.simulator.clock import rfc3339
from broker.simulator.market.instruments import LISTINGS
from broker.simulator.market.market import HOME, Price, Prices, home_factor, value_at_home


def price(item: Price, prices: Prices) -> dict[str, Any]:
    """`ClientPrice`, of `pricing` and of its stream."""
    factor = str(home_factor(item.instrument, prices))
    return {
        "type": "PRICE",
        "instrument": item.instrument,
        "time": rfc3339(item.time_ns),
        "status": "tradeable" if item.tradeable else "non-tradeable",
        "tradeable": item.tradeable,
        # A number here, a text in `fullPrice` of a fill: as the venue sends it.
        "bids": [{"price": str(item.bid), "liquidity": item.liquidity}],
        "asks": [{"price": str(item.ask), "liquidity": item.liquidity}],
        "closeoutBid": str(item.bid),
        "closeoutAsk": str(item.ask),
        "quoteHomeConversionFactors": {"positiveUnits": factor, "negativeUnits": factor},
    }


def home_conversion(currency: str, prices: Prices) -> dict[str, str]:
    """`HomeConversions`: value of one unit of a currency in the account's."""
    text = str(round(value_at_home(currency, prices), 8))
    # Gain and loss alike: conversion has no mark-up here.
    return {"currency": currency, "accountGain": text, "accountLoss": text, "positionValue": text}


def totals(book: AccountBook, prices: Prices) -> dict[str, str]:
    """`CalculatedAccountState`: the figures of an account that depend on prices."""
    unrealized = book.unrealized(prices)
    nav = book.balance + unrealized
    used = book.margin_used(prices)
    free = str(money(max(nav - used, Decimal(0))))
    value = str(
        money(sum((notional(item.instrument, item.units, prices) for item in book.open_trades()), Decimal(0)))
    )
    return {
        "unrealizedPL": str(unrealized),
        "NAV": str(money(nav)),
        "marginUsed": str(used),
        "marginAvailable": free,
        "positionValue": value,
        "marginCloseoutUnrealizedPL": str(unrealized),
        "marginCloseoutNAV": str(money(nav)),
        "marginCloseoutMarginUsed": str(used),
        # 1 is the close-out: half of the margin against the equity (v20, `AccountSummary`).
        "marginCloseoutPercent": _share(used * CLOSEOUT_SHARE, nav),
        "marginCloseoutPositionValue": value,
        "withdrawalLimit": free,
        "marginCallMarginUsed": str(used),
        "marginCallPercent": _share(used, nav),
    }


def _share(part: Decimal, whole: Decimal) -> str:
    return str(round(part / whole, 5)) if whole > 0 else ZERO


def summary(book: AccountBook, prices: Prices) -> dict[str, Any]:
    """`AccountSummary`."""
    realized = str(money(sum(book.realized.values(), Decimal(0))))
    return {
        "id": book.id,
        "alias": book.alias,
        "currency": HOME,
        "createdByUserID": book.user_id,
        "createdTime": rfc3339(book.created_ns),
        "guaranteedStopLossOrderMode": "ALLOWED",
        "hedgingEnabled": False,
        "marginRate": str(book.margin_rate),
        "balance": str(money(book.balance)),
        "pl": realized,
        # Never reset here.
        "resettablePL": realized,
        "financing": str(money(book.financing)),
        "commission": ZERO,
        "guaranteedExecutionFees": ZERO,
        "openTradeCount": len(book.open_trades()),
        "openPositionCount": len(book.instruments()),
        "pendingOrderCount": len(book.pending()),
        "lastTransactionID": book.last_id,
        **totals(book, prices),
    }


def account(book: AccountBook, prices: Prices) -> dict[str, Any]:
    """`Account`: the summary and everything that is open."""
    return {
        **summary(book, prices),
        "trades": [trade_summary(item, book, prices) for item in book.open_trades()],
        # Closed ones, too: v20 lists every instrument that ever traded.
        "positions": [position(name, book, prices) for name in book.traded()],
        "orders": [order(item) for item in book.pending()],
    }


def state(book: AccountBook, prices: Prices) -> dict[str, Any]:
    """`AccountChangesState`: changes that prices alone have made."""
    trailing = [item for item in book.pending() if item.trailing_value is not None]
    return {
        **totals(book, prices),
        "orders": [{"id": item.id, "trailingStopValue": str(item.trailing_value)} for item in trailing],
        "trades": [
            {
                "id": item.id,
                "unrealizedPL": str(money(profit(item, prices))),
                "marginUsed": str(money(book.margin(item.instrument, item.units, prices))),
            }
            for item in book.open_trades()
        ],
        "positions": [_position_state(name, book, prices) for name in book.instruments()],
    }


def _position_state(instrument: str, book: AccountBook, prices: Prices) -> dict[str, str]:
    trades = book.open_trades(instrument)
    longs = book.unrealized(prices, [item for item in trades if item.units > 0])
    shorts = book.unrealized(prices, [item for item in trades if item.units < 0])
    return {
        "instrument": instrument,
        "netUnrealizedPL": str(longs + shorts),
        "longUnrealizedPL": str(longs),
        "shortUnrealizedPL": str(shorts),
        "marginUsed": str(money(book.margin(instrument, book.position(instrument), prices))),
    }


_LINKS = {
    "TAKE_PROFIT": "takeProfitOrder",
    "STOP_LOSS": "stopLossOrder",
    "GUARANTEED_STOP_LOSS": "guaranteedStopLossOrder",
    "TRAILING_STOP_LOSS": "trailingStopLossOrder",
}


def trade(item: SimulatedTrade, book: AccountBook, prices: Prices) -> dict[str, Any]:
    """`Trade`, with the orders that would close it in full."""
    linked = {_LINKS[waiting.spec.type]: order(waiting) for waiting in _linked(item, book)}
    return _trade(item, book, prices) | linked


def trade_summary(item: SimulatedTrade, book: AccountBook, prices: Prices) -> dict[str, Any]:
    """`TradeSummary`, with the orders that would close it by their ids."""
    linked = {f"{_LINKS[waiting.spec.type]}ID": waiting.id for waiting in _linked(item, book)}
    return _trade(item, book, prices) | linked


def _linked(item: SimulatedTrade, book: AccountBook) -> list[RestingOrder]:
    return [waiting for waiting in book.pending_for(item.id) if waiting.spec.type in _LINKS]


def _trade(item: SimulatedTrade, book: AccountBook, prices: Prices) -> dict[str, Any]:
    found: dict[str, Any] = {
        "id": item.id,
        "instrument": item.instrument,
        "price": str(item.price),
        "openTime": rfc3339(item.open_time_ns),
        "initialUnits": str(item.initial_units),
        "initialMarginRequired": str(item.initial_margin),
        "state": item.state,
        "currentUnits": str(item.units),
        "realizedPL": str(money(item.realized)),
        "financing": str(money(item.financing)),
    }
    if item.client:
        found["clientExtensions"] = dict(item.client)
    if item.closing_ids:
        found["closingTransactionIDs"] = list(item.closing_ids)
        # Only now: before the first reduction there is nothing to divide by.
        found["averageClosePrice"] = str(item.average_close_price)
    if item.state == "OPEN":
        found["unrealizedPL"] = str(money(profit(item, prices)))
        found["marginUsed"] = str(money(book.margin(item.instrument, item.units, prices)))
    else:
        found["closeTime"] = rfc3339(item.close_time_ns or 0)
    return found


def order(item: RestingOrder) -> dict[str, Any]:
    """`Order` of its type."""
    found: dict[str, Any] = {
        "id": item.id,
        "createTime": rfc3339(item.create_time_ns),
        "type": item.spec.type,
        "state": item.state,
        **item.spec.payload(),
        **item.outcome,
    }
    if item.trailing_value is not None:
        # Trailing stops only; market-if-touched orders below.
        found["trailingStopValue"] = str(item.trailing_value)
    if item.touched_from is not None:
        found["initialMarketPrice"] = str(item.touched_from)
    return found


def position(instrument: str, book: AccountBook, prices: Prices) -> dict[str, Any]:
    """`Position`: both sides, of which one is empty without hedging."""
    trades = book.open_trades(instrument)
    return {
        "instrument": instrument,
        **_results(book.realized[instrument, 1] + book.realized[instrument, -1], book.unrealized(prices, trades)),
        "commission": ZERO,
        "marginUsed": str(money(book.margin(instrument, book.position(instrument), prices))),
        "long": _side(instrument, 1, book, prices),
        "short": _side(instrument, -1, book, prices),
    }


def _results(realized: Decimal, unrealized: Decimal) -> dict[str, str]:
    return {
        "pl": str(money(realized)),
        "resettablePL": str(money(realized)),
        "unrealizedPL": str(unrealized),
        "financing": ZERO,
        "guaranteedExecutionFees": ZERO,
    }


def _side(instrument: str, sign: int, book: AccountBook, prices: Prices) -> dict[str, Any]:
    trades = [item for item in book.open_trades(instrument) if item.units * sign > 0]
    units = sum((item.units for item in trades), Decimal(0))
    found: dict[str, Any] = {
        "units": str(units),
        **_results(book.realized[instrument, sign], book.unrealized(prices, trades)),
    }
    if units:
        value = sum((item.units * item.price for item in trades), Decimal(0))
        found["averagePrice"] = str(LISTINGS[instrument].round(value / units))
        found["tradeIDs"] = [item.id for item in trades]
    return found


def read_body(book: AccountBook, **found: Any) -> dict[str, Any]:
    """Body of a read."""
    return {**found, "lastTransactionID": book.last_id}
