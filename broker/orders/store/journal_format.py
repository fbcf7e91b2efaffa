"""What the order journal holds, as bytes: one letter for the kind, then JSON.

    o  an entry at a new status            (a change: history gets it)
    t  a transaction of the venue's log    (a change)
    c  the control state
    s  an entry of a snapshot              (opens a segment; no change)
    z  end of a snapshot, with the control state

Version 1. msgspec reads and writes our structs; decimals are texts, and what is at its default is left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Any

import msgspec
from msgspec import Struct

from broker.orders.model.order_record import Entry

KIND = b"OJRN"
VERSION = 1
ENTRY, TRANSACTION, CONTROL, KEPT, END = b"o", b"t", b"c", b"s", b"z"


class TradingState(StrEnum):
    """What may be traded."""

    ACTIVE = "active"
    REDUCING = "reducing"
    """Only what makes a position smaller, and cancels."""
    HALTED = "halted"
    """Cancels only."""


class Control(Struct, frozen=True, kw_only=True):
    """What besides orders must survive a restart."""

    state: TradingState = TradingState.ACTIVE
    state_reason: str = "start"
    state_actor: str = "broker"
    applied: int | None = None
    """The last transaction of the venue's log that we took; none before the first contact."""
    day: date | None = None
    """The trading day (UTC) that `day_nav` began."""
    day_nav: Decimal | None = None


_ENCODER = msgspec.json.Encoder()
_ENTRY = msgspec.json.Decoder(Entry)
_CONTROL = msgspec.json.Decoder(Control)


def entry_record(entry: Entry, kind: bytes = ENTRY) -> bytes:
    """An entry's record."""
    return kind + _ENCODER.encode(entry)


def transaction_record(raw: Mapping[str, Any]) -> bytes:
    """The record of the venue's object."""
    return TRANSACTION + json.dumps(raw, separators=(",", ":")).encode()


def control_record(control: Control, kind: bytes = CONTROL) -> bytes:
    """The control state's record."""
    return kind + _ENCODER.encode(control)


Content = Entry | Control | dict[str, Any] | None


def parse_record(payload: bytes) -> tuple[bytes, Content]:
    """Kind and content; the content of a kind that this version does not know is None.

    Raises:
        ValueError: the record is not what its kind says.
    """
    kind, text = payload[:1], payload[1:]
    try:
        if kind in {ENTRY, KEPT}:
            return kind, _ENTRY.decode(text)
        if kind in {CONTROL, END}:
            return kind, _CONTROL.decode(text)
        if kind == TRANSACTION:
            value = json.loads(text)
            return kind, value if isinstance(value, dict) else None
    except msgspec.DecodeError as error:
        raise ValueError(f"journal record {kind!r} of {len(payload)} bytes: {error}") from error
    return kind, None
