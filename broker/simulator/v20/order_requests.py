"""Order requests (v20 `*OrderRequest`): an unreadable field is 400, a forbidden value is a reject with a reason."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

from broker.simulator.clock import parse_ns, rfc3339
from broker.simulator.market.instruments import LISTINGS, Listing
from broker.simulator.v20.answers import invalid

Json = Mapping[str, Any]
CLIENT_ID_CHARACTERS = 128
"""129 are refused, measured at the venue."""
_DIGITS = 15
"""Before the point: more is no amount of anything."""
# Not FIXED_PRICE: the venue makes those itself, and has no request for them.
ENTRY_TYPES = ("MARKET", "LIMIT", "STOP", "MARKET_IF_TOUCHED")
DEPENDENTS = {
    "takeProfit": "TAKE_PROFIT",
    "stopLoss": "STOP_LOSS",
    "guaranteedStopLoss": "GUARANTEED_STOP_LOSS",
    "trailingStopLoss": "TRAILING_STOP_LOSS",
}
"""Orders that close a trade, by their names in requests and answers."""
DEPENDENT_TYPES = tuple(DEPENDENTS.values())
ON_FILL = {f"{key}OnFill": kind for key, kind in DEPENDENTS.items()}
_RESTING = ("GTC", "GTD", "GFD")
_TIME_IN_FORCE = {"MARKET": ("FOK", "IOC"), "LIMIT": (*_RESTING, "FOK", "IOC"), "STOP": (*_RESTING, "FOK", "IOC")}
_TRIGGER_CONDITIONS = ("DEFAULT", "INVERSE", "BID", "ASK", "MID")
_POSITION_FILL = ("DEFAULT", "OPEN_ONLY", "REDUCE_FIRST", "REDUCE_ONLY")


class RejectError(Exception):
    """A reject with a reason, which the venue writes to the log as a transaction."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


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
    trigger_condition: str = "DEFAULT"
    trade_id: str | None = None
    client: dict[str, str] = field(default_factory=dict)
    on_fill: dict[str, Json] = field(default_factory=dict)
    """`takeProfitOnFill`, `stopLossOnFill`, … as they came."""
    trade_client: dict[str, str] = field(default_factory=dict)
    """`tradeClientExtensions`, for the trade that the order opens."""

    @property
    def listing(self) -> Listing:
        """Its instrument."""
        return LISTINGS[self.instrument]

    @property
    def is_immediate(self) -> bool:
        """True if it trades at once or not at all."""
        return self.time_in_force in ("FOK", "IOC")

    def payload(self) -> dict[str, Any]:
        """Fields of the create transaction, and of the order's own object."""
        fields: dict[str, Any] = {"timeInForce": self.time_in_force}
        if self.type in DEPENDENT_TYPES:
            fields["tradeID"] = self.trade_id
        else:
            fields |= {"instrument": self.instrument, "units": str(self.units), "positionFill": self.position_fill}
        if self.type != "MARKET":
            fields["triggerCondition"] = self.trigger_condition
        if self.type in ENTRY_TYPES[1:]:
            # In no published schema, but in every recording: `DEFAULT` in the transaction, `DEFAULT_FILL` in the order.
            fields["partialFill"] = "DEFAULT"
        if self.type == "GUARANTEED_STOP_LOSS":
            fields["guaranteedExecutionPremium"] = str(self.listing.guaranteed_premium)
        if self.gtd_time is not None:
            fields["gtdTime"] = self.gtd_time
        amounts = {"price": self.price, "priceBound": self.price_bound, "distance": self.distance}
        fields |= {name: str(value) for name, value in amounts.items() if value is not None}
        parts = {"clientExtensions": self.client, "tradeClientExtensions": self.trade_client, **self.on_fill}
        # Copies: a later change of an order's extensions must not reach its create transaction in the log.
        return fields | {name: dict(part) for name, part in parts.items() if part}


def parse_order(body: Any, trades: Mapping[str, str], listed: Collection[str]) -> OrderSpec:
    """Parse the order of a request's body; `trades` maps the ids of open trades to their instruments.

    Raises:
        RefusalError: 400 without a transaction.
        RejectError: 400 with a reject transaction.
    """
    raw = body.get("order") if isinstance(body, Mapping) else None
    if not isinstance(raw, Mapping):
        raise invalid("order")
    kind = text(raw, "type", "MARKET")
    if kind in DEPENDENT_TYPES:
        return _dependent(raw, kind, trades)
    if kind not in ENTRY_TYPES:
        raise invalid("order.type")
    return _entry(raw, kind, listed)


def _entry(raw: Json, kind: str, listed: Collection[str]) -> OrderSpec:
    name = text(raw, "instrument", "")
    # 400 without a transaction, as at the venue.
    if name not in listed:
        raise invalid("order.instrument")
    spec = OrderSpec(type=kind, instrument=name, position_fill=text(raw, "positionFill", "DEFAULT"))
    if spec.position_fill not in _POSITION_FILL:
        raise invalid("order.positionFill")
    _read_common(raw, spec)
    spec.units = _units(raw, spec.listing)
    if kind != "MARKET":
        spec.price = _price(raw, "price", spec.listing, "PRICE")
    if raw.get("priceBound") is not None:
        spec.price_bound = _price(raw, "priceBound", spec.listing, "PRICE_BOUND")
    spec.trade_client = extensions(raw, "tradeClientExtensions")
    spec.on_fill = {key: _on_fill(raw[key], key, spec.listing) for key in ON_FILL if raw.get(key) is not None}
    return spec


def _dependent(raw: Json, kind: str, trades: Mapping[str, str]) -> OrderSpec:
    # Ids are texts in v20, but clients send numbers, too.
    trade_id = str(raw.get("tradeID", ""))
    if trade_id not in trades:
        raise RejectError("TRADE_DOESNT_EXIST")
    spec = OrderSpec(type=kind, instrument=trades[trade_id], trade_id=trade_id)
    _read_common(raw, spec)
    # A trailing stop has nothing but a distance, a take-profit nothing but a price; other stops have either.
    if kind == "TRAILING_STOP_LOSS" or (raw.get("distance") is not None and kind != "TAKE_PROFIT"):
        spec.distance = _price(raw, "distance", spec.listing, "PRICE_DISTANCE")
        if kind != "TRAILING_STOP_LOSS" and raw.get("price") is not None:
            raise RejectError(f"{kind}_ORDER_PRICE_AND_DISTANCE_BOTH_SPECIFIED")
    else:
        spec.price = _price(raw, "price", spec.listing, "PRICE")
    if kind == "TRAILING_STOP_LOSS":
        _check_trailing(spec.distance, spec.listing, "PRICE_DISTANCE")
    return spec


def _check_trailing(distance: Decimal | None, listing: Listing, name: str) -> None:
    least, largest = listing.trailing_distances
    if distance is not None and distance < least:
        raise RejectError(f"{name}_MINIMUM_NOT_MET")
    if distance is not None and distance > largest:
        raise RejectError(f"{name}_MAXIMUM_EXCEEDED")


def _read_common(raw: Json, spec: OrderSpec) -> None:
    spec.time_in_force = text(raw, "timeInForce", "FOK" if spec.type == "MARKET" else "GTC")
    if spec.time_in_force not in _TIME_IN_FORCE.get(spec.type, _RESTING):
        raise RejectError("TIME_IN_FORCE_INVALID")
    spec.gtd_time = _moment(raw)
    if spec.time_in_force == "GTD" and spec.gtd_time is None:
        raise RejectError("TIME_IN_FORCE_GTD_TIMESTAMP_MISSING")
    if spec.type != "MARKET":
        spec.trigger_condition = text(raw, "triggerCondition", "DEFAULT")
        if spec.trigger_condition not in _TRIGGER_CONDITIONS:
            raise RejectError("TRIGGER_CONDITION_INVALID")
    spec.client = extensions(raw)


def _on_fill(raw: Any, key: str, listing: Listing) -> dict[str, Any]:
    if not isinstance(raw, Mapping):
        raise invalid(f"order.{key}")
    name = f"{ON_FILL[key]}_ON_FILL"
    found: dict[str, Any] = {"timeInForce": text(raw, "timeInForce", "GTC")}
    if found["timeInForce"] not in _RESTING:
        raise RejectError(f"{name}_TIME_IN_FORCE_INVALID")
    if raw.get("distance") is not None or ON_FILL[key] == "TRAILING_STOP_LOSS":
        distance = _price(raw, "distance", listing, f"{name}_PRICE_DISTANCE")
        if ON_FILL[key] == "TRAILING_STOP_LOSS":
            _check_trailing(distance, listing, f"{name}_PRICE_DISTANCE")
        found["distance"] = str(distance)
        if raw.get("price") is not None:
            raise RejectError(f"{name}_PRICE_AND_DISTANCE_BOTH_SPECIFIED")
    else:
        found["price"] = str(_price(raw, "price", listing, f"{name}_PRICE"))
    if (until := _moment(raw)) is not None:
        found["gtdTime"] = until
    elif found["timeInForce"] == "GTD":
        raise RejectError(f"{name}_GTD_TIMESTAMP_MISSING")
    if client := extensions(raw):
        found["clientExtensions"] = client
    return found


def text(raw: Json, key: str, default: str, *, where: str = "order.") -> str:
    """Read a word; `where` is the place that a refusal names."""
    value = raw.get(key)
    if value is None:
        return default
    if not isinstance(value, str):
        raise invalid(where + key)
    return value


def number(raw: Json, key: str, name: str, *, where: str = "order.") -> Decimal:
    """Read a decimal number, given as a text or not; `name` begins the reason of a reject where it is missing."""
    value = raw.get(key)
    if value is None:
        raise RejectError(f"{name}_MISSING")
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise invalid(where + key)
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        raise invalid(where + key) from None
    # An exponent of millions would be a text of megabytes as soon as it is written without one.
    if not found.is_finite() or abs(found.adjusted()) > _DIGITS:
        raise invalid(where + key)
    return Decimal(format(found, "f"))


def _units(raw: Json, listing: Listing) -> Decimal:
    found = number(raw, "units", "UNITS")
    if found == 0:
        raise RejectError("UNITS_INVALID")
    found = in_units(found, listing)
    if abs(found) < listing.minimum_units:
        raise RejectError("UNITS_MINIMUM_NOT_MET")
    if abs(found) > listing.maximum_units:
        raise RejectError("UNITS_LIMIT_EXCEEDED")
    return found


def in_units(amount: Decimal, listing: Listing) -> Decimal:
    """Amount of units at the places that the instrument has. Raises RejectError: it has more."""
    if amount != amount.quantize(listing.minimum_units):
        raise RejectError("UNITS_PRECISION_EXCEEDED")
    # Without zeros behind the point: `1.0` comes back as `1`.
    return amount.quantize(Decimal(1)) if amount == amount.to_integral_value() else amount


def _price(raw: Json, key: str, listing: Listing, name: str) -> Decimal:
    """Read a price or a distance, at the instrument's precision at most."""
    found = number(raw, key, name)
    if found <= 0:
        raise RejectError(f"{name}_INVALID")
    if found != listing.round(found):
        raise RejectError(f"{name}_PRECISION_EXCEEDED")
    # Rounding changes no value here, but gives the places that the venue writes: 1.1 comes back as 1.10000.
    return listing.round(found)


def _moment(raw: Json) -> str | None:
    """Read `gtdTime` in either of the venue's forms, as RFC 3339."""
    try:
        value = text(raw, "gtdTime", "")
        return rfc3339(parse_ns(value)) if value else None
    except (ValueError, OverflowError, OSError):
        raise invalid("order.gtdTime") from None


def extensions(raw: Json, key: str = "clientExtensions") -> dict[str, str]:
    """Read client extensions: id, tag and comment, those that are there."""
    found = raw.get(key)
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise invalid(f"order.{key}")
    wanted = {name: text(found, name, "") for name in ("id", "tag", "comment") if found.get(name) is not None}
    if "id" in wanted and not 0 < len(wanted["id"]) <= CLIENT_ID_CHARACTERS:
        raise RejectError("CLIENT_ORDER_ID_INVALID")
    return wanted
