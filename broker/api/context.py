"""Objects that the routes work with: one `ApiContext` of the process, one `AccountApi` for each account it trades.

`broker.wiring` builds them; routes get them by the annotations `Api` and `Account`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Depends, Query, Request

from broker.api.auth.keys import ApiKeySource, Quota
from broker.api.forwarding.peer import Peer
from broker.api.http.problem import invalid
from broker.api.in_flight import InFlight
from broker.api.settings import ApiSettings
from broker.history.archive import Archive
from broker.orders.service import OrderService
from broker.venue.rest.market_data import MarketData
from producer.health import Condition


@dataclass(slots=True, kw_only=True)
class AccountApi:
    """Parts of the API that belong to one account."""

    id: str
    orders: OrderService
    archive: Archive
    market: MarketData
    conditions: Callable[[], Sequence[Condition]]
    """Health of the process and of this account."""
    streams: int = 0
    """Open event streams; `ApiSettings.event_streams` bounds them."""


@dataclass(slots=True, kw_only=True)
class ApiContext:
    """State of the order API that every account of the process shares."""

    settings: ApiSettings
    accounts: Mapping[str, AccountApi]
    keys: ApiKeySource
    peer: Peer
    forwards_writes: bool
    """A standby forwards writes to the account's owner, or else refuses them. It forwards reads either way."""
    export_rows: int
    """Most rows of one export."""
    emit: Callable[[tuple[Any, ...]], None]
    new_client_order_id: Callable[[], str]
    """Name an order that its caller did not name."""
    in_flight: InFlight = field(default_factory=InFlight)
    quota: Quota = field(init=False)
    wrong_keys: Quota = field(init=False)
    """Requests with an unknown key, by the peer's address."""
    refused: Counter[str] = field(default_factory=Counter)
    """Refusals since the last report, by one of `broker.events.process.REFUSALS`."""
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the process was ready for the first time."""
    drain: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the process begins to end: new orders are refused, event streams end."""

    def __post_init__(self) -> None:
        self.quota = Quota(self.settings.requests_per_s, self.settings.request_burst)
        self.wrong_keys = Quota(self.settings.wrong_keys_per_min / 60, self.settings.wrong_keys_per_min)


async def _context_of(request: Request) -> ApiContext:
    context: ApiContext = request.app.state.context
    return context


Api = Annotated[ApiContext, Depends(_context_of)]
AccountId = Annotated[
    str | None,
    Query(max_length=64, description="Id of the account; needed where the broker trades several, and only there."),
]


async def _account_of(request: Request, api: Api, account: AccountId = None) -> AccountApi:
    """The account that a request names, or the only one; raises Problem for none of several or an unknown one."""
    if account is None and len(api.accounts) == 1:
        account = next(iter(api.accounts))
    # Never a default among several: an order on the wrong account cannot be taken back.
    if (found := api.accounts.get(account or "")) is None:
        raise invalid("account", "must name one of the accounts of this broker")
    request.state.account = found  # for the error handler, which gets no dependencies
    return found


Account = Annotated[AccountApi, Depends(_account_of)]
