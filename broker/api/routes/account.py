"""Routes that show the account, its positions and prices."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from broker.api.auth.access import Reader
from broker.api.context import Account
from broker.api.forwarding.standby import OwnerReads
from broker.api.schemas.responses import (
    COMMON_PROBLEMS,
    AccountView,
    PositionList,
    PositionView,
    PriceList,
    PriceView,
    account_view,
    json_response,
    problems,
    views,
)

routes = APIRouter(prefix="/v1", tags=["account"], responses=COMMON_PROBLEMS)


@routes.get("/account", response_model=AccountView, responses=problems(502), summary="The account's summary")
async def get_account(account: Account, _: Reader) -> Response:
    """Balance, result, margin and counts, as the venue says now."""
    return json_response(account_view(await account.orders.account(), account.market.environment))


@routes.get("/positions", response_model=PositionList, responses=problems(502), summary="Open positions")
async def list_positions(account: Account, _: Reader) -> Response:
    """Net holdings, as the venue says now."""
    return json_response(PositionList.model_construct(positions=views(PositionView, await account.orders.positions())))


@routes.get("/prices", response_model=PriceList, summary="Latest prices", dependencies=[OwnerReads])
async def list_prices(
    account: Account,
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
    quotes = account.orders.quotes(instruments.split(",") if instruments else [])
    return json_response(PriceList.model_construct(prices=views(PriceView, quotes)))
