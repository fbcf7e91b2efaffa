"""Server-sent events: what the console's page and `sidecar events` follow.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

from aiohttp import web

from sidecar.health.probes import time_text
from sidecar.ingest.tail import TailEvent

WRITE_DEADLINE_S = 10.0
"""A reader that takes nothing for so long is let go."""
QUEUE = 64
PACE_S = 0.1
EVENTS_A_PACE = 100
"""Events are for eyes: more than a thousand a second only cost the event path its processor."""

JsonObject = dict[str, Any]


class TooManyWatchersError(Exception):
    """The console has as many watchers as it may."""


Messages = asyncio.Queue[bytes | None]
"""What one watcher is yet to be sent; None ends its stream."""


class Watchers:
    """Who follows the status; each tick's document is encoded once for all of them."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._all: dict[Messages, bool] = {}
        self._closed = False

    @property
    def any(self) -> bool:
        """Whether somebody watches."""
        return bool(self._all)

    def enter(self, *, wants_status: bool = True) -> Messages:
        """The messages of one more watcher.

        Raises:
            TooManyWatchersError: there is no room, or the console closes.
        """
        if self._closed or len(self._all) >= self._limit:
            raise TooManyWatchersError
        messages: Messages = asyncio.Queue(QUEUE)
        self._all[messages] = wants_status
        return messages

    def leave(self, messages: Messages) -> None:
        """The watcher is gone."""
        self._all.pop(messages, None)

    def tell(self, document: JsonObject) -> None:
        """Sends a status to every watcher; one that is too far behind misses it, the next one says it all."""
        data = message("status", document)
        for messages, wants_status in self._all.items():
            if wants_status and not messages.full():
                messages.put_nowait(data)

    def close(self) -> None:
        """Ends every stream, what waits in it included."""
        self._closed = True
        for messages in self._all:
            while not messages.empty():
                messages.get_nowait()
            messages.put_nowait(None)


def message(kind: str, value: Any) -> bytes:
    """One message on the wire."""
    return f"event: {kind}\ndata: {json.dumps(value, separators=(',', ':'), default=str)}\n\n".encode()


def event_json(event: TailEvent) -> JsonObject:
    """A telemetry event as the page shows it."""
    return {
        "time": time_text(event.time_ns),
        "producer": event.producer_id,
        "sequence": event.sequence,
        "name": event.name,
        "severity": event.severity,
        "attributes": dict(event.attributes),
    }


async def stream(
    request: web.Request,
    watchers: Watchers,
    first: JsonObject | None,
    tail: Callable[[], AsyncIterator[TailEvent]] | None,
) -> web.StreamResponse:
    """Serves one watcher until it goes or the console closes. `first` is what it is told at once.

    Raises:
        TooManyWatchersError: there is no room for one more.
    """
    messages = watchers.enter(wants_status=first is not None)
    try:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
        await response.prepare(request)
        if first is not None:
            await response.write(message("status", first))
        async with asyncio.TaskGroup() as tasks:
            following = [tasks.create_task(item) for item in _following(tail, messages)]
            await _send(response, messages)
            for task in following:
                task.cancel()
    finally:
        watchers.leave(messages)
    return response


async def _send(response: web.StreamResponse, messages: Messages) -> None:
    with contextlib.suppress(ConnectionError, TimeoutError):
        while (data := await messages.get()) is not None:
            async with asyncio.timeout(WRITE_DEADLINE_S):
                await response.write(data)


def _following(
    tail: Callable[[], AsyncIterator[TailEvent]] | None, messages: Messages
) -> Iterator[Coroutine[Any, Any, None]]:
    if tail is not None:
        portion: list[JsonObject] = []
        yield _collect(tail(), portion)
        yield _hand_on(portion, messages)


async def _collect(events: AsyncIterator[TailEvent], portion: list[JsonObject]) -> None:
    """Fills the portion; while it is full nothing is read, and the tail drops the oldest of what comes."""
    async for event in events:
        while len(portion) >= EVENTS_A_PACE:  # noqa: ASYNC110 - the pace is what the sleep is for
            await asyncio.sleep(PACE_S)
        portion.append(event_json(event))


async def _hand_on(portion: list[JsonObject], messages: Messages) -> None:
    while True:
        await asyncio.sleep(PACE_S)
        if portion:
            await messages.put(message("events", portion))
            portion.clear()
