"""Access to a route: an API key with its scope, within the key's quota. FastAPI dependencies."""

from __future__ import annotations

from http import HTTPStatus
from time import monotonic
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer, SecurityScopes

from broker.api.auth.keys import ApiClient
from broker.api.context import Api
from broker.api.http.problem import Problem

# For the API's description: `auth.key_check` has read the key when a route is asked.
_HEADER = APIKeyHeader(name="X-API-Key", auto_error=False, description="An API key with the scope of the operation.")
_BEARER = HTTPBearer(auto_error=False, description="The same API key as a bearer token.")


async def authenticate(
    scopes: SecurityScopes,
    request: Request,
    api: Api,
    _header: Annotated[str | None, Depends(_HEADER)],
    _bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)],
) -> ApiClient:
    """The holder of the request's key; counts the request against its quota, and gives the holder what is its own.

    Raises Problem: 403 without the scope, 429 beyond its quota.
    """
    client: ApiClient = request.state.client
    if missing := sorted(set(scopes.scopes) - client.scopes):
        detail = f"The key {client.id!r} lacks the scope {missing[0]!r}."
        raise Problem(HTTPStatus.FORBIDDEN, "missing-scope", detail)
    # The quota comes last: a request without a valid key must not use up that of the key's holder.
    if (wait_s := api.quota.wait_s(client.id, monotonic())) > 0:
        detail = f"The key {client.id!r} sends more than {api.settings.requests_per_s:g} requests a second."
        raise Problem(HTTPStatus.TOO_MANY_REQUESTS, "too-many-requests", detail, retry_after_s=wait_s)
    for account in api.accounts.values():
        account.orders.claim(client.id)
    return client


Reader = Annotated[ApiClient, Security(authenticate, scopes=["read"])]
Trader = Annotated[ApiClient, Security(authenticate, scopes=["trade"])]
Admin = Annotated[ApiClient, Security(authenticate, scopes=["admin"])]
