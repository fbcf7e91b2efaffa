"""The history as a file: CSV for spreadsheets, Parquet for analysis, both sent while they are read."""

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
from pydantic import BaseModel

from broker.api.schemas.history import PastFill, PastOrder, PastTransaction
from broker.api.schemas.responses import plain, rfc3339
from broker.history.archive import Kind

Form = Literal["json", "csv", "parquet"]
Block = list[dict[str, Any]]
MEDIA_TYPES: Mapping[Form, str] = {
    "json": "application/json",
    "csv": "text/csv",
    "parquet": "application/vnd.apache.parquet",
}
_ROWS: dict[str, type[BaseModel]] = {"orders": PastOrder, "fills": PastFill, "transactions": PastTransaction}


def wanted_form(asked: Form | None, accept: str | None) -> Form:
    """What the caller asked for: the query first, then the first type of `Accept` that we have, else JSON."""
    if asked is not None:
        return asked
    types = [item.partition(";")[0].strip().lower() for item in (accept or "").split(",")]
    return next((form for name in types for form, media in MEDIA_TYPES.items() if name == media), "json")


def columns_of(kind: Kind) -> dict[str, str]:
    """The names that callers see, in their order, each with its column; `transaction` is a whole document."""
    return {name: "document" if name == "transaction" else name for name in _ROWS[kind.table.name].model_fields}


async def export(kind: Kind, form: Form, blocks: AsyncIterator[Block]) -> StreamingResponse:
    """All rows as a file. The first block is awaited: where the database fails at once, the answer says so."""
    first: Block = await anext(blocks, [])
    if form == "csv":
        parts: AsyncIterator[str | bytes] = _csv(kind, first, blocks)
    else:
        # 9 MB and a library of Rust that a broker whose history nobody takes as Parquet need not load
        encoder = importlib.import_module("broker.api.schemas.parquet")
        parts = encoder.parquet(kind.table, columns_of(kind), first, blocks)
    headers = {"Content-Disposition": f'attachment; filename="{kind.table.name}.{form}"'}
    return StreamingResponse(parts, media_type=MEDIA_TYPES[form], headers=headers)


async def _csv(kind: Kind, first: Block, rest: AsyncIterator[Block]) -> AsyncIterator[str]:
    yield _lines([columns_of(kind)])
    yield await asyncio.to_thread(_block, kind, first)
    async for block in rest:
        yield await asyncio.to_thread(_block, kind, block)


def _block(kind: Kind, block: Block) -> str:
    return _lines(view(kind, row).values() for row in block)


def _lines(rows: Iterable[Iterable[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue()


def _cell(value: Any) -> Any:
    """A text that a spreadsheet would take for a formula gets an apostrophe (OWASP, CSV injection)."""
    if isinstance(value, dict):
        return json.dumps(value, separators=(",", ":"))
    if isinstance(value, str) and value[:1] in {"=", "+", "@", "\t", "\r"}:
        return "'" + value
    return value


def view(kind: Kind, row: dict[str, Any]) -> dict[str, Any]:
    """A row as callers see it in JSON and CSV."""
    return {name: _plain(row[own], is_document=own == "document") for name, own in columns_of(kind).items()}


def _plain(value: Any, *, is_document: bool) -> Any:
    if is_document:
        return json.loads(value)
    if isinstance(value, Decimal):
        return plain(value)
    return rfc3339(value) if isinstance(value, datetime) else value
