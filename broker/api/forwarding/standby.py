"""Requests to a broker that does not trade the account: forwarded to the owner, or refused.

These FastAPI dependencies run before a route. They do nothing on the owner; elsewhere they end the request.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import Depends, Request
from fastapi.responses import Response

from broker.api.auth.access import Admin, Reader, Trader
from broker.api.auth.keys import ApiClient
from broker.api.context import Account, AccountApi, Api, ApiContext
from broker.api.forwarding.peer import VIA, ForwardedRequest
from broker.api.http.problem import Problem
from broker.orders.errors import DrainingError, NotReadyError

NOT_OWNER = "NotOwner"
RETRY_AFTER_S = 1.0


class OwnerAnswered(Exception):  # noqa: N818 - no error: ends the route early with the owner's answer
    """The owner has answered the request."""

    def __init__(self, response: Response) -> None:
        super().__init__()
        self.response = response


async def _forward_write(request: Request, api: ApiContext, account: AccountApi, client: ApiClient) -> None:
    if (owner := account.orders.elsewhere()) is None:
        return
    # Not even forwarded: the answer might come after this process has ended.
    if api.drain.is_set():
        raise DrainingError
    if not api.forwards_writes:
        raise refusal(api, account, owner)
    await _forward(request, api, client, owner)


async def _forward_trade(request: Request, api: Api, account: Account, client: Trader) -> None:
    await _forward_write(request, api, account, client)


async def _forward_admin(request: Request, api: Api, account: Account, client: Admin) -> None:
    await _forward_write(request, api, account, client)


async def _forward_read(request: Request, api: Api, account: Account, client: Reader) -> None:
    # Reads of state that only the owner has in memory. An empty answer from here would look like the truth.
    if (owner := account.orders.elsewhere()) is not None:
        await _forward(request, api, client, owner)


async def _forward_stream(request: Request, api: Api, account: Account, client: Reader) -> None:
    if api.drain.is_set() or (owner := account.orders.elsewhere()) is None:
        return
    forwarded = await _forwarded_request(request, api, owner)
    api.quota.give_back(client.id)
    raise OwnerAnswered(await api.peer.follow(owner, forwarded, api.drain))


OwnerTrades = Depends(_forward_trade)
OwnerAdministers = Depends(_forward_admin)
OwnerReads = Depends(_forward_read)
OwnerStreams = Depends(_forward_stream)


async def _forward(request: Request, api: ApiContext, client: ApiClient, owner: str) -> None:
    forwarded = await _forwarded_request(request, api, owner)
    # The owner counts the request against the key's quota. Counted here as well, it would cost the caller two.
    api.quota.give_back(client.id)
    raise OwnerAnswered(await api.in_flight.run(api.peer.forward(owner, forwarded)))


async def _forwarded_request(request: Request, api: ApiContext, owner: str) -> ForwardedRequest:
    """The request as the owner gets it.

    Raises:
        NotReadyError: the owner is not known, or a broker that took us for it forwarded the request.
    """
    # Two brokers that each take the other for the owner, as during a handover, would forward in a circle.
    if not owner or was_forwarded(request.headers):
        raise NotReadyError("NoOwner", RETRY_AFTER_S)
    body, headers = await request.body(), dict(request.headers.items())
    if request.method in {"POST", "PUT"}:
        headers = with_idempotency_key(headers, body, api.new_client_order_id())
    query = request.scope["query_string"]
    path: bytes = request.scope["raw_path"] + (b"?" + query if query else b"")
    return ForwardedRequest(method=request.method, target=path.decode("latin-1"), headers=headers, body=body)


def was_forwarded(headers: Mapping[str, str]) -> bool:
    """True if `Via` says that a broker forwarded the request."""
    return VIA in (item.strip() for item in headers.get("via", "").split(","))


def with_idempotency_key(headers: Mapping[str, str], body: bytes, new_id: str) -> dict[str, str]:
    """The headers with an Idempotency-Key, unless the caller names the order in them or in the body.

    If the owner's answer is lost, the caller learns this key and can ask for the order by it.
    """
    if "idempotency-key" in headers or _names_order(body):
        return dict(headers)
    return {**headers, "idempotency-key": new_id}


def _names_order(body: bytes) -> bool:
    try:
        content: Any = json.loads(body or b"null")
    except ValueError:
        return False  # the owner says so to the caller
    return isinstance(content, dict) and content.get("client_order_id") is not None


def refusal(api: ApiContext, account: AccountApi, owner: str, retry_after_s: float = RETRY_AFTER_S) -> Problem:
    """409 with the owner's address: that another broker trades is a fact for the caller, not a fault of ours."""
    known = (item.message for item in account.conditions() if item.reason == NOT_OWNER)
    words = next(known, "another one does")
    url = api.settings.url_of(owner) if owner else None
    advice = f" Ask {url}." if url else ""
    return Problem(
        HTTPStatus.CONFLICT,
        "not-owner-of-account",
        f"This broker does not trade the account: {words}. Nothing was sent.{advice}",
        reason=NOT_OWNER,
        retry_after_s=retry_after_s,
        owner=url,
    )
