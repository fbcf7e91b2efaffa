"""Routes that page through and export the history."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import AwareDatetime, BaseModel

from broker.api.access import Reader
from broker.api.answer import COMMON, Responses
from broker.api.body import ClientOrderId, InstrumentName
from broker.api.past import PastFill, PastFills, PastOrder, PastOrders, PastTransaction, PastTransactions
from broker.api.surface import Parts, Surface
from broker.api.view import plain, rfc3339
from broker.domain import OrderStatus
from broker.history.archive import FILLS, ORDERS, TRANSACTIONS, Filter, Kind

routes = APIRouter(prefix="/v1/history", tags=["history"])

Since = Annotated[AwareDatetime | None, Query(description="From this time on.")]
Until = Annotated[AwareDatetime | None, Query(description="Before this time.")]
Limit = Annotated[int, Query(ge=1, le=1000, description="Rows of a page.")]
Cursor = Annotated[str | None, Query(max_length=200, description="`next` of the page before.")]
Instrument = Annotated[InstrumentName | None, Query()]
Form = Annotated[str, Query(pattern="^(json|csv)$", description="csv exports all rows, not a page.")]
Name = Annotated[str | None, Query(max_length=64, pattern=r"^[!-~]+$")]

_ROWS: dict[str, type[BaseModel]] = {"orders": PastOrder, "fills": PastFill, "transactions": PastTransaction}


def _listed(model: type[BaseModel]) -> Responses:
    words = "The newest first. `next` is the cursor of the next page, null at the end."
    found = {"model": model, "description": words, "content": {"text/csv": {"schema": {"type": "string"}}}}
    return {**COMMON, 200: found}


@routes.get("/orders", responses=_listed(PastOrders), summary="Orders, finished ones too")
async def list_orders(
    *,
    parts: Parts,
    _: Reader,
    since: Since = None,
    until: Until = None,
    instrument: Instrument = None,
    status: Annotated[OrderStatus | None, Query()] = None,
    client: Name = None,
    client_order_id: Annotated[ClientOrderId | None, Query()] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
    form: Annotated[Form, Query(alias="format")] = "json",
) -> Response:
    """Orders by the time they were taken. What is not written to the history yet is missing: see its backlog."""
    equal = {"instrument": instrument, "status": status, "client": client, "client_order_id": client_order_id}
    return await _list(parts, ORDERS, _filter(equal, since, until), limit=limit, cursor=cursor, form=form)


@routes.get("/fills", responses=_listed(PastFills), summary="Fills")
async def list_fills(
    *,
    parts: Parts,
    _: Reader,
    since: Since = None,
    until: Until = None,
    instrument: Instrument = None,
    order_id: Name = None,
    limit: Limit = 100,
    cursor: Cursor = None,
    form: Annotated[Form, Query(alias="format")] = "json",
) -> Response:
    """Trades that our orders made, by the venue's time."""
    equal = {"instrument": instrument, "order_id": order_id}
    return await _list(parts, FILLS, _filter(equal, since, until), limit=limit, cursor=cursor, form=form)


@routes.get("/transactions", responses=_listed(PastTransactions), summary="The account's transactions")
async def list_transactions(
    *,
    parts: Parts,
    _: Reader,
    since: Since = None,
    until: Until = None,
    instrument: Instrument = None,
    type_: Annotated[Name, Query(alias="type")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
    form: Annotated[Form, Query(alias="format")] = "json",
) -> Response:
    """The venue's own log of the account, as far as the broker has taken it."""
    equal = {"instrument": instrument, "type": type_}
    return await _list(parts, TRANSACTIONS, _filter(equal, since, until), limit=limit, cursor=cursor, form=form)


def _filter(equal: dict[str, str | None], since: datetime | None, until: datetime | None) -> Filter:
    given = {name: str(value) for name, value in equal.items() if value is not None}
    return Filter(equal=given, since=since, until=until)


async def _list(parts: Surface, kind: Kind, wanted: Filter, *, limit: int, cursor: str | None, form: str) -> Response:
    if form == "csv":
        blocks = parts.archive.export(kind, wanted, limit=parts.history_rows)
        first: list[dict[str, Any]] = await anext(
            blocks, []
        )  # an error of the database is still an answer of its own
        headers = {"Content-Disposition": f'attachment; filename="{kind.table.name}.csv"'}
        return StreamingResponse(_csv(kind, first, blocks), media_type="text/csv", headers=headers)
    page = await parts.archive.page(kind, wanted, limit=limit, cursor=cursor)
    body = {kind.table.name: [_row(kind, row) for row in page.rows], "next": page.cursor}
    return Response(json.dumps(body), media_type="application/json")


async def _csv(
    kind: Kind, first: list[dict[str, Any]], rest: AsyncIterator[list[dict[str, Any]]]
) -> AsyncIterator[str]:
    yield _lines([_ROWS[kind.table.name].model_fields])
    yield _lines(_row(kind, row).values() for row in first)
    async for block in rest:
        yield _lines(_row(kind, row).values() for row in block)


def _lines(rows: Any) -> str:
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


def _row(kind: Kind, row: dict[str, Any]) -> dict[str, Any]:
    return {name: _plain(row, name) for name in _ROWS[kind.table.name].model_fields}


def _plain(row: dict[str, Any], name: str) -> Any:
    if name == "transaction":
        return json.loads(row["document"])
    value = row[name]
    if isinstance(value, Decimal):
        return plain(value)
    return rfc3339(value) if isinstance(value, datetime) else value
