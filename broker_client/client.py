"""The client that programs use: the API's operations, and what takes more than one call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol, TypeVar

from broker_client.errors import UnavailableError
from broker_client.models import OrderStatus, OrderView
from broker_client.operations import Operations

UNSETTLED = frozenset({OrderStatus.RECEIVED, OrderStatus.SUBMITTED, OrderStatus.UNKNOWN, OrderStatus.PRESUMED_ABSENT})
"""Statuses of an order of which the venue has not yet told. Never send such an order under another key."""


class _Page(Protocol):
    @property
    def next(self) -> str | None: ...


P = TypeVar("P", bound=_Page)


class BrokerClient(Operations):
    """A client of one broker's order API. `async with` it: leaving closes its connections."""

    async def wait_settled(self, order: OrderView, *, deadline_s: float = 120.0) -> OrderView:
        """The order once the venue has told of it; at once for an order that is settled already.

        A 202 leaves an order unsettled: the venue's answer was lost, and the broker looks in the venue's log.
        Raises UnavailableError if it is not settled by the deadline; the order is then as open as before.
        """
        try:
            async with asyncio.timeout(deadline_s):
                while order.status in UNSETTLED:
                    await asyncio.sleep(self._poll_s)
                    order = await self.get_order(order.id)
        except TimeoutError:
            message = f"the order {order.id} is still {order.status} after {deadline_s:g} s; ask for it again later"
            raise UnavailableError(message, idempotency_key=order.client_order_id) from None
        return order


async def pages(operation: Callable[..., Awaitable[P]], **filters: Any) -> AsyncIterator[P]:
    """All pages of a listing of the history, as `pages(broker.list_past_fills, instrument="EUR_USD")`."""
    cursor: str | None = None
    while True:
        page = await operation(**filters, cursor=cursor)
        yield page
        if (cursor := page.next) is None:
            return
