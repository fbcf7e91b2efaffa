"""Server-sent events: the stream that the console's page and `sidecar events` follow.

A watcher is one open stream. It has a queue of messages ready for the wire, which the status sampler fills with a
document at each interval (`tell`), and the stream's own tasks with the producers' events. A slow reader holds up
neither: a full queue misses that status, because the next one says it all; and while a reader is behind, events stay
in the tail, which drops its oldest batches. A reader that accepts nothing for `WRITE_DEADLINE_S` is disconnected. So
watchers cost bounded memory, and never delay the event path.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from aiohttp import web

from pod_runtime.cancellation import PersistentTaskGroup
from sidecar.health.probes import time_text
from sidecar.ingest.tail import TailEvent

if TYPE_CHECKING:
    from sidecar.console.document import JsonObject, StatusDocument

# TCP hides a reader that is gone, or suspended, until the buffers of both sides are full.
WRITE_DEADLINE_S = 10.0
# A minute of statuses at the default interval, or six seconds of events.
QUEUE = 64
# Events are for eyes: more than a thousand a second would only take CPU from the event path.
PACE_S = 0.1
EVENTS_A_PACE = 100

# nginx, an ingress or a development proxy, would otherwise collect events until its buffer is full.
HEADERS = {"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"}

Messages = asyncio.Queue[bytes | None]
"""Messages that one watcher has not been sent yet; None ends its stream."""


class TooManyWatchersError(Exception):
    """The console has as many watchers as `console.max_watchers` allows, or it closes."""


class Watchers:
    """Open streams; each status document is encoded once for all of them."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._all: dict[Messages, bool] = {}
        self._closed = False

    @property
    def any(self) -> bool:
        """True while at least one stream is open."""
        return bool(self._all)

    def enter(self, *, wants_status: bool = True) -> Messages:
        """Return the queue of one more watcher; `TooManyWatchersError` if there is no room, or the console closes."""
        if self._closed or len(self._all) >= self._limit:
            raise TooManyWatchersError
        messages: Messages = asyncio.Queue(QUEUE)
        self._all[messages] = wants_status
        return messages

    def leave(self, messages: Messages) -> None:
        """Forget a watcher that is gone."""
        self._all.pop(messages, None)

    def tell(self, document: StatusDocument) -> None:
        """Send a status to every watcher that has room for it."""
        data = status_message(document)
        for messages, wants_status in self._all.items():
            if wants_status and not messages.full():
                messages.put_nowait(data)

    def close(self) -> None:
        """End every stream, with the messages that wait in it."""
        self._closed = True
        for messages in self._all:
            # The queue may be full, and the end must fit in; what waits is of no use to a page that is closed.
            while not messages.empty():
                messages.get_nowait()
            messages.put_nowait(None)


def status_message(document: StatusDocument) -> bytes:
    """Encode a status as it goes over the wire."""
    return b"event: status\ndata: " + document.encode() + b"\n\n"


def event_json(event: TailEvent) -> JsonObject:
    """Convert a telemetry event to the JSON that the page shows."""
    return {
        "time": time_text(event.time_ns),
        "producer": event.producer_id,
        "sequence": event.sequence,
        "name": event.name,
        "severity": event.severity,
        "attributes": event.attributes,
    }


async def stream(
    request: web.Request, watchers: Watchers, first: StatusDocument | None, events: AsyncIterator[TailEvent] | None
) -> web.StreamResponse:
    """Serve one watcher, or raise `TooManyWatchersError`, until it goes or the console closes.

    Without `first` it gets no status at all.
    """
    messages = watchers.enter(wants_status=first is not None)
    try:
        # Through the queue, like every later message: so the first write has a deadline too.
        if first is not None:
            messages.put_nowait(status_message(first))
        response = web.StreamResponse(headers=HEADERS)
        await response.prepare(request)
        async with PersistentTaskGroup() as tasks:
            portion: list[JsonObject] = []
            steps = () if events is None else (_collect(events, portion), _forward(portion, messages))
            following = [tasks.create_task(step) for step in steps]
            await _send(response, messages)
            # A reader that is gone ends `_send` alone; without this its events would be collected for ever.
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


async def _collect(events: AsyncIterator[TailEvent], portion: list[JsonObject]) -> None:
    """Fill the portion; while it is full nothing is read, and the tail drops its oldest batches."""
    async for event in events:
        while len(portion) >= EVENTS_A_PACE:  # noqa: ASYNC110 - the pace is the purpose of the sleep
            await asyncio.sleep(PACE_S)
        portion.append(event_json(event))


async def _forward(portion: list[JsonObject], messages: Messages) -> None:
    while True:
        await asyncio.sleep(PACE_S)
        if portion:
            await messages.put(
                b"event: events\ndata: " + json.dumps(portion, separators=(",", ":"), default=str).encode() + b"\n\n"
            )
            portion.clear()
