"""Around every request: size limit, deadline, trace, measurement, and an answer whatever goes wrong."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from http import HTTPStatus
from time import perf_counter
from typing import Any

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from broker.api.forwarding.peer import DEADLINE_HEADER
from broker.api.http.problem import Problem, response_of
from broker.api.process_metrics import ROUTE as METRICS_ROUTE
from broker.events.process import HttpRequest
from producer.trace import current_trace, parse_traceparent

_LOG = logging.getLogger(__name__)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_DIGITS = 10
_SECURITY = [(b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store")]


class Envelope:
    """ASGI middleware: the outermost but the server's own."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        request_bytes: int,
        deadline_s: float,
        emit: Callable[[tuple[Any, ...]], None],
    ) -> None:
        self._app = app
        self._request_bytes = request_bytes
        self._deadline_s = deadline_s
        self._emit = emit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request; anything but HTTP is refused."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            return
        exchange = _Exchange(receive, send, self._request_bytes)
        current_trace.set(parse_traceparent(_header(scope, b"traceparent")))
        started = perf_counter()
        scope.setdefault("state", {})["received_s"] = started
        try:
            await self._answer(scope, exchange)
        finally:
            self._tell(scope, exchange.status, perf_counter() - started)

    def _tell(self, scope: Scope, status: int, duration_s: float) -> None:
        """A scrape is no caller's request: counted, it would dilute every ratio and latency of those that are."""
        route = getattr(scope.get("route"), "path", None) or "unmatched"
        if route == METRICS_ROUTE:
            return
        method = scope["method"] if scope["method"] in _METHODS else "other"
        status_class = f"{status // 100}xx" if status else "none"
        self._emit(HttpRequest(method=method, route=route, status_class=status_class, duration_s=duration_s))

    def _left_s(self, scope: Scope) -> float:
        """Our deadline, or what the broker that passes the request on has left."""
        text = _header(scope, DEADLINE_HEADER.lower().encode()) or ""
        left_s = int(text) / 1000 if text.isascii() and text.isdecimal() and len(text) < _DIGITS else self._deadline_s
        return min(self._deadline_s, left_s)

    async def _answer(self, scope: Scope, exchange: _Exchange) -> None:
        try:
            async with asyncio.timeout(self._left_s(scope)) as deadline:
                exchange.deadline = deadline
                await self._app(scope, exchange.receive, exchange.send)
        except Exception as error:
            problem = _problem(error, self._deadline_s)
            if problem.status is HTTPStatus.INTERNAL_SERVER_ERROR:
                _LOG.exception("request failed", extra={"path": scope["path"]})
            if exchange.status:
                raise
            exchange.deadline = None
            await response_of(problem)(scope, exchange.receive, exchange.send)


def _header(scope: Scope, name: bytes) -> str | None:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), None)


def _problem(error: Exception, deadline_s: float) -> Problem:
    if isinstance(error, TimeoutError):
        detail = (
            f"There was no answer within {deadline_s:g} s. What was begun goes on: "
            "send the request again with the same Idempotency-Key to learn its result."
        )
        return Problem(HTTPStatus.GATEWAY_TIMEOUT, "deadline", detail, retry_after_s=1)
    detail = "The broker has a fault; its log says more. Send the request again with the same Idempotency-Key."
    return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", detail)


class _Exchange:
    """One request's channels, watched."""

    def __init__(self, receive: Receive, send: Send, request_bytes: int) -> None:
        self._receive = receive
        self._send = send
        self._request_bytes = request_bytes
        self._taken = 0
        self.status = 0
        self.deadline: asyncio.Timeout | None = None

    async def receive(self) -> Message:
        """The next message, unless the body is too large."""
        message = await self._receive()
        self._taken += len(message.get("body", b""))
        if self._taken > self._request_bytes:
            raise HTTPException(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The body is larger than {self._request_bytes} bytes."
            )
        return message

    async def send(self, message: Message) -> None:
        """Passes a message on; from the answer's start on there is no deadline, for it may be a stream."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            present = {name.lower() for name, _ in message.get("headers", [])}
            added = [item for item in _SECURITY if item[0] not in present]
            message = {**message, "headers": [*message.get("headers", []), *added]}
            if self.deadline is not None:
                self.deadline.reschedule(None)
        await self._send(message)
