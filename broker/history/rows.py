"""Changes of the order journal as rows of the history's tables."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec.structs import asdict

from broker.domain import Fill, Order, TradePart, average_price
from broker.history import tables
from broker.orders.store.tail import Change
from broker.venue.v20.transactions import parse_time

Row = dict[str, Any]
_ENCODER = msgspec.json.Encoder()
_ORDERS, _FILLS = tuple(tables.orders.columns.keys()), tuple(tables.fills.columns.keys())
_COSTS = ("commission", "financing", "guaranteed_fee")
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
    """A row for each fill of an order, as the venue's fill tells it."""
    return [fill_row(fill, order) for fill in order.fills]


def fill_row(fill: Fill, order: Order) -> Row:
    """The row of a fill."""
    # Journals before 0.2 have fills without an instrument, a side, nanoseconds and trades.
    derived = {
        "instrument": fill.instrument or order.request.instrument,
        "side": (fill.side or order.request.side).value,
        "time_ns": fill.time_ns or None,
        "trades": _trades(fill.trades) if fill.trades else None,
    }
    if not fill.time_ns:
        derived |= dict.fromkeys(_COSTS)
    fields = {**asdict(fill), "account": order.request.account, "order_id": order.id, **derived}
    return {name: fields[name] for name in _FILLS}


def _trades(parts: tuple[TradePart, ...]) -> str:
    return _ENCODER.encode([asdict(part) for part in parts]).decode()  # as a struct it would leave out a profit of 0


def transaction_row(raw: dict[str, Any], account: str) -> Row:
    """The row of a transaction of the venue's log; `document` has the venue's whole object."""
    try:
        time = parse_time(raw["time"])
    except (KeyError, ValueError):
        time = None  # kept all the same: the document has the venue's own text
    return {
        "account": account,
        "id": int(raw["id"]),
        "type": str(raw.get("type", "UNKNOWN"))[:64],
        "instrument": raw.get("instrument"),
        "time": time,
        "document": json.dumps(raw, separators=(",", ":")),
    }
