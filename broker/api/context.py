"""What every route of the order API works with."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Depends, Query, Request

from broker.api.auth.keys import ApiKeys
from broker.api.auth.quota import Quota
from broker.api.forwarding.peer import Peer
from broker.api.http.problem import Problem
from broker.api.in_flight import InFlight
from broker.api.order_service import Desk
from broker.api.settings import ApiSettings
from broker.history.archive import Archive
from producer.health import Condition


@dataclass(slots=True, kw_only=True)
class Surface:
    """The parts behind the API."""

    settings: ApiSettings
    history_rows: int
    """Most rows of one export."""
    account: str
    desk: Desk
    archive: Archive
    keys: Callable[[], ApiKeys | None]
    in_flight: InFlight
    emit: Callable[[tuple[Any, ...]], None]
    new_id: Callable[[], str]
    conditions: Callable[[], Sequence[Condition]]
    peer: Peer | None = None
    """How to ask the broker that trades the account; none answers with what we have ourselves."""
    forwards: bool = False
    """Whether writes are passed on to it; else they are refused with its address. Reads of its memory always are."""
    quota: Quota = field(init=False)
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the process was ready for the first time: an order before that would be denied for want of a price."""
    drain: asyncio.Event = field(default_factory=asyncio.Event)
    """Set at the end: refuses new orders and ends event streams."""
    streams: int = 0
    """Event streams that are open."""

    def __post_init__(self) -> None:
        self.quota = Quota(self.settings.requests_per_s, self.settings.request_burst)

    def sibling(
        self,
        account: str,
        desk: Desk,
        archive: Archive,
        conditions: Callable[[], Sequence[Condition]],
    ) -> Surface:
        """The parts of another account behind the same API: its callers, their quotas and the end are common."""
        made = replace(
            self,
            account=account,
            desk=desk,
            archive=archive,
            conditions=conditions,
            ready=asyncio.Event(),
        )
        made.quota = self.quota
        return made


Account = Annotated[
    str | None,
    Query(max_length=64, description="Id of the account; needed where the broker trades several, and only there."),
]


async def surface_of(request: Request, account: Account = None) -> Surface:
    """The parts of the account that a request is about.

    Raises:
        Problem: 422 where the account is not named and there are several, or is not one of them.
    """
    surfaces: dict[str, Surface] = request.app.state.surfaces
    if account is None and len(surfaces) == 1:
        account = next(iter(surfaces))
    if (found := surfaces.get(account or "")) is None:
        words = "must name one of the accounts of this broker"
        errors = [{"field": "account", "message": words}]
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-request", f"account {words}.", errors=errors)
    request.state.surface = found
    return found


Parts = Annotated[Surface, Depends(surface_of)]
