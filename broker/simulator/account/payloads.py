"""JSON of an account and its market: numbers as texts, the names and shapes of v20's schema."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from broker.simulator.account.book import CLOSEOUT_SHARE, ZERO, AccountBook, RestingOrder, SimulatedTrade, money_texts
from broker.simulator.clock import rfc3339
from broker.simulator.market.instruments import LISTINGS
from broker.simulator.market.market import BUY, HOME, SELL, Price, Prices, conversion, value_at_home
from broker.simulator.v20.order_requests import DEPENDENTS

_LINKS = {kind: f"{key}Order" for key, kind in DEPENDENTS.items()}
"""Type of an order that closes a trade to the trade's field for it."""


def price(item: Price, prices: Prices, *, factors: bool = True) -> dict[str, Any]:
    """`ClientPrice`, of `pricing` and of its stream; without factors where home conversions are asked for."""
    bid, ask = str(item.bid), str(item.ask)
    found: dict[str, Any] = {
        "type": "PRICE",
        "instrument": item.instrument,
        "time": rfc3339(item.time_ns),
        "status": "tradeable" if item.tradeable else "non-tradeable",
        "tradeable": item.tradeable,
        # A number here, a text in `fullPrice` of a fill: as the venue sends it.
        "bids": [{"price": str(at), "liquidity": size} for at, size in item.levels(SELL)],
        "asks": [{"price": str(at), "liquidity": size} for at, size in item.levels(BUY)],
        "closeoutBid": bid,
        "closeoutAsk": ask,
    }
    if factors:
        home = conversion(LISTINGS[item.instrument].quote_currency, prices)
        found["quoteHomeConversionFactors"] = {"positiveUnits": home["gain"], "negativeUnits": home["loss"]}
    return found


def home_conversion(currency: str, prices: Prices) -> dict[str, str]:
    """`HomeConversions`: value of one unit of a currency in the account's."""
    factors, value = conversion(currency, prices), value_at_home(currency, prices)
    found = {"currency": currency, "accountGain": factors["gain"], "accountLoss": factors["loss"]}
    return found | {"positionValue": str(round(value, 12).normalize())}


def totals(book: AccountBook) -> dict[str, str]:
    """`CalculatedAccountState`: the figures of an account that depend on prices."""
    gain, used = book.unrealized(), book.margin_used()
    nav = book.balance + gain
    free = max(nav - used, Decimal(0))
    value = sum((book.notional(item.instrument, item.units) for item in book.open_trades()), Decimal(0))
    found = money_texts(unrealizedPL=gain, NAV=nav, marginUsed=used, positionValue=value)
    true_nav = found["NAV"]
    closeout = {f"marginCloseout{name[0].upper()}{name[1:]}": text for name, text in found.items()}
    found |= closeout | money_texts(marginAvailable=free, withdrawalLimit=free, marginCallMarginUsed=used)
    # 1 is the close-out: half of the margin against the equity (v20, `AccountSummary`).
    shares = {"marginCloseoutPercent": used * CLOSEOUT_SHARE, "marginCallPercent": used}
    found |= {name: str(round(part / nav, 5)) if nav > 0 else ZERO for name, part in shares.items()}
    return found | {"trueNAV": true_nav}


def summary(book: AccountBook) -> dict[str, Any]:
    """`AccountSummary`."""
    realized = sum(book.realized.values(), Decimal(0))
    found: dict[str, Any] = {"id": book.id, "alias": book.alias, "currency": HOME}
    found["hedgingEnabled"] = book.hedging_enabled
    found |= {"createdByUserID": book.user_id, "createdTime": rfc3339(book.created_ns)}
    found |= {"marginRate": str(book.margin_rate), "guaranteedStopLossOrderMode": "ALLOWED"}
    # The result is never reset here.
    found |= money_texts(balance=book.balance, pl=realized, resettablePL=realized, financing=book.financing)
    found |= money_texts(commission=book.commission, guaranteedExecutionFees=book.guaranteed_fees)
    # Fields of today's answers that the published schema does not have, and a time that says "never".
    found |= {"dividendAdjustment": "0", "resettablePLTime": "0", "lastTransactionID": book.last_id}
    found |= {"openTradeCount": len(book.open_trades()), "openPositionCount": len(book.instruments())}
    return {**found, "pendingOrderCount": len(book.pending()), **totals(book)}


def account(book: AccountBook) -> dict[str, Any]:
    """`Account`: the summary and everything that is open."""
    return {
        **summary(book),
        "trades": [trade_summary(item, book) for item in book.open_trades()],
        # Closed ones, too: v20 lists every instrument that ever traded.
        "positions": [position(name, book) for name in book.traded()],
        "orders": [order(item) for item in book.pending()],
    }


def state(book: AccountBook) -> dict[str, Any]:
    """`AccountChangesState`: changes that prices alone have made."""
    trailing = [item for item in book.pending() if item.trailing_value is not None]
    return {
        **totals(book),
        "orders": [{"id": item.id, "trailingStopValue": str(item.trailing_value)} for item in trailing],
        "trades": [{"id": item.id, **_trade_state(item, book)} for item in book.open_trades()],
        "positions": [_position_state(name, book) for name in book.instruments()],
    }


def _trade_state(item: SimulatedTrade, book: AccountBook) -> dict[str, str]:
    return money_texts(unrealizedPL=book.profit(item), marginUsed=book.margin(item.instrument, item.units))


def _position_state(instrument: str, book: AccountBook) -> dict[str, str]:
    longs, shorts = (book.unrealized(_on_side(instrument, sign, book)) for sign in (1, -1))
    found = money_texts(netUnrealizedPL=longs + shorts, longUnrealizedPL=longs, shortUnrealizedPL=shorts)
    return {"instrument": instrument, **found, **_margin(instrument, book)}


def _margin(instrument: str, book: AccountBook) -> dict[str, str]:
    return money_texts(marginUsed=book.margin(instrument, book.position(instrument)))


def _on_side(instrument: str, sign: int, book: AccountBook) -> list[SimulatedTrade]:
    return [item for item in book.open_trades(instrument) if item.units * sign > 0]


def trade(item: SimulatedTrade, book: AccountBook) -> dict[str, Any]:
    """`Trade`, with the orders that would close it in full."""
    linked = {_LINKS[waiting.spec.type]: order(waiting) for waiting in _linked(item, book)}
    return _trade(item, book) | linked


def trade_summary(item: SimulatedTrade, book: AccountBook) -> dict[str, Any]:
    """`TradeSummary`, with the orders that would close it by their ids."""
    linked = {f"{_LINKS[waiting.spec.type]}ID": waiting.id for waiting in _linked(item, book)}
    return _trade(item, book) | linked


def _linked(item: SimulatedTrade, book: AccountBook) -> list[RestingOrder]:
    return [waiting for waiting in book.pending_for(item.id) if waiting.spec.type in _LINKS]


def _trade(item: SimulatedTrade, book: AccountBook) -> dict[str, Any]:
    found: dict[str, Any] = {"id": item.id, "instrument": item.instrument, "state": item.state}
    found |= {"price": str(item.price), "openTime": rfc3339(item.open_time_ns)}
    found |= {"initialUnits": str(item.initial_units), "currentUnits": str(item.units)}
    found |= money_texts(initialMarginRequired=item.initial_margin)
    found |= money_texts(realizedPL=item.realized, financing=item.financing)
    if item.client:
        found["clientExtensions"] = dict(item.client)
    if item.closing_ids:
        found["closingTransactionIDs"] = list(item.closing_ids)
        # Only now: before the first reduction there is nothing to divide by.
        found["averageClosePrice"] = str(item.average_close_price)
    if item.state == "OPEN":
        return found | _trade_state(item, book)
    return found | {"closeTime": rfc3339(item.close_time_ns or 0)}


def order(item: RestingOrder) -> dict[str, Any]:
    """`Order` of its type."""
    found = {"id": item.id, "createTime": rfc3339(item.create_time_ns), "type": item.spec.type, "state": item.state}
    # Trailing stops have the first, market-if-touched orders the second.
    levels = {"trailingStopValue": item.trailing_value, "initialMarketPrice": item.touched_from}
    given = {name: str(level) for name, level in levels.items() if level is not None}
    found |= item.spec.payload()
    if "partialFill" in found:
        found["partialFill"] = "DEFAULT_FILL"
    return {**found, **item.outcome, **given}


def position(instrument: str, book: AccountBook) -> dict[str, Any]:
    """`Position`: both sides, of which one is empty without hedging."""
    realized = book.realized[instrument, 1] + book.realized[instrument, -1]
    return {
        "instrument": instrument,
        **_results(realized, book.unrealized(book.open_trades(instrument))),
        "commission": ZERO,
        **_margin(instrument, book),
        "long": _side(instrument, 1, book),
        "short": _side(instrument, -1, book),
    }


def _results(realized: Decimal, unrealized: Decimal) -> dict[str, str]:
    found = money_texts(pl=realized, resettablePL=realized, unrealizedPL=unrealized)
    return found | {"financing": ZERO, "guaranteedExecutionFees": ZERO}


def _side(instrument: str, sign: int, book: AccountBook) -> dict[str, Any]:
    trades = _on_side(instrument, sign, book)
    units = sum((item.units for item in trades), Decimal(0))
    found = {"units": str(units), **_results(book.realized[instrument, sign], book.unrealized(trades))}
    if not units:
        return found
    value = sum((item.units * item.price for item in trades), Decimal(0))
    average = str(LISTINGS[instrument].round(value / units))
    return found | {"averagePrice": average, "tradeIDs": [item.id for item in trades]}
