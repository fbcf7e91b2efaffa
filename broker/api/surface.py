"""What every route of the order API works with."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Depends, Request

from broker.api.desk import Desk
from broker.api.in_flight import InFlight
from broker.api.keys import ApiKeys
from broker.api.peer import Peer
from broker.api.quota import Quota
from broker.api.settings import ApiSettings
from broker.health import Condition
from broker.history.archive import Archive


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


async def surface_of(request: Request) -> Surface:
    """The surface of the application that serves a request."""
    surface: Surface = request.app.state.surface
    return surface


Parts = Annotated[Surface, Depends(surface_of)]
