"""An order API that says what it is told to, and remembers what it was asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

ORDER: dict[str, Any] = {
    "id": "01A",
    "client_order_id": "k",
    "client": "flow",
    "status": "filled",
    "reason": None,
    "message": None,
    "instrument": "EUR_USD",
    "side": "buy",
    "type": "market",
    "time_in_force": "fok",
    "units": "1000",
    "filled_units": "1000",
    "remaining_units": "0",
    "position_fill": "default",
    "trigger_condition": "default",
    "average_price": "1.10010",
    "price": None,
    "venue_order_id": "7",
    "fills": [],
    "created_at": "2026-01-05T10:00:00Z",
    "updated_at": "2026-01-05T10:00:00.25Z",
}
CUT = -1
"""Status of an answer that never comes: the connection is cut."""
HANG = -2
"""Status of an answer that is never sent."""


@dataclass(slots=True)
class Asked:
    """A request as it arrived."""

    method: str
    target: str
    headers: dict[str, str]
    body: Any


@dataclass(slots=True)
class ScriptedOrderApi:
    """Gives its answers in turn, the last one again and again."""

    answers: list[tuple[int, Any, dict[str, str]]] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    streams: list[list[str]] = field(default_factory=list)
    """Texts of each stream; the connection ends behind the last one."""
    url: str = ""

    def says(self, status: int, body: Any = None, **headers: str) -> None:
        """Adds an answer; a body that is no text is sent as JSON."""
        self.answers.append((status, body, {name.replace("_", "-"): value for name, value in headers.items()}))

    async def handle(self, request: web.Request) -> web.StreamResponse:
        text = await request.text()
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.asked.append(Asked(request.method, request.path_qs, headers, json.loads(text) if text else None))
        if request.path == "/v1/events" and self.streams:
            return await self._stream(request)
        status, body, more = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if status == HANG:
            await asyncio.Event().wait()
        if status == CUT:
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        return web.Response(status=status, text=body if isinstance(body, str) else json.dumps(body), headers=more)

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        for text in self.streams.pop(0):
            await answer.write(text.encode())
        return answer


@asynccontextmanager
async def serving() -> AsyncIterator[ScriptedOrderApi]:
    """Serves until the block ends."""
    made, application = ScriptedOrderApi(), web.Application()
    application.router.add_route("*", "/{path:.*}", made.handle)
    async with TestServer(application) as server:
        made.url = str(server.make_url("")).rstrip("/")
        yield made
