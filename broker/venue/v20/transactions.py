"""Transactions of the venue's account log, reduced to the fields that decide the fate of orders; their reasons."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from msgspec import Struct

from broker.domain import TradeEffect, TradePart

ORDER_SUFFIX = "_ORDER"
REJECT_SUFFIX = "_ORDER_REJECT"
FILL, CANCEL = "ORDER_FILL", "ORDER_CANCEL"
_OUR_REASONS = """
ACCOUNT_UNKNOWN CIRCUIT_OPEN DAILY_LOSS_EXCEEDED DUPLICATE_ORDER GROSS_EXPOSURE_EXCEEDED GROSS_EXPOSURE_UNKNOWN
INTERNAL_ERROR JOURNAL_UNAVAILABLE NOTIONAL_LIMIT_EXCEEDED NOTIONAL_UNKNOWN NOT_AUTHORIZED NOT_FOUND
OPEN_ORDERS_LIMIT_EXCEEDED ORDER_RATE_EXCEEDED OWNERSHIP_LOST POSITION_LIMIT_EXCEEDED PRICE_COLLAR
PRICE_DISTANCE_UNSPECIFIED PRICE_STALE PRICE_UNKNOWN PRICE_UNSPECIFIED PROTECTION_DISTANCE_INVALID RATE_LIMITED
REFUSED RESOURCES_UNAVAILABLE TRADING_HALTED TRADING_REDUCING VENUE_UNREACHABLE
"""
"""Reasons that the broker itself gives, besides those that it shares with the venue."""
# The file has TransactionRejectReason and OrderCancelReason of the venue's published description (v20, 3.0.25, MIT,
# © 2017 OANDA), both spellings where it has two, and names seen since.
_VENUE_REASONS = Path(__file__).with_name("reasons.txt").read_text(encoding="utf-8")
KNOWN_REASONS = frozenset(_OUR_REASONS.split()) | frozenset(_VENUE_REASONS.split())
OTHER_REASON = "OTHER"
_FRACTION = re.compile(r"\.([0-9]+)")
_ZERO = Decimal(0)
_EPOCH = datetime.fromtimestamp(0, UTC)
_MONEY = {
    "pl": "profit",
    "commission": "commission",
    "financing": "financing",
    "guaranteedExecutionFee": "guaranteed_fee",
    "halfSpreadCost": "half_spread_cost",
}
"""The venue's names of amounts, and ours; most transactions have none of them."""


class Transaction(Struct, frozen=True, kw_only=True):
    """One transaction. Fields that its type does not carry are None, zero or empty; `raw` is the venue's object."""

    id: int
    type: str
    time: datetime
    time_ns: int = 0
    """`time` with all nine digits, in nanoseconds since 1970."""
    order_id: str | None = None
    client_id: str | None = None
    """`clientExtensions.id` of a create or reject, `clientOrderID` of a fill or cancel."""
    instrument: str | None = None
    reason: str | None = None
    """Its `reason`; of a reject, its `rejectReason`."""
    units: Decimal = Decimal(0)
    """Signed, of a fill."""
    price: Decimal | None = None
    profit: Decimal = Decimal(0)
    commission: Decimal = Decimal(0)
    financing: Decimal = Decimal(0)
    guaranteed_fee: Decimal = Decimal(0)
    half_spread_cost: Decimal = Decimal(0)
    trades: tuple[TradePart, ...] = ()
    """Trades that a fill opened, closed and reduced."""
    closes_trade: str | None = None
    """Trade that a market order was made to close."""
    raw: Mapping[str, Any]

    @property
    def about_order(self) -> str:
        """The venue's id of the order that it makes, refuses, fills or ends."""
        return self.order_id or str(self.id)

    @property
    def is_create(self) -> bool:
        """True if it makes an order: MARKET_ORDER, LIMIT_ORDER, …, FIXED_PRICE_ORDER."""
        return self.type.endswith(ORDER_SUFFIX)

    @property
    def is_reject(self) -> bool:
        """True if it refuses to make an order."""
        return self.type.endswith(REJECT_SUFFIX)

    @property
    def is_fill(self) -> bool:
        """True if an order traded."""
        return self.type == FILL

    @property
    def is_cancel(self) -> bool:
        """True if an order ended without a trade."""
        return self.type == CANCEL


def parse_transaction(raw: Mapping[str, Any]) -> Transaction:
    """Parse a transaction of any type, known or not, in either of the venue's time formats.

    Raises ValueError: it has no whole-number id, no type, or a number that is none.
    """
    kind = str(raw.get("type") or "")
    if not kind:
        raise ValueError("transaction.type is missing")
    return Transaction(
        id=transaction_id(raw.get("id")),
        type=kind,
        time=(time := parse_time(raw.get("time"))),
        time_ns=_nanoseconds(raw.get("time"), time),
        order_id=_text(raw.get("orderID")),
        # Creates and rejects carry it in their extensions, fills and cancels as a field.
        client_id=_text(raw.get("clientOrderID")) or _text((raw.get("clientExtensions") or {}).get("id")),
        instrument=_text(raw.get("instrument")),
        reason=_text(raw.get("rejectReason")) or _text(raw.get("reason")),
        units=decimal(raw.get("units"), "units") if kind == FILL else _ZERO,
        price=decimal(raw["price"], "price") if raw.get("price") is not None else None,
        **{ours: decimal(raw[name], name) for name, ours in _MONEY.items() if name in raw},
        trades=tuple(_trades(raw)) if kind == FILL else (),
        closes_trade=_text((raw.get("tradeClose") or {}).get("tradeID")) or _closed_by_fill(raw),
        raw=raw,
    )


def reason_label(reason: str) -> str:
    """Return a reason as a metric's label, of a bounded set: OTHER where it is not a known one."""
    # The venue's set is open: a reason that is not listed stands in full in the log.
    return reason if reason in KNOWN_REASONS else OTHER_REASON


def _trades(raw: Mapping[str, Any]) -> Iterator[TradePart]:
    opened, reduced = raw.get("tradeOpened"), raw.get("tradeReduced")
    parts = [(TradeEffect.OPENED, opened), *((TradeEffect.CLOSED, part) for part in raw.get("tradesClosed") or ())]
    for effect, part in (*parts, (TradeEffect.REDUCED, reduced)):
        if part:
            units = abs(decimal(part.get("units"), f"{effect} units"))
            profit = decimal(part.get("realizedPL"), "realizedPL")
            yield TradePart(trade_id=str(part["tradeID"]), effect=effect, units=units, profit=profit)


def _closed_by_fill(raw: Mapping[str, Any]) -> str | None:
    # The creation, which names the trade, may be one that the log never shows.
    parts = list(_trades(raw)) if raw.get("reason") == "MARKET_ORDER_TRADE_CLOSE" else []
    return parts[0].trade_id if len(parts) == 1 else None


def _text(value: Any) -> str | None:
    return str(value) if value not in (None, "") else None


def transaction_id(value: Any) -> int:
    """Parse the id of a transaction. Raises ValueError: it is no whole number."""
    text = str(value)
    # Ids order transactions and tell repeats: a wrong one is worse than an error. `int` alone takes " 1_0 ".
    if not text.isascii() or not text.isdecimal():
        raise ValueError(f"transaction.id is {type(value).__name__} of {len(text)} characters, wanted a whole number")
    return int(text)


def decimal(value: Any, name: str) -> Decimal:
    """Parse a number that the venue sends as a text; absent is zero.

    Raises ValueError: it is no finite number; names the field.
    """
    if value is None:
        return _ZERO
    try:
        # By its text, if ever a number comes as JSON's: Decimal(0.1) has 55 digits.
        number = Decimal(str(value))
    except InvalidOperation:
        shape = f"{type(value).__name__} of {len(str(value))} characters"
        raise ValueError(f"{name} is no decimal number: {shape}") from None
    if not number.is_finite():
        raise ValueError(f"{name} is not a finite number")
    return number


def parse_time(value: Any) -> datetime:
    """Parse RFC 3339 with up to 9 digits of fraction, or UNIX seconds with a fraction; to the microsecond.

    Raises ValueError: it is neither.
    """
    text = str(value or "")
    if not text:
        return datetime.fromtimestamp(0, UTC)
    # We ask for RFC 3339; without that header v20 may answer in UNIX seconds.
    if "T" not in text:
        seconds, _, fraction = text.partition(".")
        return datetime.fromtimestamp(int(seconds), UTC).replace(microsecond=int((fraction + "000000")[:6]))
    # A time without a zone is UTC: the machine's zone must not matter.
    found = datetime.fromisoformat(text)  # cuts what is finer than a microsecond
    if found.tzinfo is UTC:
        return found
    return found.astimezone(UTC) if found.tzinfo is not None else found.replace(tzinfo=UTC)


def parse_time_ns(value: Any) -> int:
    """The same time in nanoseconds since 1970, with all of the venue's nine digits."""
    return _nanoseconds(value, parse_time(value))


def _nanoseconds(value: Any, time: datetime) -> int:
    since, digits = time - _EPOCH, _FRACTION.search(str(value or ""))
    seconds = since.days * 86_400 + since.seconds
    return seconds * 1_000_000_000 + int(digits[1][:9].ljust(9, "0") if digits else 0)
