"""Answers of the venue as domain values; unknown fields and reference values are let through."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from msgspec import Struct

from broker.domain import (
    Account,
    Instrument,
    Operation,
    OrderRequest,
    OrderType,
    Position,
    PositionFill,
    Protection,
    Quote,
    Side,
    TimeInForce,
    TriggerCondition,
)
from broker.venue.v20.transactions import Transaction, decimal, parse_time, parse_transaction

Json = Mapping[str, Any]
_ORDERS_OF_TRADE = {
    "take_profit": "takeProfitOrder",
    "stop_loss": "stopLossOrder",
    "guaranteed_stop_loss": "guaranteedStopLossOrder",
    "trailing_stop": "trailingStopLossOrder",
}
_DETAILS = ("pl", "unrealizedPL", "financing", "commission", "marginRate", "withdrawalLimit", "hedgingEnabled")


class OrderAnswer(Struct, frozen=True, kw_only=True):
    """Answer to a create, replace, cancel or close: transactions by id, and the venue's words."""

    transactions: tuple[Transaction, ...] = ()
    last_transaction_id: int | None = None
    error_code: str | None = None
    error_message: str | None = None
    request_id: str | None = None


def parse_answer(body: Json, request_id: str | None = None) -> OrderAnswer:
    """Parse every `*Transaction` of an answer, also of one that refuses.

    Raises ValueError: a transaction cannot be read.
    """
    items = (value for key, value in body.items() if key.endswith("Transaction") and isinstance(value, Mapping))
    found = {item.id: item for item in map(parse_transaction, items)}
    last = body.get("lastTransactionID")
    return OrderAnswer(
        # By id: an answer names its transactions in no certain order.
        transactions=tuple(found[key] for key in sorted(found)),
        last_transaction_id=int(last) if last is not None else None,
        error_code=body.get("errorCode") or body.get("rejectReason"),
        error_message=body.get("errorMessage"),
        request_id=request_id,
    )


class TransactionPage(Struct, frozen=True, kw_only=True):
    """Part of the account's log, sorted by id, and the log's last id at that moment."""

    transactions: tuple[Transaction, ...]
    last_transaction_id: int


def parse_page(body: Json) -> TransactionPage:
    """Parse the answer of `transactions/sinceid` and `idrange`. Raises ValueError, KeyError: not that answer."""
    items = sorted(map(parse_transaction, body["transactions"]), key=lambda item: item.id)
    return TransactionPage(transactions=tuple(items), last_transaction_id=int(body["lastTransactionID"]))


def parse_account(body: Json) -> Account:
    """Parse the answer of `summary`."""
    summary = body["account"]
    return Account(
        id=summary["id"],
        currency=summary["currency"],
        balance=decimal(summary["balance"], "balance"),
        nav=decimal(summary["NAV"], "NAV"),
        margin_used=decimal(summary["marginUsed"], "marginUsed"),
        margin_available=decimal(summary["marginAvailable"], "marginAvailable"),
        margin_closeout_ratio=decimal(summary.get("marginCloseoutPercent"), "marginCloseoutPercent"),
        open_orders=int(summary["pendingOrderCount"]),
        open_trades=int(summary["openTradeCount"]),
        open_positions=int(summary["openPositionCount"]),
        last_transaction_id=str(body.get("lastTransactionID") or summary["lastTransactionID"]),
        details={key: str(summary[key]) for key in _DETAILS if key in summary},
    )


def parse_instrument(raw: Json) -> Instrument:
    """Parse one instrument of the answer of `instruments`."""
    return Instrument(
        name=raw["name"],
        display_precision=int(raw["displayPrecision"]),
        units_precision=int(raw.get("tradeUnitsPrecision", 0)),
        pip_location=int(raw["pipLocation"]),
        minimum_units=decimal(raw.get("minimumTradeSize", "1"), "minimumTradeSize"),
        maximum_units=decimal(raw.get("maximumOrderUnits"), "maximumOrderUnits"),
        margin_rate=decimal(raw.get("marginRate"), "marginRate"),
        kind=str(raw.get("type", "CURRENCY")),
    )


def parse_quote(raw: Json, received_at: datetime) -> Quote | None:
    """Parse a price of `pricing` or its stream; None where it has no bid or no ask."""
    bids, asks = raw.get("bids"), raw.get("asks")
    if not bids or not asks:
        return None
    return Quote(
        instrument=raw["instrument"],
        # The first level only: checks compare with the best price.
        bid=decimal(bids[0]["price"], "bid"),
        ask=decimal(asks[0]["price"], "ask"),
        time=parse_time(raw["time"]),
        received_at=received_at,
        tradeable=bool(raw.get("tradeable", True)),
    )


def parse_position(raw: Json) -> Position:
    """Parse a position: the net of its long and short side."""
    long, short = raw.get("long") or {}, raw.get("short") or {}
    long_units, short_units = decimal(long.get("units"), "long.units"), decimal(short.get("units"), "short.units")
    # Without hedging one of the sides is empty: the other one has the average price.
    side = long if long_units else short
    average = side.get("averagePrice")
    return Position(
        instrument=raw["instrument"],
        units=long_units + short_units,
        average_price=decimal(average, "averagePrice") if average is not None else None,
        unrealized_profit=decimal(raw.get("unrealizedPL"), "unrealizedPL"),
        realized_profit=decimal(raw.get("pl"), "pl"),
    )


class VenueOrder(Struct, frozen=True, kw_only=True):
    """A resting order as the venue holds it."""

    id: str
    client_id: str | None
    time: datetime
    request: OrderRequest


def parse_order(raw: Json, account: str, client: str) -> VenueOrder:
    """Parse a resting order, or the transaction that made or refused it, as the request that it amounts to."""
    units = decimal(raw.get("units"), "units")
    extensions = raw.get("clientExtensions") or {}
    order_id = str(raw["id"])
    kind = str(raw.get("type", "")).removesuffix("_REJECT").removesuffix("_ORDER")
    request = OrderRequest(
        client_order_id=f"venue:{order_id}",
        client=client,
        account=account,
        instrument=str(raw.get("instrument", "")),
        # Unknown types and options stand as a limit order's: the venue decides by its own object, not by ours.
        type=_member(OrderType, kind, OrderType.LIMIT),
        side=Side.SELL if units < 0 else Side.BUY,
        units=abs(units),
        price=decimal(raw["price"], "price") if "price" in raw else None,
        distance=decimal(raw["distance"], "distance") if "distance" in raw else None,
        price_bound=decimal(raw["priceBound"], "priceBound") if "priceBound" in raw else None,
        time_in_force=_member(TimeInForce, raw.get("timeInForce", ""), TimeInForce.GTC),
        expires_at=_expiry(raw),
        position_fill=_member(PositionFill, raw.get("positionFill", ""), PositionFill.DEFAULT),
        trigger_condition=_member(TriggerCondition, raw.get("triggerCondition", ""), TriggerCondition.DEFAULT),
        take_profit=_protection(raw.get("takeProfitOnFill")),
        # One of the two at most: a trade has one stop loss, guaranteed or not.
        stop_loss=_protection(raw.get("guaranteedStopLossOnFill"), guaranteed=True)
        or _protection(raw.get("stopLossOnFill")),
        trailing_stop=_protection(raw.get("trailingStopLossOnFill")),
        trade_id=raw.get("tradeID"),
        tag=extensions.get("tag"),
        comment=extensions.get("comment"),
        **_origin(raw),
    )
    time = parse_time(raw.get("createTime") or raw.get("time"))
    return VenueOrder(id=order_id, client_id=extensions.get("id"), time=time, request=request)


def _expiry(raw: Json) -> datetime | None:
    return parse_time(raw["gtdTime"]) if raw.get("gtdTime") else None


def _protection(raw: Json | None, *, guaranteed: bool = False) -> Protection | None:
    """An order to attach when the order fills."""
    if not raw:
        return None
    extensions = raw.get("clientExtensions") or {}
    return Protection(
        price=decimal(raw["price"], "price") if "price" in raw else None,
        distance=decimal(raw["distance"], "distance") if "distance" in raw else None,
        guaranteed=guaranteed or bool(raw.get("guaranteed")),
        time_in_force=_member(TimeInForce, raw.get("timeInForce", ""), TimeInForce.GTC),
        expires_at=_expiry(raw),
        tag=extensions.get("tag"),
        comment=extensions.get("comment"),
    )


def ended_order(transaction: Transaction) -> Json:
    """The order that a fill or a cancel is about, as far as they tell it, in the venue's form."""
    raw = transaction.raw
    # The reason of a fill begins with the type: LIMIT_ORDER, MARKET_ORDER_TRADE_CLOSE, …
    kind = "MARKET" if str(raw.get("reason", "")).startswith("MARKET_ORDER") else str(raw.get("reason", ""))
    asked = raw.get("requestedUnits") or raw.get("units")
    extensions = {"id": transaction.client_id} if transaction.client_id else {}
    order = {"id": transaction.order_id, "type": kind, "units": asked, "time": raw.get("time")}
    return {**order, "instrument": raw.get("instrument", ""), "clientExtensions": extensions}


def _origin(raw: Json) -> dict[str, Any]:
    """Operation that made an order, with its target, as far as the venue tells it."""
    if (trade := raw.get("tradeClose")) is not None:
        closes_all = trade.get("units") == "ALL"
        return {"operation": Operation.CLOSE_TRADE, "target": str(trade.get("tradeID")), "closes_all": closes_all}
    if (closeout := raw.get("longPositionCloseout") or raw.get("shortPositionCloseout")) is not None:
        closes_all = closeout.get("units") == "ALL"
        return {"operation": Operation.CLOSE_POSITION, "target": closeout.get("instrument"), "closes_all": closes_all}
    if (replaced := raw.get("replacesOrderID")) is not None:
        return {"operation": Operation.REPLACE, "target": f"venue-{replaced}"}
    return {"operation": Operation.PLACE}


def _member(kind: Any, name: str, default: Any) -> Any:
    return kind.__members__.get(name, default)


class VenueTrade(Struct, frozen=True, kw_only=True):
    """A trade as the venue holds it."""

    id: str
    instrument: str
    units: Decimal
    """Signed; shrinks as the trade is closed in parts, to zero."""
    initial_units: Decimal
    price: Decimal
    opened_at: datetime
    is_open: bool = True
    closed_at: datetime | None = None
    average_close_price: Decimal | None = None
    unrealized_profit: Decimal
    realized_profit: Decimal = Decimal(0)
    financing: Decimal = Decimal(0)
    margin_used: Decimal = Decimal(0)
    client_id: str | None = None
    tag: str | None = None
    comment: str | None = None
    take_profit: VenueOrder | None = None
    stop_loss: VenueOrder | None = None
    guaranteed_stop_loss: VenueOrder | None = None
    trailing_stop: VenueOrder | None = None


def parse_trade(raw: Json, account: str = "", client: str = "") -> VenueTrade:
    """Parse one trade of the answers of `openTrades` and `trades`."""
    units, extensions = decimal(raw["currentUnits"], "currentUnits"), raw.get("clientExtensions") or {}
    orders = {
        name: parse_order(raw[key], account, client)
        for name, key in _ORDERS_OF_TRADE.items()
        if raw.get(key) is not None
    }
    average = raw.get("averageClosePrice")
    return VenueTrade(
        id=str(raw["id"]),
        instrument=raw["instrument"],
        units=units,
        initial_units=decimal(raw.get("initialUnits", raw["currentUnits"]), "initialUnits"),
        price=decimal(raw["price"], "price"),
        opened_at=parse_time(raw.get("openTime")),
        is_open=raw.get("state", "OPEN") == "OPEN",
        closed_at=parse_time(raw["closeTime"]) if raw.get("closeTime") else None,
        average_close_price=decimal(average, "averageClosePrice") if average is not None else None,
        unrealized_profit=decimal(raw.get("unrealizedPL"), "unrealizedPL"),
        realized_profit=decimal(raw.get("realizedPL"), "realizedPL"),
        financing=decimal(raw.get("financing"), "financing"),
        margin_used=decimal(raw.get("marginUsed"), "marginUsed"),
        client_id=extensions.get("id"),
        tag=extensions.get("tag"),
        comment=extensions.get("comment"),
        **orders,
    )


def parse_conversions(body: Json) -> dict[str, Decimal]:
    """Parse the factors from quote currencies to the account's, by instrument, from the answer of `pricing`.

    They are in `homeConversions`, by currency, or in an older answer in each price.
    """
    of_currency = {
        raw["currency"]: decimal(raw["positionValue"], "positionValue")
        for raw in body.get("homeConversions") or ()
        if "positionValue" in raw
    }
    found: dict[str, Decimal] = {}
    for raw in body["prices"]:
        units, name = raw.get("quoteHomeConversionFactors") or {}, raw["instrument"]
        values = [decimal(units[key], key) for key in ("positiveUnits", "negativeUnits") if key in units]
        # The larger of the two: a limit on notional must never be understated.
        if (factor := max(values, default=of_currency.get(name.rpartition("_")[2]))) is not None:
            found[name] = factor
    return found
