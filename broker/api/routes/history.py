"""Routes that page through and export the history."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel

from broker.api.auth.access import Reader
from broker.api.context import Account, AccountApi, Api, ApiContext
from broker.api.schemas.history import (
    MEDIA_TYPES,
    Format,
    PastFills,
    PastOrders,
    PastTransactions,
    export,
    row_view,
    wanted_format,
)
from broker.api.schemas.requests import ClientOrderId, InstrumentName, Moment
from broker.api.schemas.responses import COMMON_PROBLEMS, Responses
from broker.domain import OrderStatus
from broker.history.archive import FILLS, ORDERS, TRANSACTIONS, HistoryFilter, HistoryTable

routes = APIRouter(prefix="/v1/history", tags=["history"])

Since = Annotated[Moment | None, Query(description="From this time on.")]
Until = Annotated[Moment | None, Query(description="Before this time.")]
Limit = Annotated[int, Query(ge=1, le=1000, description="Rows of a page.")]
Cursor = Annotated[str | None, Query(max_length=200, description="`next` of the page before.")]
Instrument = Annotated[InstrumentName | None, Query()]
Name = Annotated[str | None, Query(max_length=64, pattern=r"^[!-~]+$")]

AskedFormat = Annotated[
    Format | None,
    Query(alias="format", description="csv and parquet export all rows, not a page; `Accept` may ask for them too."),
]


async def _format_of(request: Request, asked: AskedFormat = None) -> Format:
    return wanted_format(asked, request.headers.get("accept"))


ChosenFormat = Annotated[Format, Depends(_format_of)]


def _page_of(model: type[BaseModel]) -> Responses:
    schemas = {MEDIA_TYPES["csv"]: {"type": "string"}, MEDIA_TYPES["parquet"]: {"type": "string", "format": "binary"}}
    page = {
        "model": model,
        "description": "The newest first. `next` is the cursor of the next page, null at the end.",
        "content": {name: {"schema": item} for name, item in schemas.items()},
    }
    return {**COMMON_PROBLEMS, 200: page}


@routes.get("/orders", responses=_page_of(PastOrders), summary="Orders, finished ones too")
async def list_orders(
    *,
    api: Api,
    account: Account,
    _: Reader,
    since: Since = None,
    until: Until = None,
    instrument: Instrument = None,
    status: Annotated[OrderStatus | None, Query()] = None,
    client: Name = None,
    client_order_id: Annotated[ClientOrderId | None, Query()] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
    format_: ChosenFormat,
) -> Response:
    """Orders by the time they were taken. Those not yet written to the history are missing: see its backlog."""
    equal = {"instrument": instrument, "status": status, "client": client, "client_order_id": client_order_id}
    wanted = _filter(equal, since, until)
    return await _list(api, account, ORDERS, wanted, limit=limit, cursor=cursor, format_=format_)


@routes.get("/fills", responses=_page_of(PastFills), summary="Fills")
async def list_fills(
    *,
    api: Api,
    account: Account,
    _: Reader,
    since: Since = None,
    until: Until = None,
    instrument: Instrument = None,
    order_id: Name = None,
    limit: Limit = 100,
    cursor: Cursor = None,
    format_: ChosenFormat,
) -> Response:
    """Trades that our orders made, by the venue's time."""
    equal = {"instrument": instrument, "order_id": order_id}
    wanted = _filter(equal, since, until)
    return await _list(api, account, FILLS, wanted, limit=limit, cursor=cursor, format_=format_)


@routes.get("/transactions", responses=_page_of(PastTransactions), summary="The account's transactions")
async def list_transactions(
    *,
    api: Api,
    account: Account,
    _: Reader,
    since: Since = None,
    until: Until = None,
    instrument: Instrument = None,
    type_: Annotated[Name, Query(alias="type")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
    format_: ChosenFormat,
) -> Response:
    """The venue's own log of the account, as far as the broker has read it."""
    equal = {"instrument": instrument, "type": type_}
    wanted = _filter(equal, since, until)
    return await _list(api, account, TRANSACTIONS, wanted, limit=limit, cursor=cursor, format_=format_)


def _filter(equal: dict[str, str | None], since: datetime | None, until: datetime | None) -> HistoryFilter:
    given = {name: str(value) for name, value in equal.items() if value is not None}
    return HistoryFilter(equal=given, since=since, until=until)


async def _list(
    api: ApiContext,
    account: AccountApi,
    table: HistoryTable,
    wanted: HistoryFilter,
    *,
    limit: int,
    cursor: str | None,
    format_: Format,
) -> Response:
    if format_ != "json":
        return await export(table, format_, account.archive.export(table, wanted, limit=api.export_rows))
    page = await account.archive.page(table, wanted, limit=limit, cursor=cursor)
    body = {table.name: [row_view(table, row) for row in page.rows], "next": page.cursor}
    return Response(json.dumps(body), media_type=MEDIA_TYPES["json"])
