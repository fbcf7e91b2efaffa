"""Changes of the order journal as rows of the history's tables."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec
from msgspec.structs import asdict

from broker.domain import Order, average_price
from broker.history import tables
from broker.orders.store.tail import Change

Row = dict[str, Any]
_ENCODER = msgspec.json.Encoder()
_ORDERS, _FILLS = tuple(tables.orders.columns.keys()), tuple(tables.fills.columns.keys())
_REASON = 200  # the column is that wide; `document` has the whole reason


@dataclass(slots=True)
class HistoryRows:
    """Rows of one database transaction, by their ids: of an order only the last state."""

    orders: dict[str, Row] = field(default_factory=dict)
    fills: dict[tuple[str, str], Row] = field(default_factory=dict)
    transactions: dict[int, Row] = field(default_factory=dict)


def rows_of(changes: Iterable[Change], account: str) -> HistoryRows:
    """The rows of changes, which are in their order."""
    # By id: a batch has several states of an order, and the last one replaces the others.
    found = HistoryRows()
    for change in changes:
        if change.order is not None:
            found.orders[change.order.id] = order_row(change.order)
            for row in fill_rows(change.order):
                found.fills[(row["transaction_id"], row["order_id"])] = row
        if change.transaction is not None:
            row = transaction_row(change.transaction, account)
            found.transactions[row["id"]] = row
    return found


def order_row(order: Order) -> Row:
    """An order's row; `document` has all of it."""
    derived = {
        "type": order.request.type.value,
        "side": order.request.side.value,
        "status": order.status.value,
        "reason": order.reason[:_REASON] if order.reason else None,
        "filled_units": order.filled_units,
        "average_price": average_price(order.fills),
        "document": _ENCODER.encode(order).decode(),
    }
    fields = {**asdict(order.request), **asdict(order), **derived}
    return {name: fields[name] for name in _ORDERS}


def fill_rows(order: Order) -> list[Row]:
    """A row for each fill of an order."""
    request = order.request
    rows = []
    for fill in order.fills:
        # The fill's own side and instrument, where it has them: an order of a trade has neither.
        own = {"side": (fill.side or request.side).value, "instrument": fill.instrument or request.instrument}
        fields = {**asdict(request), "order_id": order.id, **asdict(fill), **own}
        rows.append({name: fields[name] for name in _FILLS})
    return rows


def transaction_row(raw: Mapping[str, Any], account: str) -> Row:
    """The row of a transaction of the venue's log; `document` has the venue's whole object."""
    return {
        "account": account,
        "id": int(raw["id"]),
        "type": str(raw.get("type", "UNKNOWN"))[:64],
        "instrument": raw.get("instrument"),
        "time": _time(raw.get("time")),
        "document": json.dumps(dict(raw), separators=(",", ":")),
    }


def _time(text: object) -> datetime | None:
    """A time in RFC 3339, cut to microseconds; None for any other text."""
    try:
        return datetime.fromisoformat(str(text))
    except ValueError:
        return None
