"""Routes that show the account, its positions and prices, and whose key a request bears."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response, Security
from pydantic import BaseModel, Field

from broker.api.auth.access import Reader, authenticate
from broker.api.auth.keys import ApiClient
from broker.api.context import Account, Api
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
from pod_runtime import VERSION

routes = APIRouter(prefix="/v1", tags=["account"], responses=COMMON_PROBLEMS)


class KeyView(BaseModel):
    """The API key of the request."""

    id: str = Field(description="Its id: the `client` of orders that are placed with it.", examples=["flow"])
    scopes: list[str] = Field(examples=[["read", "trade"]])
    accounts: list[str] = Field(description="The accounts of this broker; with several, requests name one.")
    version: str = Field(description="Of the broker's program.")


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


@routes.get("/key", response_model=KeyView, summary="The key of the request")
async def get_key(api: Api, client: Annotated[ApiClient, Security(authenticate)]) -> Response:
    """Id and scopes of the key, and the accounts that it may be used for. Needs no scope."""
    accounts, scopes = sorted(api.accounts), sorted(client.scopes)
    return json_response(KeyView(id=client.id, scopes=scopes, accounts=accounts, version=VERSION))
