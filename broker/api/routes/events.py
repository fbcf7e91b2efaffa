"""Order and price updates as a stream of server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse
from starlette.types import Send

from broker.api.auth.access import Reader
from broker.api.context import Account, AccountApi, Api
from broker.api.forwarding.standby import OwnerStreams
from broker.api.http.problem import unavailable
from broker.api.schemas.responses import COMMON_PROBLEMS, PriceView, Responses, order_view, view
from broker.domain import Order, Quote
from broker.orders.updates import Missed

routes = APIRouter(prefix="/v1", tags=["events"], responses=COMMON_PROBLEMS)

Update = Order | Quote | Missed
KEEPALIVE_S = 10.0
RETRY_MS = 1000  # a client that reconnects; the default is up to the browser
_HEADERS = {"X-Accel-Buffering": "no"}  # nginx would collect events before it passes them on
_STREAM: Responses = {
    200: {
        "description": "`event: order` with an order, `event: price` with a price, `event: missed` with the number "
        "of updates dropped because the reader was slow. A comment each 10 s shows that it lives.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}


@routes.get("/events", responses=_STREAM, summary="Order and price updates as they happen", dependencies=[OwnerStreams])
async def stream_events(
    api: Api,
    account: Account,
    _: Reader,
    kinds: Annotated[
        str, Query(alias="types", pattern="^(order|price)(,(order|price))*$", description="Which events.")
    ] = "order,price",
    instruments: Annotated[
        str | None, Query(max_length=4000, pattern=r"^[A-Z0-9_]+(,[A-Z0-9_]+)*$", description="Of these only.")
    ] = None,
) -> Response:
    """Updates from now on. After a pause, ask for what may have changed: the stream does not replay."""
    if api.drain.is_set():
        raise unavailable("too-many-streams", "The broker is ending.", retry_after_s=5)
    if account.streams >= api.settings.event_streams:
        raise unavailable("too-many-streams", f"{account.streams} event streams are open.", retry_after_s=5)
    names = frozenset(instruments.split(",")) if instruments else None
    return EventStream(account, api.drain, frozenset(kinds.split(",")), names)


class EventStream(StreamingResponse):
    """Events of one account, until the reader leaves, `drain` is set, or another broker trades the account."""

    media_type = "text/event-stream"

    def __init__(
        self, account: AccountApi, drain: asyncio.Event, kinds: frozenset[str], instruments: frozenset[str] | None
    ) -> None:
        super().__init__(self._events(), headers=_HEADERS)
        self._account = account
        self._drain = drain
        self._kinds = kinds
        self._instruments = instruments
        # One place: a slow reader makes `_read` wait, and the order service's own listener drops and counts.
        self._pending: asyncio.Queue[Update | None] = asyncio.Queue(1)

    async def stream_response(self, send: Send) -> None:
        """Send head and events; Starlette calls it once."""
        self._account.streams += 1
        try:
            # The task group is not in the generator: one that is left at a `yield` would end in another task.
            async with asyncio.TaskGroup() as tasks:
                beside = [tasks.create_task(self._read()), tasks.create_task(self._close_at_drain())]
                try:
                    await super().stream_response(send)
                finally:
                    for task in beside:
                        task.cancel()
        finally:
            self._account.streams -= 1

    async def _read(self) -> None:
        # A task of its own: a time limit on the iterator itself would end it for good (PEP 525).
        async with aclosing(self._account.orders.updates()) as updates:  # type: ignore[type-var] # a generator in fact
            async for update in updates:
                await self._pending.put(update)

    async def _close_at_drain(self) -> None:
        await self._drain.wait()
        await self._pending.put(None)

    async def _events(self) -> AsyncIterator[str]:
        yield f"retry: {RETRY_MS}\n\n"
        while True:
            try:
                async with asyncio.timeout(KEEPALIVE_S):
                    update = await self._pending.get()
            except TimeoutError:
                # Another broker trades the account: what happens now happens there, so the client must reconnect.
                if self._account.orders.elsewhere() is not None:
                    return
                yield ": alive\n\n"
                continue
            if update is None:
                return
            if (text := event_of(update, self._kinds, self._instruments)) is not None:
                yield text


def event_of(update: Update, kinds: frozenset[str], instruments: frozenset[str] | None) -> str | None:
    """The event's text, or None for one that was not asked for."""
    if isinstance(update, Missed):
        return f'event: missed\ndata: {{"count": {update.count}}}\n\n'
    if isinstance(update, Order):
        if "order" not in kinds or (instruments is not None and update.request.instrument not in instruments):
            return None
        stamp = int(update.updated_at.timestamp() * 1e6)
        return f"id: {update.id}.{stamp}\nevent: order\ndata: {order_view(update).model_dump_json()}\n\n"
    if "price" in kinds and (instruments is None or update.instrument in instruments):
        return f"event: price\ndata: {view(PriceView, update).model_dump_json()}\n\n"
    return None
