"""Requests that make, replace, cancel and close orders, in the venue's form: numbers are texts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from decimal import Decimal
from typing import Any
from urllib.parse import quote

from msgspec import Struct

from broker.domain import OrderRequest, OrderType, Protection, TimeInForce, TriggerCondition

DEPENDENT = frozenset(
    {OrderType.TAKE_PROFIT, OrderType.STOP_LOSS, OrderType.GUARANTEED_STOP_LOSS, OrderType.TRAILING_STOP_LOSS}
)
"""Orders that close a trade: they name it, and have neither instrument nor units of their own."""

_EVERY = frozenset({"time_in_force", "tag", "comment"})
_ENTRY = _EVERY | {"instrument", "side", "units", "position_fill", "take_profit", "stop_loss", "trailing_stop"}
_RESTS = frozenset({"expires_at", "trigger_condition"})
_OF_TRADE = _EVERY | _RESTS | {"trade_id"}
FIELDS: Mapping[OrderType, frozenset[str]] = {
    OrderType.MARKET: _ENTRY | {"price_bound"},
    # Without a price bound: its price is one.
    OrderType.LIMIT: _ENTRY | _RESTS | {"price"},
    OrderType.STOP: _ENTRY | _RESTS | {"price", "price_bound"},
    OrderType.MARKET_IF_TOUCHED: _ENTRY | _RESTS | {"price", "price_bound"},
    OrderType.TAKE_PROFIT: _OF_TRADE | {"price"},
    OrderType.STOP_LOSS: _OF_TRADE | {"price", "distance"},
    OrderType.GUARANTEED_STOP_LOSS: _OF_TRADE | {"price", "distance"},
    OrderType.TRAILING_STOP_LOSS: _OF_TRADE | {"distance"},
}
"""Fields of `OrderRequest` that each type of order has at the venue (v20, order definitions); no other is sent."""
_LEG = frozenset({"time_in_force", "expires_at", "tag", "comment"})
LEG_FIELDS: Mapping[str, frozenset[str]] = {
    "take_profit": _LEG | {"price", "distance"},
    "stop_loss": _LEG | {"price", "distance", "guaranteed"},
    "trailing_stop": _LEG | {"distance"},
}
"""The same of the orders that are attached to an order (v20, `TakeProfitDetails` and its like; since 2018 a
take-profit may be a distance, too)."""
RESTING = frozenset({TimeInForce.GTC, TimeInForce.GTD, TimeInForce.GFD})
_ANY_TIME = frozenset(TimeInForce)
TIMES: Mapping[OrderType, frozenset[TimeInForce]] = {
    **dict.fromkeys(OrderType, RESTING),
    OrderType.MARKET: frozenset({TimeInForce.FOK, TimeInForce.IOC}),
    OrderType.LIMIT: _ANY_TIME,
    OrderType.STOP: _ANY_TIME,
}
"""Times in force of each type; attached orders have those of RESTING."""
_SENT_AS = {"price": "price", "distance": "distance", "price_bound": "priceBound"}
_DETAILS = {"take_profit": "takeProfitOnFill", "stop_loss": "stopLossOnFill", "trailing_stop": "trailingStopLossOnFill"}


_OF_TRADE_NAMES = {
    OrderType.TAKE_PROFIT: "takeProfit",
    OrderType.STOP_LOSS: "stopLoss",
    OrderType.GUARANTEED_STOP_LOSS: "guaranteedStopLoss",
    OrderType.TRAILING_STOP_LOSS: "trailingStopLoss",
}


class VenueCall(Struct, frozen=True, kw_only=True):
    """One request to the venue, below `/v3/accounts/{account}`."""

    operation: str
    """Low-cardinality name, for metrics."""
    method: str
    path: str
    query: Mapping[str, str] | None = None
    body: Mapping[str, Any] | None = None
    of_account: bool = True
    """False if the path is below `/v3` itself."""
    may_lack_right: bool = False
    """True if a 401 or 403 may mean that the account has no right to it, and not that the token is dead."""


def number(value: Decimal) -> str:
    """Write a decimal as the venue does: no exponent, and trailing zeros stay."""
    # By `str`, Decimal("1E+2") keeps its exponent.
    return format(value, "f")


def create(request: OrderRequest, client_id: str) -> VenueCall:
    """Place an order."""
    body = {"order": _order(request, client_id)}
    return VenueCall(operation="create_order", method="POST", path="/orders", body=body)


def replace(request: OrderRequest, client_id: str, venue_order_id: str) -> VenueCall:
    """Cancel a resting order and place another, in one step at the venue."""
    body = {"order": _order(request, client_id)}
    return VenueCall(operation="replace_order", method="PUT", path=f"/orders/{part(venue_order_id)}", body=body)


def cancel(venue_order_id: str) -> VenueCall:
    """Cancel a resting order."""
    return VenueCall(operation="cancel_order", method="PUT", path=f"/orders/{part(venue_order_id)}/cancel")


def close_position(instrument: str, client_id: str, *, long: bool, units: Decimal | None) -> VenueCall:
    """Close one side of a position: `units` of it, or all."""
    amount = "ALL" if units is None else number(units)
    # ALL may be asked only of the side that exists; the other must be NONE (v20, position endpoint).
    side, other = ("long", "short") if long else ("short", "long")
    body = {f"{side}Units": amount, f"{side}ClientExtensions": {"id": client_id}, f"{other}Units": "NONE"}
    path = f"/positions/{part(instrument)}/close"
    return VenueCall(operation="close_position", method="PUT", path=path, body=body)


def close_trade(trade_id: str, units: Decimal | None) -> VenueCall:
    """Close a trade: `units` of it, or all. The venue takes no client id here."""
    body = {"units": "ALL" if units is None else number(units)}
    return VenueCall(operation="close_trade", method="PUT", path=f"/trades/{part(trade_id)}/close", body=body)


def change_trade_order(request: OrderRequest, client_id: str) -> VenueCall:
    """Give a trade a take-profit or stop, in place of the one of that type that it has; leave its others alone."""
    # The order that is replaced hands on what its successor does not name: without it, an end that nobody asked for.
    details = {"timeInForce": request.time_in_force.name, **protection(request, client_id)}
    body = {_OF_TRADE_NAMES[request.type]: details}
    path = f"/trades/{part(request.trade_id or '')}/orders"
    return VenueCall(operation="change_trade_orders", method="PUT", path=path, body=body)


def change_extensions(kind: str, venue_id: str, extensions: Mapping[str, str]) -> VenueCall:
    """Set tag and comment of an order or trade (`kind` is `order` or `trade`); an id that is left out is lost."""
    path = f"/{kind}s/{part(venue_id)}/clientExtensions"
    body = {"clientExtensions": extensions}
    return VenueCall(operation=f"change_{kind}_extensions", method="PUT", path=path, body=body)


def time_in_force(request: OrderRequest) -> TimeInForce:
    """Time in force to send: market orders know FOK and IOC only, so the default GTC means FOK for them."""
    if request.type is OrderType.MARKET and request.time_in_force is TimeInForce.GTC:
        return TimeInForce.FOK
    return request.time_in_force


def part(text: str) -> str:
    """Encode a text as one part of a path."""
    return quote(text, safe="")


def _order(request: OrderRequest, client_id: str) -> dict[str, Any]:
    fields = FIELDS[request.type]
    order: dict[str, Any] = {"type": request.type.name, "timeInForce": time_in_force(request).name}
    order["clientExtensions"] = _extensions(request, id=client_id)
    if "trade_id" in fields:
        order["tradeID"] = request.trade_id
    else:
        order["instrument"] = request.instrument
        order["units"] = number(request.units * request.side.sign)
        order["positionFill"] = request.position_fill.name
        for name, key in _DETAILS.items():
            leg: Protection | None = getattr(request, name)
            if leg is not None:
                order["guaranteedStopLossOnFill" if leg.guaranteed else key] = protection(leg)
    for name, key in _SENT_AS.items():
        value: Decimal | None = getattr(request, name)
        if value is not None and name in fields:
            order[key] = number(value)
    if request.trigger_condition is not TriggerCondition.DEFAULT and "trigger_condition" in fields:
        order["triggerCondition"] = request.trigger_condition.name
    return order | _expiry(request)


def protection(wanted: Protection | OrderRequest, client_id: str | None = None) -> dict[str, Any]:
    """Details of an order that is attached to an order or to a trade."""
    details: dict[str, Any] = {}
    if wanted.price is not None:
        details["price"] = number(wanted.price)
    if wanted.distance is not None:
        details["distance"] = number(wanted.distance)
    if wanted.time_in_force is not TimeInForce.GTC:
        details["timeInForce"] = wanted.time_in_force.name
    if extensions := _extensions(wanted, id=client_id):
        details["clientExtensions"] = extensions
    return details | _expiry(wanted)


def _extensions(wanted: OrderRequest | Protection, **given: str | None) -> dict[str, str]:
    found = {**given, "tag": wanted.tag, "comment": wanted.comment}
    return {key: value for key, value in found.items() if value is not None}


def _expiry(wanted: OrderRequest | Protection) -> dict[str, str]:
    if wanted.time_in_force is not TimeInForce.GTD or wanted.expires_at is None:
        return {}
    return {"gtdTime": wanted.expires_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")}
