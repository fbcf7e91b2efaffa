"""The stream of order and price updates as server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse

from broker.api.auth.access import Reader
from broker.api.context import Parts, Surface
from broker.api.forwarding.standby import OwnerStreams
from broker.api.http.problem import Problem
from broker.api.order_service import Update
from broker.api.schemas.json_response import COMMON
from broker.api.schemas.responses import order_view, price_view
from broker.channel import Channel, ClosedError
from broker.domain import Order, Quote
from broker.orders.updates import Missed

routes = APIRouter(prefix="/v1", tags=["events"])

BEAT_S = 10.0
RETRY_MS = 1000
_HEADERS = {"X-Accel-Buffering": "no"}
_STREAM = {
    **COMMON,
    200: {
        "description": "`event: order` with an order, `event: price` with a price, `event: missed` with the number "
        "of updates dropped because the reader was slow. A comment each 10 s shows that it lives.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    },
}


@routes.get(
    "/events",
    responses=_STREAM,
    summary="Order and price updates as they happen",
    dependencies=[OwnerStreams],
)
async def stream_events(
    parts: Parts,
    _: Reader,
    kinds: Annotated[
        str, Query(alias="types", pattern="^(order|price)(,(order|price))*$", description="Which events.")
    ] = "order,price",
    instruments: Annotated[
        str | None, Query(max_length=4000, pattern=r"^[A-Z0-9_]+(,[A-Z0-9_]+)*$", description="Of these only.")
    ] = None,
) -> Response:
    """Updates from now on. After a pause, ask for what may have changed: the stream does not replay."""
    ending = parts.drain.is_set()
    if ending or parts.streams >= parts.settings.event_streams:
        detail = "The broker is ending." if ending else f"{parts.streams} event streams are open."
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "too-many-streams", detail, retry_after_s=5)
    names = frozenset(instruments.split(",")) if instruments else None
    body = _lines(parts, frozenset(kinds.split(",")), names)
    return StreamingResponse(body, media_type="text/event-stream", headers=_HEADERS)


async def _lines(parts: Surface, kinds: frozenset[str], names: frozenset[str] | None) -> AsyncIterator[str]:
    parts.streams += 1
    pending: Channel[Update] = Channel(1)
    tasks = [
        asyncio.create_task(_pass_on(parts.desk.updates(), pending)),
        asyncio.create_task(_close_at(parts.drain, pending)),
    ]
    try:
        yield f"retry: {RETRY_MS}\n\n"
        while True:
            try:
                async with asyncio.timeout(BEAT_S):
                    update = await pending.receive()
            except TimeoutError:
                if parts.desk.elsewhere() is not None:  # what happens now happens there: the client connects again
                    return
                yield ": alive\n\n"
                continue
            except ClosedError:
                return
            if (text := event_of(update, kinds, names)) is not None:
                yield text
    finally:
        parts.streams -= 1
        for task in tasks:
            task.cancel()


async def _close_at(end: asyncio.Event, pending: Channel[Update]) -> None:
    await end.wait()
    await pending.close()


async def _pass_on(updates: AsyncIterator[Update], pending: Channel[Update]) -> None:
    """Waits where the reader is slow: the desk's own listener then drops the oldest and counts."""
    async with aclosing(updates):  # type: ignore[type-var] # a generator in fact
        with suppress(ClosedError):
            async for update in updates:
                await pending.send(update)


def event_of(update: Update, kinds: frozenset[str], names: frozenset[str] | None) -> str | None:
    """The event's text, or None for one that was not asked for."""
    if isinstance(update, Missed):
        return f'event: missed\ndata: {{"count": {update.count}}}\n\n'
    if isinstance(update, Order):
        if "order" not in kinds or (names is not None and update.request.instrument not in names):
            return None
        stamp = int(update.updated_at.timestamp() * 1e6)
        return f"id: {update.id}.{stamp}\nevent: order\ndata: {order_view(update).model_dump_json()}\n\n"
    if isinstance(update, Quote) and "price" in kinds and (names is None or update.instrument in names):
        return f"event: price\ndata: {price_view(update).model_dump_json()}\n\n"
    return None
