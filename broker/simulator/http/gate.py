"""From a request to its answer: authorization, limits and faults around every endpoint."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from broker.simulator.faults import REQUEST_KINDS, FaultError, Rule, header_rule
from broker.simulator.http import streams
from broker.simulator.http.answers import HTML, AnswerError, encode, error
from broker.simulator.http.context import Answer, Context
from broker.simulator.http.routes import Endpoint, subscribed
from broker.simulator.venue import Seen, Subscription, Venue

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Headers = dict[str, str]
PEERS_KEPT = 10_000
HANG_S = 3600.0
_BEFORE = {"reset_before": 0, "error_before": 500, "html": 503, "unauthorized": 401, "rate_limited": 429}
"""Faults that answer without applying anything, and with which status unless the rule says another."""


class Limit:
    """At most `rate` a second, over the last second; 0 is no limit."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._times: deque[float] = deque()

    def allows(self, now_s: float) -> bool:
        """Whether one more may come now; counts it if so."""
        if not self._rate:
            return True
        while self._times and self._times[0] <= now_s - 1:
            self._times.popleft()
        if len(self._times) >= self._rate:
            return False
        self._times.append(now_s)
        return True


class Gate:
    """Makes aiohttp handlers of endpoints."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self._requests = Limit(venue.options.requests_per_s)
        self._connections = Limit(venue.options.connections_per_s)
        self._peers: dict[Any, None] = {}

    def endpoint(self, act: Endpoint) -> Handler:
        """A handler for one of v20's endpoints."""

        async def handle(request: web.Request) -> web.StreamResponse:
            headers = {"RequestID": self._venue.request_id(), "Content-Type": "application/json"}
            fault = self._fault(request)
            try:
                status, body = await self._answer(request, headers, act, fault)
            except AnswerError as refusal:
                status, body = refusal.status, dict(refusal.body)
            self._note(request, status, fault)
            return await self._send(request, fault, status, body, headers)

        return handle

    def stream(self, kind: str) -> Handler:
        """A handler for one of the streams."""

        async def handle(request: web.Request) -> web.StreamResponse:
            headers = {"RequestID": self._venue.request_id(), "Content-Type": "application/json"}
            fault = self._fault(request)
            try:
                self._admit(request, fault)
                ask = self._context(request, headers, None)
                names = subscribed(ask) if kind == "pricing" else frozenset[str]()
            except AnswerError as refusal:
                self._note(request, refusal.status, fault)
                return await self._send(request, fault, refusal.status, dict(refusal.body), headers)
            self._note(request, 200, fault)
            return await streams.serve(request, self._venue, Subscription(ask.book.id, kind, names), headers)

        return handle

    async def end_streams(self, _: web.Application) -> None:
        """Lets every stream end, so that the server can."""
        for subscription in self._venue.subscriptions:
            subscription.end()

    async def _answer(self, request: web.Request, headers: Headers, act: Endpoint, fault: Rule | None) -> Answer:
        self._admit(request, fault)
        # Read whole first: what has arrived is acted on, whether or not its client waits for the answer.
        body = await self._read(request)
        if self._venue.options.latency_s:
            await asyncio.sleep(self._venue.options.latency_s)
        if fault is None:
            return self._apply(request, headers, act, body)
        if fault.kind == "delay":
            await asyncio.sleep(fault.seconds)
        lag_s = fault.seconds if fault.kind == "lag" else 0.0
        status, answer = self._apply(request, headers, act, body, lag_s)
        if fault.kind == "error_after":
            return fault.status or 500, error(fault.status or 500)
        return status, _from_tomorrow(answer) if fault.kind == "unknown_value" else answer

    def _apply(self, request: web.Request, headers: Headers, act: Endpoint, body: Any, lag_s: float = 0.0) -> Answer:
        ask = self._context(request, headers, body, lag_s)
        try:
            return act(ask)
        finally:
            if request.method != "GET":
                self._venue.publish(ask.book)

    def _admit(self, request: web.Request, fault: Rule | None) -> None:
        """Counts the connection and the request, looks at the token, and shows a fault that comes first.

        Raises:
            AnswerError: a status; 0 cuts the connection.
        """
        now_s = time.monotonic()
        if self._is_new(request) and not self._connections.allows(now_s):
            raise AnswerError(0, {})
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or token not in self._venue.tokens:
            raise AnswerError(401, error(401))
        if not self._requests.allows(now_s):
            raise AnswerError(429, error(429))
        if fault is not None and fault.kind in _BEFORE:
            status = fault.status or _BEFORE[fault.kind]
            raise AnswerError(status, error(status))

    def _is_new(self, request: web.Request) -> bool:
        peer = request.transport.get_extra_info("peername") if request.transport is not None else None
        if peer in self._peers:
            return False
        self._peers[peer] = None
        if len(self._peers) > PEERS_KEPT:
            del self._peers[next(iter(self._peers))]
        self._venue.connections += 1
        return True

    def _context(self, request: web.Request, headers: Headers, body: Any, lag_s: float = 0.0) -> Context:
        name = request.match_info.get("account", self._venue.options.accounts[0])
        book = self._venue.accounts.get(name)
        if book is None:
            raise AnswerError(403, {"errorMessage": "The provided request was forbidden."})
        return Context(
            venue=self._venue,
            book=book,
            request_id=headers["RequestID"],
            headers=headers,
            path=f"{request.scheme}://{request.host}{request.path}",
            parts=request.match_info,
            query=request.query,
            body=body,
            lag_s=lag_s,
        )

    async def _read(self, request: web.Request) -> Any:
        try:
            data = await request.read()
        except ConnectionError:
            raise AnswerError(0, {}) from None  # the client went in the middle of its request
        if not data:
            return {}
        try:
            return json.loads(data)
        except ValueError:
            raise AnswerError(400, {"errorMessage": "Invalid JSON in the body of the request"}) from None

    def _fault(self, request: web.Request) -> Rule | None:
        header = request.headers.get("X-Simulate-Fault")
        if header is None:
            return self._venue.faults.take(request.method, request.path, kinds=REQUEST_KINDS)
        try:
            return self._venue.faults.use(header_rule(header))
        except FaultError as fault:
            raise web.HTTPBadRequest(reason=str(fault)) from None

    def _note(self, request: web.Request, status: int, fault: Rule | None) -> None:
        kind = fault.kind if fault is not None else None
        self._venue.requests.append(Seen(time.monotonic_ns(), request.method, request.path, status, kind))

    async def _send(
        self, request: web.Request, fault: Rule | None, status: int, body: dict[str, Any], headers: Headers
    ) -> web.StreamResponse:
        kind = fault.kind if fault is not None else ""
        if status == 0 or kind == "reset_after":
            return _cut(request)
        if kind == "hang":
            await asyncio.sleep(HANG_S)
        if kind == "html":
            return web.Response(text=HTML, status=status, content_type="text/html")
        data = encode(body, in_unix=request.headers.get("Accept-Datetime-Format") == "UNIX")
        if headers.get("Content-Encoding") == "gzip":
            data = gzip.compress(data, mtime=0)
        if kind != "half_body":
            return web.Response(body=data, status=status, headers=headers)
        response = web.StreamResponse(status=status, headers=headers | {"Content-Length": str(len(data))})
        await response.prepare(request)
        await response.write(data[: len(data) // 2])
        if request.transport is not None:
            request.transport.close()
        return response


def _cut(request: web.Request) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def _from_tomorrow(value: Any) -> Any:
    """A copy with a field and reasons that no schema names."""
    if isinstance(value, list):
        return [_from_tomorrow(item) for item in value]
    if not isinstance(value, dict):
        return value
    reasons = {key: "REASON_OF_TOMORROW" for key in ("reason", "rejectReason", "errorCode") if key in value}
    copy = {key: _from_tomorrow(item) for key, item in value.items()}
    return copy | reasons | {"fieldOfTomorrow": {"values": [1, None, "x"]}}
