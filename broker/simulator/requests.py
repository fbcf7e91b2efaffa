"""Order requests as the venue reads them: what it refuses, and with which reason (v20 `*OrderRequest`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

from broker.simulator.clock import parse_ns, rfc3339
from broker.simulator.instruments import LISTINGS, Listing

Json = Mapping[str, Any]
ENTRY_TYPES = ("MARKET", "LIMIT", "STOP", "MARKET_IF_TOUCHED")
DEPENDENT_TYPES = ("TAKE_PROFIT", "STOP_LOSS", "GUARANTEED_STOP_LOSS", "TRAILING_STOP_LOSS")
_CLIENT_ID_CHARACTERS = 128
_TIME_IN_FORCE = {
    "MARKET": ("FOK", "IOC"),
    "LIMIT": ("GTC", "GTD", "GFD", "FOK", "IOC"),
    "STOP": ("GTC", "GTD", "GFD", "FOK", "IOC"),
}
_RESTING = ("GTC", "GTD", "GFD")
_POSITION_FILL = ("DEFAULT", "OPEN_ONLY", "REDUCE_FIRST", "REDUCE_ONLY")


class RejectError(Exception):
    """The venue rejects the order, with a reason, in a transaction of the log."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class InvalidRequestError(Exception):
    """The venue cannot read a field: 400 without a transaction."""

    def __init__(self, field: str) -> None:
        super().__init__(field)
        self.field = field


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


def parse(body: Any, trades: Mapping[str, str]) -> OrderSpec:
    """The order of a request's body; `trades` maps the ids of open trades to their instruments.

    Raises:
        InvalidRequestError: 400 without a transaction.
        RejectError: 400 with a reject transaction.
    """
    raw = body.get("order") if isinstance(body, Mapping) else None
    if not isinstance(raw, Mapping):
        raise InvalidRequestError("order")
    kind = str(raw.get("type", "MARKET"))
    if kind in DEPENDENT_TYPES:
        return _dependent(raw, kind, trades)
    if kind not in ENTRY_TYPES:
        raise InvalidRequestError("order.type")
    if raw.get("instrument") not in LISTINGS:
        raise InvalidRequestError("order.instrument")
    spec = OrderSpec(type=kind, instrument=str(raw["instrument"]))
    _common(raw, spec)
    spec.units = _units(raw, spec.listing)
    if kind != "MARKET":
        spec.price = _price(raw, "price", spec.listing, "PRICE")
    spec.price_bound = _price(raw, "priceBound", spec.listing, "PRICE_BOUND") if "priceBound" in raw else None
    spec.position_fill = str(raw.get("positionFill", "DEFAULT"))
    if spec.position_fill not in _POSITION_FILL:
        raise InvalidRequestError("order.positionFill")
    spec.on_fill = {key: raw[key] for key in ON_FILL if isinstance(raw.get(key), Mapping)}
    _check_on_fill(spec)
    return spec


ON_FILL = {
    "takeProfitOnFill": "TAKE_PROFIT",
    "stopLossOnFill": "STOP_LOSS",
    "guaranteedStopLossOnFill": "GUARANTEED_STOP_LOSS",
    "trailingStopLossOnFill": "TRAILING_STOP_LOSS",
}


def _dependent(raw: Json, kind: str, trades: Mapping[str, str]) -> OrderSpec:
    trade_id = str(raw.get("tradeID", ""))
    if trade_id not in trades:
        raise RejectError("TRADE_DOESNT_EXIST")
    spec = OrderSpec(type=kind, instrument=trades[trade_id], trade_id=trade_id)
    _common(raw, spec)
    if kind == "TRAILING_STOP_LOSS" or ("distance" in raw and kind != "TAKE_PROFIT"):
        spec.distance = _price(raw, "distance", spec.listing, "PRICE_DISTANCE")
    else:
        spec.price = _price(raw, "price", spec.listing, "PRICE")
    return spec


def _common(raw: Json, spec: OrderSpec) -> None:
    spec.time_in_force = str(raw.get("timeInForce", "FOK" if spec.type == "MARKET" else "GTC"))
    if spec.time_in_force not in _TIME_IN_FORCE.get(spec.type, _RESTING):
        raise RejectError("TIME_IN_FORCE_INVALID")
    spec.gtd_time = raw.get("gtdTime")
    if spec.time_in_force == "GTD" and not spec.gtd_time:
        raise RejectError("TIME_IN_FORCE_GTD_TIMESTAMP_MISSING")
    _check_time(spec)
    spec.client = _extensions(raw, "clientExtensions")
    spec.trade_client = _extensions(raw, "tradeClientExtensions")
    if "id" in spec.client and not 0 < len(spec.client["id"]) <= _CLIENT_ID_CHARACTERS:
        raise RejectError("CLIENT_ORDER_ID_INVALID")


def _check_time(spec: OrderSpec) -> None:
    if spec.gtd_time is None:
        return
    try:
        spec.gtd_time = rfc3339(parse_ns(spec.gtd_time))
    except (ValueError, TypeError):
        raise InvalidRequestError("order.gtdTime") from None


def _extensions(raw: Json, key: str) -> dict[str, str]:
    extensions = raw.get(key) or {}
    if not isinstance(extensions, Mapping):
        raise InvalidRequestError(f"order.{key}")
    return {name: str(extensions[name]) for name in ("id", "tag", "comment") if name in extensions}


def _units(raw: Json, listing: Listing) -> Decimal:
    units = _number(raw, "units", "UNITS")
    if units == 0 or units != units.to_integral_value():
        raise RejectError("UNITS_INVALID" if units == 0 else "UNITS_PRECISION_EXCEEDED")
    if abs(units) < listing.minimum_units:
        raise RejectError("UNITS_MINIMUM_NOT_MET")
    if abs(units) > listing.maximum_units:
        raise RejectError("UNITS_LIMIT_EXCEEDED")
    return units


def _price(raw: Json, key: str, listing: Listing, name: str) -> Decimal:
    price = _number(raw, key, name)
    if price <= 0:
        raise RejectError(f"{name}_INVALID")
    if price != listing.round(price):
        raise RejectError(f"{name}_PRECISION_EXCEEDED")
    return price


def _number(raw: Json, key: str, name: str) -> Decimal:
    if raw.get(key) is None:
        raise RejectError(f"{name}_MISSING")
    try:
        number = Decimal(str(raw[key]))
    except InvalidOperation:
        raise InvalidRequestError(f"order.{key}") from None
    if not number.is_finite():
        raise InvalidRequestError(f"order.{key}")
    return number


def _check_on_fill(spec: OrderSpec) -> None:
    for key, kind in ON_FILL.items():
        raw = spec.on_fill.get(key)
        if raw is None:
            continue
        name = f"{kind}_ON_FILL_PRICE"
        if "distance" in raw:
            _price(raw, "distance", spec.listing, f"{name}_DISTANCE")
        elif kind == "TRAILING_STOP_LOSS":
            raise RejectError("TRAILING_STOP_LOSS_ON_FILL_PRICE_DISTANCE_MISSING")
        else:
            _price(raw, "price", spec.listing, name)
