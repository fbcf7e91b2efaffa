"""Routes that show the account, its positions and prices."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from broker.api.auth.access import Reader
from broker.api.context import Parts
from broker.api.forwarding.standby import OwnerReads
from broker.api.schemas.json_response import COMMON, answer, problems
from broker.api.schemas.responses import (
    AccountView,
    PositionList,
    PriceList,
    account_view,
    position_view,
    price_view,
)

routes = APIRouter(prefix="/v1", tags=["account"])
_ASKED = {**COMMON, **problems(502)}


@routes.get("/account", response_model=AccountView, responses=_ASKED, summary="The account's summary")
async def get_account(parts: Parts, _: Reader) -> Response:
    """Balance, margin and counts, as the venue says now."""
    return answer(account_view(await parts.desk.account()))


@routes.get("/positions", response_model=PositionList, responses=_ASKED, summary="Open positions")
async def list_positions(parts: Parts, _: Reader) -> Response:
    """Net holdings, as the venue says now."""
    positions = await parts.desk.positions()
    return answer(PositionList.model_construct(positions=[position_view(item) for item in positions]))


@routes.get(
    "/prices",
    response_model=PriceList,
    responses=COMMON,
    summary="Latest prices",
    dependencies=[OwnerReads],
)
async def list_prices(
    parts: Parts,
    _: Reader,
    instruments: Annotated[
        str | None,
        Query(
            max_length=4000,
            pattern=r"^[A-Z0-9_]+(,[A-Z0-9_]+)*$",
            description="Names, separated by commas; all that are streamed where it is absent.",
            examples=["EUR_USD,USD_JPY"],
        ),
    ] = None,
) -> Response:
    """The latest price of each instrument, from memory. One without a price yet is left out."""
    names = instruments.split(",") if instruments else []
    return answer(PriceList.model_construct(prices=[price_view(quote) for quote in parts.desk.quotes(names)]))
