"""The history as callers see it: pages as JSON, and whole files as CSV or Parquet, sent while they are read."""

from __future__ import annotations

import asyncio
import csv
import importlib
import io
import json
import re
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

import msgspec
import sqlalchemy as sa
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from broker.api.schemas.responses import (
    ATTACHED,
    AttachedView,
    Number,
    Time,
    TradePartView,
    VenueTime,
    order_view,
    plain,
    rfc3339,
    rfc3339_ns,
)
from broker.domain import Order, OrderStatus, OrderType, PositionFill, Side, TimeInForce, TriggerCondition
from broker.history.archive import HistoryTable
from broker.history.tables import Amount, Moment
from broker.venue.v20.transactions import parse_time_ns

Format = Literal["json", "csv", "parquet"]
Block = list[dict[str, Any]]
MEDIA_TYPES: Mapping[Format, str] = {
    "json": "application/json",
    "csv": "text/csv",
    "parquet": "application/vnd.apache.parquet",
}
NEXT = Field(description="Cursor of the next page; null at the end.")


# The columns of a file are in the order of the fields.
class PastOrder(BaseModel):
    """An order at its last known status."""

    id: str
    client: str
    client_order_id: str
    instrument: str
    type: OrderType
    side: Side
    status: OrderStatus
    reason: str | None
    units: Number
    filled_units: Number
    average_price: Number | None
    venue_order_id: str | None
    created_at: Time
    updated_at: Time
    time_in_force: TimeInForce
    expires_at: Time | None
    remaining_units: Number
    price: Number | None
    price_bound: Number | None
    distance: Number | None
    position_fill: PositionFill
    trigger_condition: TriggerCondition
    trade_id: str | None
    take_profit: AttachedView | None
    stop_loss: AttachedView | None
    trailing_stop: AttachedView | None
    tag: str | None
    comment: str | None


class PastFill(BaseModel):
    """One fill of an order. Fills before 0.2 have no costs and no trades."""

    transaction_id: str
    order_id: str
    instrument: str
    side: Side
    units: Number
    price: Number
    profit: Number
    half_spread_cost: Number
    time: VenueTime
    commission: Number | None
    financing: Number | None
    guaranteed_fee: Number | None
    trades: list[TradePartView] | None


class PastTransaction(BaseModel):
    """A transaction of the venue's log; `transaction` is the venue's own object."""

    id: int
    type: str
    instrument: str | None
    time: VenueTime | None
    transaction: dict[str, Any]


class PastOrders(BaseModel):
    """A page of orders."""

    orders: list[PastOrder]
    next: str | None = NEXT


class PastFills(BaseModel):
    """A page of fills."""

    fills: list[PastFill]
    next: str | None = NEXT


class PastTransactions(BaseModel):
    """A page of transactions."""

    transactions: list[PastTransaction]
    next: str | None = NEXT


ASKED: Mapping[str, sa.Column[Any]] = {
    "time_in_force": sa.Column("time_in_force", sa.String, nullable=False),
    "expires_at": sa.Column("expires_at", Moment),
    "remaining_units": sa.Column("remaining_units", Amount, nullable=False),
    "price": sa.Column("price", Amount),
    "price_bound": sa.Column("price_bound", Amount),
    "distance": sa.Column("distance", Amount),
    "position_fill": sa.Column("position_fill", sa.String, nullable=False),
    "trigger_condition": sa.Column("trigger_condition", sa.String, nullable=False),
    "trade_id": sa.Column("trade_id", sa.String),
    **{name: sa.Column(name, sa.String) for name in (*ATTACHED, "tag", "comment")},
}
"""Columns of an order that no query selects by: they are in its document, not in the table."""
OWN = {"transaction": "document"}
"""Columns that callers know by another name."""
DOCUMENTS = frozenset({"transaction", "trades"})
"""Columns with a text of JSON."""
_ORDER = msgspec.json.Decoder(Order)
_ROWS: dict[str, type[BaseModel]] = {"orders": PastOrder, "fills": PastFill, "transactions": PastTransaction}


def wanted_format(asked: Format | None, accept: str | None) -> Format:
    """The format that the caller asks for: in the query, else the first known type of `Accept`, else JSON."""
    if asked is not None:
        return asked
    types = [item.partition(";")[0].strip().lower() for item in (accept or "").split(",")]
    return next((known for name in types for known, media in MEDIA_TYPES.items() if name == media), "json")


def columns_of(table: HistoryTable) -> dict[str, sa.Column[Any]]:
    """The names that callers see, in their order, each with its column; `transaction` is a whole document."""
    own = table.table.c
    names = _ROWS[table.name].model_fields
    return {name: ASKED[name] if name in ASKED else own[OWN.get(name, name)] for name in names}


async def export(table: HistoryTable, format_: Format, blocks: AsyncIterator[Block]) -> StreamingResponse:
    """All rows as a file."""
    # Awaited before the status is sent: if the database fails at once, the answer says so.
    first: Block = await anext(blocks, [])
    if format_ == "csv":
        parts: AsyncIterator[str | bytes] = _csv(table, first, blocks)
    else:
        # Loaded here: 9 MB and a library in Rust, which a broker without Parquet exports need not hold.
        encoder = importlib.import_module("broker.api.schemas.parquet")
        parts = encoder.parquet(columns_of(table), first, blocks)
    headers = {"Content-Disposition": f'attachment; filename="{table.name}.{format_}"'}
    return StreamingResponse(parts, media_type=MEDIA_TYPES[format_], headers=headers)


async def _csv(table: HistoryTable, first: Block, rest: AsyncIterator[Block]) -> AsyncIterator[str]:
    yield ",".join(columns_of(table)) + "\r\n"
    # In a thread: formatting a block on the event loop would hold up orders.
    yield await asyncio.to_thread(_csv_block, table, first)
    async for block in rest:
        yield await asyncio.to_thread(_csv_block, table, block)


def _csv_block(table: HistoryTable, block: Block) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(map(_csv_cell, row_view(table, row).values()) for row in block)
    return text.getvalue()


def _csv_cell(value: Any) -> Any:
    if isinstance(value, dict | list):
        return json.dumps(value, separators=(",", ":"))
    # A spreadsheet would run it as a formula; with an apostrophe it is a text (OWASP, CSV injection). Some skip blanks
    # and line ends before the sign, and some take the signs of full width.
    if isinstance(value, str) and _FORMULA.match(value) and not _NUMBER.fullmatch(value):
        return "'" + value
    return value


_FORMULA = re.compile(r"[\s\x00-\x1f=+\-@\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")


def row_view(table: HistoryTable, row: dict[str, Any]) -> dict[str, Any]:
    """A row as callers see it in JSON and CSV."""
    found = {name: _plain(value) for name, value in values_of(columns_of(table), row).items()}
    for name in DOCUMENTS & found.keys():
        found[name] = json.loads(found[name]) if found[name] is not None else None
    return found


def values_of(columns: Mapping[str, sa.Column[Any]], row: dict[str, Any]) -> dict[str, Any]:
    """The values of a row: times with nine digits where the venue gave them, what was asked from the document."""
    if ASKED.keys() <= columns.keys():
        shown = order_view(_ORDER.decode(row["document"]))
        row = row | {name: getattr(shown, name) for name in ASKED}
    found = {name: row[column.name] for name, column in columns.items()}
    if "transaction" in found:
        found["time"] = _venue_time(found["transaction"])
    elif row.get("time_ns") is not None:
        found["time"] = rfc3339_ns(row["time_ns"])
    return found


def _venue_time(document: str) -> str | None:
    try:
        return rfc3339_ns(parse_time_ns(json.loads(document)["time"]))
    except (KeyError, ValueError):
        return None


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return rfc3339(value) if isinstance(value, datetime) else value
