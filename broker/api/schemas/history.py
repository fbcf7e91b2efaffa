"""The history as callers see it: pages as JSON, and whole files as CSV or Parquet, sent while they are read."""

from __future__ import annotations

import asyncio
import csv
import importlib
import io
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from broker.api.schemas.responses import Number, Time, plain, rfc3339
from broker.domain import OrderStatus, OrderType, Side
from broker.history.archive import HistoryTable

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


class PastFill(BaseModel):
    """One trade that an order made."""

    transaction_id: str
    order_id: str
    instrument: str
    side: Side
    units: Number
    price: Number
    profit: Number
    half_spread_cost: Number
    time: Time


class PastTransaction(BaseModel):
    """A transaction of the venue's log; `transaction` is the venue's own object."""

    id: int
    type: str
    instrument: str | None
    time: Time | None
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


_ROWS: dict[str, type[BaseModel]] = {"orders": PastOrder, "fills": PastFill, "transactions": PastTransaction}


def wanted_format(asked: Format | None, accept: str | None) -> Format:
    """The format that the caller asks for: in the query, else the first known type of `Accept`, else JSON."""
    if asked is not None:
        return asked
    types = [item.partition(";")[0].strip().lower() for item in (accept or "").split(",")]
    return next((known for name in types for known, media in MEDIA_TYPES.items() if name == media), "json")


def columns_of(table: HistoryTable) -> dict[str, str]:
    """The names that callers see, in their order, each with its column; `transaction` is a whole document."""
    return {name: "document" if name == "transaction" else name for name in _ROWS[table.name].model_fields}


async def export(table: HistoryTable, format_: Format, blocks: AsyncIterator[Block]) -> StreamingResponse:
    """All rows as a file."""
    # Awaited before the status is sent: if the database fails at once, the answer says so.
    first: Block = await anext(blocks, [])
    if format_ == "csv":
        parts: AsyncIterator[str | bytes] = _csv(table, first, blocks)
    else:
        # Loaded here: 9 MB and a library in Rust, which a broker without Parquet exports need not hold.
        encoder = importlib.import_module("broker.api.schemas.parquet")
        parts = encoder.parquet(table.table, columns_of(table), first, blocks)
    headers = {"Content-Disposition": f'attachment; filename="{table.name}.{format_}"'}
    return StreamingResponse(parts, media_type=MEDIA_TYPES[format_], headers=headers)


async def _csv(table: HistoryTable, first: Block, rest: AsyncIterator[Block]) -> AsyncIterator[str]:
    yield _csv_lines([columns_of(table)])
    # In a thread: formatting a block on the event loop would hold up orders.
    yield await asyncio.to_thread(_csv_block, table, first)
    async for block in rest:
        yield await asyncio.to_thread(_csv_block, table, block)


def _csv_block(table: HistoryTable, block: Block) -> str:
    return _csv_lines(row_view(table, row).values() for row in block)


def _csv_lines(rows: Iterable[Iterable[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows([_csv_cell(value) for value in row] for row in rows)
    return text.getvalue()


def _csv_cell(value: Any) -> Any:
    if isinstance(value, dict):
        return json.dumps(value, separators=(",", ":"))
    # A spreadsheet would run it as a formula; with an apostrophe it is a text (OWASP, CSV injection).
    if isinstance(value, str) and value[:1] in {"=", "+", "@", "\t", "\r"}:
        return "'" + value
    return value


def row_view(table: HistoryTable, row: dict[str, Any]) -> dict[str, Any]:
    """A row as callers see it in JSON and CSV."""
    return {name: _plain(row[column], is_document=column == "document") for name, column in columns_of(table).items()}


def _plain(value: Any, *, is_document: bool) -> Any:
    if is_document:
        return json.loads(value)
    if isinstance(value, Decimal):
        return plain(value)
    return rfc3339(value) if isinstance(value, datetime) else value
