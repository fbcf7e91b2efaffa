"""Reading one field of an order request: what cannot be read is 400, what may not be is a reject with a reason."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from broker.simulator.clock import parse_ns, rfc3339
from broker.simulator.market.instruments import Listing

Json = Mapping[str, Any]
CLIENT_ID_CHARACTERS = 128
"""129 are refused, measured at the venue."""
_DIGITS = 15
"""Before the point: more is no amount of anything."""


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


def text(raw: Json, key: str, default: str) -> str:
    """A word."""
    value = raw.get(key)
    if value is None:
        return default
    if not isinstance(value, str):
        raise InvalidRequestError(f"order.{key}")
    return value


def number(raw: Json, key: str, name: str) -> Decimal:
    """A decimal number, as a text or not."""
    value = raw.get(key)
    if value is None:
        raise RejectError(f"{name}_MISSING")
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise InvalidRequestError(f"order.{key}")
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        raise InvalidRequestError(f"order.{key}") from None
    if not found.is_finite() or abs(found.adjusted()) > _DIGITS:
        raise InvalidRequestError(f"order.{key}")
    return Decimal(format(found, "f"))


def units(raw: Json, listing: Listing) -> Decimal:
    """Signed units within the instrument's limits."""
    found = number(raw, "units", "UNITS")
    if found == 0 or found != found.to_integral_value():
        raise RejectError("UNITS_INVALID" if found == 0 else "UNITS_PRECISION_EXCEEDED")
    if abs(found) < listing.minimum_units:
        raise RejectError("UNITS_MINIMUM_NOT_MET")
    if abs(found) > listing.maximum_units:
        raise RejectError("UNITS_LIMIT_EXCEEDED")
    return found


def price(raw: Json, key: str, listing: Listing, name: str) -> Decimal:
    """A price or a distance, at the instrument's precision at most."""
    found = number(raw, key, name)
    if found <= 0:
        raise RejectError(f"{name}_INVALID")
    if found != listing.round(found):
        raise RejectError(f"{name}_PRECISION_EXCEEDED")
    return listing.round(found)


def moment(raw: Json, key: str) -> str | None:
    """A time in either of the venue's forms, as RFC 3339."""
    value = text(raw, key, "")
    if not value:
        return None
    try:
        return rfc3339(parse_ns(value))
    except (ValueError, OverflowError, OSError):
        raise InvalidRequestError(f"order.{key}") from None


def extensions(raw: Json, key: str = "clientExtensions") -> dict[str, str]:
    """Client extensions: id, tag and comment, those that are there."""
    found = raw.get(key)
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise InvalidRequestError(f"order.{key}")
    wanted = {name: text(found, name, "") for name in ("id", "tag", "comment") if found.get(name) is not None}
    if "id" in wanted and not 0 < len(wanted["id"]) <= CLIENT_ID_CHARACTERS:
        raise RejectError("CLIENT_ORDER_ID_INVALID")
    return wanted
