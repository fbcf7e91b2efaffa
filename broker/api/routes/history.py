"""Routes that page through and export the history."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel

from broker.api.auth.access import Reader
from broker.api.context import Account, Api
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
from broker.api.schemas.requests import InDigits, InstrumentName, KnownOrderId, Moment
from broker.api.schemas.responses import COMMON_PROBLEMS, Responses
from broker.domain import OrderStatus
from broker.history.archive import FILLS, ORDERS, TRANSACTIONS, HistoryFilter, HistoryTable

routes = APIRouter(prefix="/v1/history", tags=["history"], responses=COMMON_PROBLEMS)

Since = Annotated[Moment | None, Query(description="From this time on.")]
Until = Annotated[Moment | None, Query(description="Before this time.")]
Instrument = Annotated[InstrumentName | None, Query()]
Name = Annotated[str | None, Query(max_length=64, pattern=r"^[!-~]+$")]

AskedFormat = Annotated[
    Format | None,
    Query(alias="format", description="csv and parquet export all rows, not a page; `Accept` may ask for them too."),
]

Answer = Callable[..., Awaitable[Response]]


async def _format_of(request: Request, asked: AskedFormat = None) -> Format:
    return wanted_format(asked, request.headers.get("accept"))


async def _answer_of(
    *,
    api: Api,
    account: Account,
    _: Reader,
    limit: Annotated[int, Query(ge=1, le=1000, description="Rows of a page."), InDigits] = 100,
    cursor: Annotated[str | None, Query(max_length=200, description="`next` of the page before.")] = None,
    format_: Annotated[Format, Depends(_format_of)],
) -> Answer:
    """A function that answers with a page or a file of the rows whose columns have the given values."""

    async def answer(
        table: HistoryTable, since: datetime | None, until: datetime | None, **equal: str | None
    ) -> Response:
        given = {name: str(value) for name, value in equal.items() if value is not None}
        wanted = HistoryFilter(equal=given, since=since, until=until)
        if format_ != "json":
            return await export(table, format_, account.archive.export(table, wanted, limit=api.export_rows))
        page = await account.archive.page(table, wanted, limit=limit, cursor=cursor)
        body = {table.name: [row_view(table, row) for row in page.rows], "next": page.cursor}
        return Response(json.dumps(body), media_type=MEDIA_TYPES["json"])

    return answer


Asked = Annotated[Answer, Depends(_answer_of)]


def _page_of(model: type[BaseModel]) -> Responses:
    schemas = {MEDIA_TYPES["csv"]: {"type": "string"}, MEDIA_TYPES["parquet"]: {"type": "string", "format": "binary"}}
    page = {
        "model": model,
        "description": (
            "The newest first. `next` is the cursor of the next page, null at the end and only there: a page whose "
            "filter no index serves may have fewer rows than `limit`, even none."
        ),
        "content": {name: {"schema": item} for name, item in schemas.items()},
    }
    return {200: page}


@routes.get("/orders", responses=_page_of(PastOrders), summary="Orders, finished ones too")
async def list_orders(
    *,
    answer: Asked,
    since: Since = None,
    until: Until = None,
    instrument: Instrument = None,
    status: Annotated[OrderStatus | None, Query()] = None,
    client: Name = None,
    client_order_id: Annotated[KnownOrderId | None, Query()] = None,
) -> Response:
    """Orders by the time they were taken. Those not yet written to the history are missing: see its backlog."""
    return await answer(
        ORDERS, since, until, instrument=instrument, status=status, client=client, client_order_id=client_order_id
    )


@routes.get("/fills", responses=_page_of(PastFills), summary="Fills")
async def list_fills(
    answer: Asked, since: Since = None, until: Until = None, instrument: Instrument = None, order_id: Name = None
) -> Response:
    """Trades that our orders made, by the venue's time."""
    return await answer(FILLS, since, until, instrument=instrument, order_id=order_id)


@routes.get("/transactions", responses=_page_of(PastTransactions), summary="The account's transactions")
async def list_transactions(
    answer: Asked,
    since: Since = None,
    until: Until = None,
    instrument: Instrument = None,
    type_: Annotated[Name, Query(alias="type")] = None,
) -> Response:
    """The venue's own log of the account, as far as the broker has read it."""
    return await answer(TRANSACTIONS, since, until, instrument=instrument, type=type_)
