"""Routes that page through and export the history."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel

from broker.api.auth.access import Reader
from broker.api.context import Parts, Surface
from broker.api.schemas.export import MEDIA_TYPES, Form, export, view, wanted_form
from broker.api.schemas.history import PastFills, PastOrders, PastTransactions
from broker.api.schemas.json_response import COMMON, Responses
from broker.api.schemas.requests import ClientOrderId, InstrumentName, Moment
from broker.domain import OrderStatus
from broker.history.archive import FILLS, ORDERS, TRANSACTIONS, Filter, Kind

routes = APIRouter(prefix="/v1/history", tags=["history"])

Since = Annotated[Moment | None, Query(description="From this time on.")]
Until = Annotated[Moment | None, Query(description="Before this time.")]
Limit = Annotated[int, Query(ge=1, le=1000, description="Rows of a page.")]
Cursor = Annotated[str | None, Query(max_length=200, description="`next` of the page before.")]
Instrument = Annotated[InstrumentName | None, Query()]
Name = Annotated[str | None, Query(max_length=64, pattern=r"^[!-~]+$")]

AskedForm = Annotated[
    Form | None,
    Query(alias="format", description="csv and parquet export all rows, not a page; `Accept` may ask for them too."),
]


async def _form(request: Request, asked: AskedForm = None) -> Form:
    return wanted_form(asked, request.headers.get("accept"))


ChosenForm = Annotated[Form, Depends(_form)]


def _listed(model: type[BaseModel]) -> Responses:
    words = "The newest first. `next` is the cursor of the next page, null at the end."
    files = {MEDIA_TYPES["csv"]: {"type": "string"}, MEDIA_TYPES["parquet"]: {"type": "string", "format": "binary"}}
    found = {
        "model": model,
        "description": words,
        "content": {name: {"schema": item} for name, item in files.items()},
    }
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
    form: ChosenForm,
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
    form: ChosenForm,
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
    form: ChosenForm,
) -> Response:
    """The venue's own log of the account, as far as the broker has taken it."""
    equal = {"instrument": instrument, "type": type_}
    return await _list(parts, TRANSACTIONS, _filter(equal, since, until), limit=limit, cursor=cursor, form=form)


def _filter(equal: dict[str, str | None], since: datetime | None, until: datetime | None) -> Filter:
    given = {name: str(value) for name, value in equal.items() if value is not None}
    return Filter(equal=given, since=since, until=until)


async def _list(
    parts: Surface, kind: Kind, wanted: Filter, *, limit: int, cursor: str | None, form: Form
) -> Response:
    if form != "json":
        return await export(kind, form, parts.archive.export(kind, wanted, limit=parts.history_rows))
    page = await parts.archive.page(kind, wanted, limit=limit, cursor=cursor)
    body = {kind.table.name: [view(kind, row) for row in page.rows], "next": page.cursor}
    return Response(json.dumps(body), media_type=MEDIA_TYPES["json"])
