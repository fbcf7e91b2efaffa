"""Order requests as the venue reads them: what it refuses, and with which reason (v20 `*OrderRequest`)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from broker.simulator.market.instruments import LISTINGS, Listing
from broker.simulator.v20 import fields as read
from broker.simulator.v20.fields import InvalidRequestError, Json, RejectError

ENTRY_TYPES = ("MARKET", "LIMIT", "STOP", "MARKET_IF_TOUCHED")
DEPENDENT_TYPES = ("TAKE_PROFIT", "STOP_LOSS", "GUARANTEED_STOP_LOSS", "TRAILING_STOP_LOSS")
ON_FILL = {
    "takeProfitOnFill": "TAKE_PROFIT",
    "stopLossOnFill": "STOP_LOSS",
    "guaranteedStopLossOnFill": "GUARANTEED_STOP_LOSS",
    "trailingStopLossOnFill": "TRAILING_STOP_LOSS",
}
_TIME_IN_FORCE = {
    "MARKET": ("FOK", "IOC"),
    "LIMIT": ("GTC", "GTD", "GFD", "FOK", "IOC"),
    "STOP": ("GTC", "GTD", "GFD", "FOK", "IOC"),
}
_RESTING = ("GTC", "GTD", "GFD")
_POSITION_FILL = ("DEFAULT", "OPEN_ONLY", "REDUCE_FIRST", "REDUCE_ONLY")


@dataclass(slots=True, kw_only=True)
class OrderSpec:
    """A request that the venue would take."""

    type: str
    instrument: str
    units: Decimal = Decimal(0)
    """Signed."""
    price: Decimal | None = None
    price_bound: Decimal | None = None
    distance: Decimal | None = None
    time_in_force: str = "GTC"
    gtd_time: str | None = None
    position_fill: str = "DEFAULT"
    trade_id: str | None = None
    client: dict[str, str] = field(default_factory=dict)
    on_fill: dict[str, Json] = field(default_factory=dict)
    """`takeProfitOnFill`, `stopLossOnFill`, … as they came."""

    trade_client: dict[str, str] = field(default_factory=dict)
    """`tradeClientExtensions`, for the trade that the order opens."""

    @property
    def listing(self) -> Listing:
        """What it trades."""
        return LISTINGS[self.instrument]

    def wire(self) -> dict[str, Any]:
        """The fields of a create transaction, and of the order's own object."""
        fields: dict[str, Any] = {"timeInForce": self.time_in_force}
        if self.type in DEPENDENT_TYPES:
            fields["tradeID"] = self.trade_id
        else:
            fields |= {"instrument": self.instrument, "units": str(self.units), "positionFill": self.position_fill}
        for name, value in (("price", self.price), ("priceBound", self.price_bound), ("distance", self.distance)):
            if value is not None:
                fields[name] = str(value)
        if self.type != "MARKET":
            fields["triggerCondition"] = "DEFAULT"
        if self.gtd_time is not None:
            fields["gtdTime"] = self.gtd_time
        if self.client:
            fields["clientExtensions"] = dict(self.client)
        if self.trade_client:
            fields["tradeClientExtensions"] = dict(self.trade_client)
        return fields | {key: dict(value) for key, value in self.on_fill.items()}


def parse(body: Any, trades: Mapping[str, str], listed: Collection[str]) -> OrderSpec:
    """The order of a request's body; `trades` maps the ids of open trades to their instruments.

    Raises:
        InvalidRequestError: 400 without a transaction.
        RejectError: 400 with a reject transaction.
    """
    raw = body.get("order") if isinstance(body, Mapping) else None
    if not isinstance(raw, Mapping):
        raise InvalidRequestError("order")
    kind = read.text(raw, "type", "MARKET")
    if kind in DEPENDENT_TYPES:
        return _dependent(raw, kind, trades)
    if kind not in ENTRY_TYPES:
        raise InvalidRequestError("order.type")
    return _entry(raw, kind, listed)


def _entry(raw: Json, kind: str, listed: Collection[str]) -> OrderSpec:
    name = read.text(raw, "instrument", "")
    if name not in listed:
        raise InvalidRequestError("order.instrument")
    spec = OrderSpec(type=kind, instrument=name, position_fill=read.text(raw, "positionFill", "DEFAULT"))
    if spec.position_fill not in _POSITION_FILL:
        raise InvalidRequestError("order.positionFill")
    _common(raw, spec)
    spec.units = read.units(raw, spec.listing)
    if kind != "MARKET":
        spec.price = read.price(raw, "price", spec.listing, "PRICE")
    if raw.get("priceBound") is not None:
        spec.price_bound = read.price(raw, "priceBound", spec.listing, "PRICE_BOUND")
    spec.trade_client = read.extensions(raw, "tradeClientExtensions")
    spec.on_fill = {key: _on_fill(raw[key], key, spec.listing) for key in ON_FILL if raw.get(key) is not None}
    return spec


def _dependent(raw: Json, kind: str, trades: Mapping[str, str]) -> OrderSpec:
    trade_id = str(raw.get("tradeID", ""))
    if trade_id not in trades:
        raise RejectError("TRADE_DOESNT_EXIST")
    spec = OrderSpec(type=kind, instrument=trades[trade_id], trade_id=trade_id)
    _common(raw, spec)
    by_distance = kind == "TRAILING_STOP_LOSS" or (raw.get("distance") is not None and kind != "TAKE_PROFIT")
    if by_distance:
        spec.distance = read.price(raw, "distance", spec.listing, "PRICE_DISTANCE")
    if by_distance and kind != "TRAILING_STOP_LOSS" and raw.get("price") is not None:
        raise RejectError(f"{kind}_ORDER_PRICE_AND_DISTANCE_BOTH_SPECIFIED")
    if not by_distance:
        spec.price = read.price(raw, "price", spec.listing, "PRICE")
    return spec


def _common(raw: Json, spec: OrderSpec) -> None:
    spec.time_in_force = read.text(raw, "timeInForce", "FOK" if spec.type == "MARKET" else "GTC")
    if spec.time_in_force not in _TIME_IN_FORCE.get(spec.type, _RESTING):
        raise RejectError("TIME_IN_FORCE_INVALID")
    spec.gtd_time = read.moment(raw, "gtdTime")
    if spec.time_in_force == "GTD" and spec.gtd_time is None:
        raise RejectError("TIME_IN_FORCE_GTD_TIMESTAMP_MISSING")
    spec.client = read.extensions(raw)


def _on_fill(raw: Any, key: str, listing: Listing) -> dict[str, Any]:
    if not isinstance(raw, Mapping):
        raise InvalidRequestError(f"order.{key}")
    kind = ON_FILL[key]
    name = f"{kind}_ON_FILL_PRICE"
    found: dict[str, Any] = {"timeInForce": read.text(raw, "timeInForce", "GTC")}
    if found["timeInForce"] not in _RESTING:
        raise RejectError(f"{kind}_ON_FILL_TIME_IN_FORCE_INVALID")
    if raw.get("distance") is not None or kind == "TRAILING_STOP_LOSS":
        found["distance"] = str(read.price(raw, "distance", listing, f"{name}_DISTANCE"))
        if raw.get("price") is not None:
            raise RejectError(f"{kind}_ON_FILL_PRICE_AND_DISTANCE_BOTH_SPECIFIED")
    else:
        found["price"] = str(read.price(raw, "price", listing, name))
    if (until := read.moment(raw, "gtdTime")) is not None:
        found["gtdTime"] = until
    elif found["timeInForce"] == "GTD":
        raise RejectError(f"{kind}_ON_FILL_GTD_TIMESTAMP_MISSING")
    if client := read.extensions(raw):
        found["clientExtensions"] = client
    return found
