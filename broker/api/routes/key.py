"""Route that tells the holder of a key who it is: programs and pages offer what the key may do."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Response, Security
from pydantic import BaseModel, Field

from broker.api.auth.access import authenticate
from broker.api.auth.keys import ApiClient
from broker.api.context import Api
from broker.api.schemas.responses import COMMON_PROBLEMS, json_response
from pod_runtime.version import VERSION

routes = APIRouter(prefix="/v1", tags=["account"], responses=COMMON_PROBLEMS)


class KeyView(BaseModel):
    """The API key of the request."""

    id: str = Field(description="Its id: the `client` of orders that are placed with it.", examples=["flow"])
    scopes: list[str] = Field(examples=[["read", "trade"]])
    accounts: list[str] = Field(description="The accounts of this broker; with several, requests name one.")
    version: str = Field(description="Of the broker's program.")


@routes.get("/key", response_model=KeyView, summary="The key of the request")
async def get_key(api: Api, client: Annotated[ApiClient, Security(authenticate)]) -> Response:
    """Id and scopes of the key, and the accounts that it may be used for. Needs no scope."""
    accounts, scopes = sorted(api.accounts), sorted(client.scopes)
    return json_response(KeyView(id=client.id, scopes=scopes, accounts=accounts, version=VERSION))
