"""Changes of orders, the account's transactions, prices and more as a stream of server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from broker.api.auth.access import Reader
from broker.api.context import Account, AccountApi, Api, ApiContext
from broker.api.forwarding.standby import OwnerStreams
from broker.api.http.problem import unavailable
from broker.api.schemas.events import EVENTS, KINDS, EventFilter, event_of, place_of
from broker.api.schemas.responses import COMMON_PROBLEMS, REFERENCE, Responses
from broker.orders.event_stream import Streamed
from broker.orders.store.journal import JournalMark
from pod_runtime.cancellation import PersistentTaskGroup

routes = APIRouter(prefix="/v1", tags=["events"], responses=COMMON_PROBLEMS)

KEEPALIVE_S = 10.0
RETRY_MS = 1000  # a client that reconnects; the default is up to the browser
_HEADERS = {"X-Accel-Buffering": "no"}  # nginx would collect events before it passes them on
_EXAMPLE = """retry: 1000

id: 1041-5d0c7a11

id: 1042-9f3c01ab
event: state
data: {"state":"reducing","actor":"ann","reason":"news"}

event: price
data: {"instrument":"EUR_USD","bid":"1.10000","ask":"1.10020","time":"2026-01-05T10:00:00.250000Z","tradeable":true}

"""
_STREAM: Responses = {
    200: {
        "description": "`event: order` with an order at each change, `transaction` with a transaction of the venue's "
        "log, `state` with the trading state, `price` with a price, `account` with the account's summary when it has "
        "changed. `missed` tells the number of prices and summaries dropped because the reader was slow, `gap` that "
        "changes since Last-Event-ID are missing here. A comment each 10 s shows that the stream lives.",
        "content": {
            "text/event-stream": {
                "schema": {"type": "string"},
                # OpenAPI has no words for events before its version 3.2: `data` of each is such an object.
                "x-events": {name: {"$ref": REFERENCE.format(model=kind.__name__)} for name, kind in EVENTS.items()},
                "example": _EXAMPLE,
            }
        },
    }
}
_ONE_KIND = f"({'|'.join(KINDS)})"
EventId = Annotated[str | None, Header(alias="Last-Event-ID", max_length=200, description="Id of the last event seen.")]


@routes.get("/events", responses=_STREAM, summary="Changes and prices as they happen", dependencies=[OwnerStreams])
async def stream_events(
    *,
    api: Api,
    account: Account,
    _: Reader,
    kinds: Annotated[
        str, Query(alias="types", pattern=f"^{_ONE_KIND}(,{_ONE_KIND})*$", description="Which events.")
    ] = "order,price",
    instruments: Annotated[
        str | None, Query(max_length=4000, pattern=r"^[A-Z0-9_]+(,[A-Z0-9_]+)*$", description="Of these only.")
    ] = None,
    client: Annotated[str | None, Query(max_length=64, description="Orders of this API key's id only.")] = None,
    after: Annotated[
        str | None, Query(max_length=200, description="As Last-Event-ID, for who cannot send headers.")
    ] = None,
    last_event_id: EventId = None,
) -> Response:
    """Events from now on, or those since Last-Event-ID: orders, transactions and states once and in their order.

    The id of an event is its place in the order journal. If the journal does not reach back to it, `gap` comes first:
    read /v1/orders and /v1/history then. Prices and summaries of the account have no id and are not sent again.
    """
    if api.drain.is_set():
        raise unavailable("too-many-streams", "The broker is ending.", retry_after_s=5)
    wanted = EventFilter(
        kinds=frozenset(kinds.split(",")),
        instruments=frozenset(instruments.split(",")) if instruments else None,
        client=client,
    )
    # An id that is none of ours is told as a gap: a browser that gets an error would not connect again.
    seen = last_event_id or after
    return EventStream(api, account, wanted, JournalMark.parse(seen) if seen else None)


class EventStream(StreamingResponse):
    """Events of one account, until the reader leaves, `drain` is set, or another broker trades the account."""

    media_type = "text/event-stream"

    def __init__(self, api: ApiContext, account: AccountApi, wanted: EventFilter, after: JournalMark | None) -> None:
        super().__init__(self._events(), headers=_HEADERS)
        self._account = account
        self._limit = api.settings.event_streams
        self._drain = api.drain
        self._wanted = wanted
        self._after = after
        # One place: a slow reader makes `_read` wait, and the order service's own listener drops and counts.
        self._pending: asyncio.Queue[Streamed | None] = asyncio.Queue(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream. Raises Problem: too many are open."""
        # Looked at and counted in one step: of two requests that come at once, one takes the last place.
        if self._account.streams >= self._limit:
            raise unavailable("too-many-streams", f"{self._account.streams} event streams are open.", retry_after_s=5)
        self._account.streams += 1
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._account.streams -= 1

    async def stream_response(self, send: Send) -> None:
        """Send head and events; Starlette calls it once."""
        # The task group is not in the generator: one that is left at a `yield` would end in another task.
        async with PersistentTaskGroup() as tasks:
            beside = [tasks.create_task(self._read()), tasks.create_task(self._close_at_drain())]
            try:
                await super().stream_response(send)
            finally:
                for task in beside:
                    task.cancel()

    async def _read(self) -> None:
        # A task of its own: a time limit on the iterator itself would end it for good (PEP 525).
        async with aclosing(self._account.orders.follow(self._after)) as updates:
            async for update in updates:
                await self._pending.put(update)

    async def _close_at_drain(self) -> None:
        await self._drain.wait()
        await self._pending.put(None)

    async def _events(self) -> AsyncIterator[str]:
        yield f"retry: {RETRY_MS}\n\n"
        environment = self._account.market.environment
        told = place = self._after
        while True:
            text: str | None = ": alive\n\n"
            try:
                async with asyncio.timeout(KEEPALIVE_S):
                    update = await self._pending.get()
            except TimeoutError:
                # Another broker trades the account: what happens now happens there, so the client must reconnect.
                if self._account.orders.elsewhere() is not None:
                    return
            else:
                if update is None:
                    return
                place = place_of(update) or place
                text = event_of(update, self._wanted, environment)
            if text is not None:
                # Also with what has no id of its own: a reader of few events would come back with a place long gone.
                yield text if place == told else f"id: {place}\n{text}"
                told = place
