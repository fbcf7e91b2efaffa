"""What a broker that does not trade the account does with a request: passes it to the owner, or refuses it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import Depends, Request
from fastapi.responses import Response

from broker.api.auth.access import Admin, Reader, Trader
from broker.api.auth.keys import Client
from broker.api.context import Parts, Surface
from broker.api.forwarding.peer import VIA, Passed
from broker.api.http.problem import Problem
from broker.orders.errors import DrainingError, NotReadyError

NOT_OWNER = "NotOwner"
AGAIN_S = 1.0


class Answered(Exception):  # noqa: N818 - no error: another has answered
    """The request was answered elsewhere."""

    def __init__(self, response: Response) -> None:
        super().__init__()
        self.response = response


async def answer_answered(_: Request, error: Exception) -> Response:
    """Handler of `Answered`."""
    assert isinstance(error, Answered)  # noqa: S101 - registered for it only
    return error.response


def was_passed_on(headers: Mapping[str, str]) -> bool:
    """Whether a broker has passed the request on already: it is not passed on again."""
    return VIA in (item.strip() for item in headers.get("via", "").split(","))


def with_key(headers: Mapping[str, str], body: bytes, new_id: str) -> dict[str, str]:
    """The headers with an Idempotency-Key where the caller names the order nowhere: it can then be asked for."""
    if "idempotency-key" in headers or _names_itself(body):
        return dict(headers)
    return {**headers, "idempotency-key": new_id}


def _names_itself(body: bytes) -> bool:
    try:
        content: Any = json.loads(body or b"null")
    except ValueError:
        return False
    return isinstance(content, dict) and content.get("client_order_id") is not None


async def _write_elsewhere(request: Request, parts: Surface, client: Client) -> None:
    if (address := parts.desk.elsewhere()) is None:
        return
    if parts.drain.is_set():
        raise DrainingError
    if not parts.forwards:
        raise refusal(parts, address)
    await _pass_on(request, parts, client, address)


async def _read_elsewhere(request: Request, parts: Surface, client: Client) -> None:
    """Of what only the owner has in memory: our own emptiness would be no answer."""
    if parts.peer is not None and (address := parts.desk.elsewhere()) is not None:
        await _pass_on(request, parts, client, address)


async def _pass_on(request: Request, parts: Surface, client: Client, address: str) -> None:
    """The owner counts it against the key's quota, so we do not."""
    passed, peer = await _passed(request, parts, address), parts.peer
    if peer is not None:
        parts.quota.give_back(client.id)
        raise Answered(await parts.in_flight.run(lambda: peer.pass_on(address, passed)))


async def _passed(request: Request, parts: Surface, address: str) -> Passed:
    """The request as it goes on.

    Raises:
        NotReadyError: the owner is not known, or the request came from a broker that took us for it.
    """
    if not address or was_passed_on(request.headers):
        raise NotReadyError("NoOwner", AGAIN_S)
    body, headers = await request.body(), dict(request.headers.items())
    if request.method in {"POST", "PUT"}:
        headers = with_key(headers, body, parts.new_id())
    return Passed(method=request.method, target=_target(request), headers=headers, body=body)


def _target(request: Request) -> str:
    query = request.scope["query_string"]
    path: bytes = request.scope["raw_path"] + (b"?" + query if query else b"")
    return path.decode("latin-1")


def refusal(parts: Surface, address: str, retry_after_s: float = AGAIN_S) -> Problem:
    """409: who trades the account is a fact for the caller, not a fault of ours."""
    known = (item.message for item in parts.conditions() if item.reason == NOT_OWNER)
    words = next(known, "another one does")
    owner = f"{'https' if parts.settings.tls == 'required' else 'http'}://{address}" if address else None
    where = f" Ask {owner}." if owner else ""
    detail = f"This broker does not trade the account: {words}. Nothing was sent.{where}"
    return Problem(
        HTTPStatus.CONFLICT,
        "not-owner-of-account",
        detail,
        reason=NOT_OWNER,
        retry_after_s=retry_after_s,
        owner=owner,
    )


async def _trades_elsewhere(request: Request, parts: Parts, client: Trader) -> None:
    await _write_elsewhere(request, parts, client)


async def _administers_elsewhere(request: Request, parts: Parts, client: Admin) -> None:
    await _write_elsewhere(request, parts, client)


async def _reads_elsewhere(request: Request, parts: Parts, client: Reader) -> None:
    await _read_elsewhere(request, parts, client)


async def _streams_elsewhere(request: Request, parts: Parts, client: Reader) -> None:
    if parts.peer is None or parts.drain.is_set() or (address := parts.desk.elsewhere()) is None:
        return
    passed = await _passed(request, parts, address)
    parts.quota.give_back(client.id)
    raise Answered(await parts.peer.follow(address, passed, parts.drain))


OwnerTrades = Depends(_trades_elsewhere)
OwnerAdministers = Depends(_administers_elsewhere)
OwnerReads = Depends(_reads_elsewhere)
OwnerStreams = Depends(_streams_elsewhere)
