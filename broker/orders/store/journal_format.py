"""Payloads of the order journal: one letter for the kind, then JSON. Pure.

    o  an order at a new status            (a change: the history reads it)
    t  a transaction of the venue's log    (a change)
    c  the account's control state
    s  an order of a snapshot              (at the head of a segment; no change)
    z  end of a snapshot, with the control state

Version 1. msgspec reads and writes our structs: decimals are texts, and fields at their default are left out.
A later version may add kinds; a reader passes over those that it does not know.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from broker.orders.model.order_record import OrderRecord
from broker.orders.model.trading_state import AccountControl

KIND = b"OJRN"
VERSION = 1
ORDER, TRANSACTION, CONTROL, SNAPSHOT_ORDER, SNAPSHOT_END = b"o", b"t", b"c", b"s", b"z"

_ENCODER = msgspec.json.Encoder()
_ORDER = msgspec.json.Decoder(OrderRecord)
_CONTROL = msgspec.json.Decoder(AccountControl)


def encode_order(record: OrderRecord, kind: bytes = ORDER) -> bytes:
    """Payload of an order."""
    return kind + _ENCODER.encode(record)


def encode_transaction(raw: Mapping[str, Any]) -> bytes:
    """Payload of a transaction, as the venue sent it."""
    return TRANSACTION + json.dumps(raw, separators=(",", ":")).encode()


def encode_control(control: AccountControl, kind: bytes = CONTROL) -> bytes:
    """Payload of the control state."""
    return kind + _ENCODER.encode(control)


Content = OrderRecord | AccountControl | dict[str, Any] | None


def decode_payload(payload: bytes) -> tuple[bytes, Content]:
    """Kind and content; the content of a kind that this version does not know is None.

    Raises:
        ValueError: the payload is not what its kind says. The message never quotes it.
    """
    kind, text = payload[:1], payload[1:]
    try:
        if kind in {ORDER, SNAPSHOT_ORDER}:
            return kind, _ORDER.decode(text)
        if kind in {CONTROL, SNAPSHOT_END}:
            return kind, _CONTROL.decode(text)
        if kind == TRANSACTION:
            value = json.loads(text)
            return kind, value if isinstance(value, dict) else None
    except msgspec.DecodeError as error:
        raise ValueError(f"journal record {kind!r} of {len(payload)} bytes: {error}") from error
    return kind, None
