"""Requests that make, replace, cancel and close orders, in the venue's form: numbers are texts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from decimal import Decimal
from typing import Any
from urllib.parse import quote

from msgspec import Struct

from broker.domain import OrderRequest, OrderType, Protection, TimeInForce

DEPENDENT = frozenset(
    {OrderType.TAKE_PROFIT, OrderType.STOP_LOSS, OrderType.GUARANTEED_STOP_LOSS, OrderType.TRAILING_STOP_LOSS}
)
"""Orders that close a trade: they name it, and have neither instrument nor units of their own."""
# A limit order has no priceBound in v20: its price is one.
BOUNDED = frozenset({OrderType.MARKET, OrderType.STOP, OrderType.MARKET_IF_TOUCHED})


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


def time_in_force(request: OrderRequest) -> TimeInForce:
    """Time in force to send: market orders know FOK and IOC only, so the default GTC means FOK for them."""
    if request.type is OrderType.MARKET and request.time_in_force is TimeInForce.GTC:
        return TimeInForce.FOK
    return request.time_in_force


def part(text: str) -> str:
    """Encode a text as one part of a path."""
    return quote(text, safe="")


def _order(request: OrderRequest, client_id: str) -> dict[str, Any]:
    extensions = {"id": client_id, "tag": request.tag, "comment": request.comment}
    order: dict[str, Any] = {"type": request.type.name, "timeInForce": time_in_force(request).name}
    order["clientExtensions"] = {key: value for key, value in extensions.items() if value is not None}
    order |= _dependent(request) if request.type in DEPENDENT else _entry(request)
    if request.price is not None and request.type is not OrderType.MARKET:
        order["price"] = number(request.price)
    if request.time_in_force is TimeInForce.GTD and request.expires_at is not None:
        order["gtdTime"] = request.expires_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
    return order


def _dependent(request: OrderRequest) -> dict[str, Any]:
    distance = {} if request.distance is None else {"distance": number(request.distance)}
    return {"tradeID": request.trade_id, **distance}


def _entry(request: OrderRequest) -> dict[str, Any]:
    units = number(request.units * request.side.sign)
    order: dict[str, Any] = {"instrument": request.instrument, "units": units}
    order["positionFill"] = request.position_fill.name
    if request.price_bound is not None and request.type in BOUNDED:
        order["priceBound"] = number(request.price_bound)
    if request.take_profit is not None:
        order["takeProfitOnFill"] = _protection(request.take_profit)
    if request.stop_loss is not None:
        key = "guaranteedStopLossOnFill" if request.stop_loss.guaranteed else "stopLossOnFill"
        order[key] = _protection(request.stop_loss)
    if request.trailing_stop is not None:
        order["trailingStopLossOnFill"] = _protection(request.trailing_stop)
    return order


def _protection(wanted: Protection) -> dict[str, str]:
    if wanted.price is not None:
        return {"price": number(wanted.price)}
    return {"distance": number(wanted.distance or Decimal(0))}
