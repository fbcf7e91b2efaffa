"""Middleware around every request: size limit, deadline, trace, measurement, and an answer whatever goes wrong."""

from __future__ import annotations

import asyncio
import logging
from http import HTTPStatus
from time import perf_counter

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from broker.api.context import ApiContext
from broker.api.forwarding.peer import DEADLINE_HEADER
from broker.api.http.problem import Problem, unavailable
from broker.api.process_metrics import ROUTE as METRICS_ROUTE
from broker.events.process import HttpRequest
from pod_runtime.run import lack_of
from producer.trace import current_trace, parse_traceparent

_LOG = logging.getLogger(__name__)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_DIGITS = 10
LACK_PAUSE_S = 2.0
_SECURITY = [(b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store")]


class ApiMiddleware:
    """ASGI middleware: the outermost but the server's own."""

    def __init__(self, app: ASGIApp, context: ApiContext) -> None:
        self._app = app
        self._context = context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; anything but HTTP is refused."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            return
        channels = _Channels(receive, send, self._context.settings.request_bytes)
        # A context variable: events of the order path, in this task and in those that it starts, carry the trace.
        current_trace.set(parse_traceparent(_header(scope, b"traceparent")))
        started = perf_counter()
        scope.setdefault("state", {})["received_s"] = started
        try:
            await self._answer(scope, channels)
        finally:
            self._emit(scope, channels.status, perf_counter() - started)

    async def _answer(self, scope: Scope, channels: _Channels) -> None:
        deadline_s = self._deadline_s(scope)
        try:
            async with asyncio.timeout(deadline_s) as deadline:
                channels.deadline = deadline
                await self._app(scope, channels.receive, channels.send)
        # The deadline, a machine that lacks something, or a bug: any other exception has its answer already, from the
        # handlers inside.
        except Exception as error:
            problem = _problem_of(error, deadline_s)
            if problem.status is HTTPStatus.INTERNAL_SERVER_ERROR:
                _LOG.exception("request failed", extra={"path": scope["path"]})
            elif problem.status is HTTPStatus.SERVICE_UNAVAILABLE:
                _LOG.warning("request held up", extra={"path": scope["path"], "fault": f"{error}"})
            if channels.status:
                raise  # the caller has a status already; the server cuts the connection
            channels.deadline = None
            await problem.response()(scope, channels.receive, channels.send)

    def _deadline_s(self, scope: Scope) -> float:
        """Our deadline, or less if the broker that forwards the request has less left.

        Never less than half of ours: another broker with our settings has more, and anybody can send the header.
        """
        ours = self._context.settings.deadline_s
        text = _header(scope, DEADLINE_HEADER.lower().encode()) or ""
        # `isdecimal` alone takes other scripts' digits too, and int() of thousands of digits takes long.
        is_number = text.isascii() and text.isdecimal() and len(text) < _DIGITS
        return min(ours, max(int(text) / 1000, ours / 2)) if is_number else ours

    def _emit(self, scope: Scope, status: int, duration_s: float) -> None:
        route = getattr(scope.get("route"), "path", None) or "unmatched"
        # A scrape is no caller's request: counted, it would dilute every ratio and latency of those that are.
        if route == METRICS_ROUTE:
            return
        method = scope["method"] if scope["method"] in _METHODS else "other"
        status_class = f"{status // 100}xx" if status else "none"
        self._context.emit(HttpRequest(method=method, route=route, status_class=status_class, duration_s=duration_s))


def _header(scope: Scope, name: bytes) -> str | None:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), None)


def _problem_of(error: Exception, deadline_s: float) -> Problem:
    if isinstance(error, TimeoutError):
        detail = (
            f"There was no answer within {deadline_s:g} s. What was begun goes on: "
            "send the request again with the same Idempotency-Key to learn its result."
        )
        return Problem(HTTPStatus.GATEWAY_TIMEOUT, "deadline", detail, retry_after_s=1)
    if (lack := lack_of(error)) is not None:
        detail = "The machine lacks something for a while. Send the request again, with the same Idempotency-Key."
        return unavailable("not-ready", detail, retry_after_s=LACK_PAUSE_S, reason=lack)
    detail = "The broker has a fault; its log says more. Send the request again with the same Idempotency-Key."
    return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", detail)


class _Channels:
    """Receive and send of one request: bound the body, note the status, lift the deadline."""

    def __init__(self, receive: Receive, send: Send, request_bytes: int) -> None:
        self._receive = receive
        self._send = send
        self._request_bytes = request_bytes
        self._received = 0
        self.status = 0
        """Of the answer; 0 before it begins."""
        self.deadline: asyncio.Timeout | None = None

    async def receive(self) -> Message:
        """The next message; raises HTTPException if the body is too large."""
        message = await self._receive()
        # Counted as it comes: Content-Length may be missing, and is only what the caller says.
        self._received += len(message.get("body", b""))
        if self._received > self._request_bytes:
            detail = f"The body is larger than {self._request_bytes} bytes."
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)
        return message

    async def send(self, message: Message) -> None:
        """Send a message, with the headers that every answer has."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            present = {name.lower() for name, _ in message.get("headers", [])}
            added = [item for item in _SECURITY if item[0] not in present]
            message = {**message, "headers": [*message.get("headers", []), *added]}
            # From here on there is no deadline: the answer may be a stream or a long export.
            if self.deadline is not None:
                self.deadline.reschedule(None)
        await self._send(message)
