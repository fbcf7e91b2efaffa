"""From a request to its answer: authorization, limits and faults around every endpoint."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from broker.simulator.account.account import AccountBook, TransactionPayload
from broker.simulator.account.matching import Matching
from broker.simulator.account.payloads import read_body
from broker.simulator.faults import REQUEST_KINDS, FaultError, FaultRule, header_rule
from broker.simulator.http import streams
from broker.simulator.market.market import Prices
from broker.simulator.v20.answers import RefusalError, encode, invalid, plain_error, whole
from broker.simulator.venue import SeenRequest, SimulatedVenue, Subscription

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Headers = dict[str, str]
HTML = "<html><head><title>503 Service Temporarily Unavailable</title></head><body>503</body></html>"
LARGEST_COUNT = 500
DEFAULT_COUNT = 50
PEERS_KEPT = 10_000
HANG_S = 3600.0
_BEFORE = {"reset_before": 0, "error_before": 500, "html": 503, "unauthorized": 401, "rate_limited": 429}
"""Faults that answer without applying anything, and their status unless the rule names another."""


@dataclass(slots=True, kw_only=True)
class RequestContext:
    """One request, read: all that an endpoint works with."""

    venue: SimulatedVenue
    book: AccountBook
    request_id: str
    path: str
    parts: Mapping[str, str]
    query: Mapping[str, str]
    body: Any
    headers: Headers
    """Headers of the answer; an endpoint may add to them."""
    lag_s: float = 0.0
    """Lag of this reader behind the log."""

    @property
    def rules(self) -> Matching:
        """Rules of the venue for the account, now."""
        return self.venue.matching(self.book, self.request_id)

    @property
    def prices(self) -> Prices:
        """Prices now."""
        return self.venue.market.prices

    @property
    def now_ns(self) -> int:
        """Time at the venue."""
        return self.venue.clock.now_ns()

    @property
    def visible(self) -> int:
        """Number of transactions that this reader sees."""
        return self.venue.visible(self.book, self.lag_s)

    @property
    def log(self) -> list[TransactionPayload]:
        """The log as far as this reader sees it."""
        return self.book.log[: self.visible]

    @property
    def instrument(self) -> str:
        """Instrument of the path; raises RefusalError if it is not listed."""
        name = self.parts["instrument"]
        if name not in self.prices:
            raise invalid("instrument")
        return name

    @property
    def count(self) -> int:
        """Number of items that are asked for; raises RefusalError if it is out of bounds."""
        count = whole(self.query.get("count", str(DEFAULT_COUNT)), "count")
        if not 0 < count <= LARGEST_COUNT:
            raise invalid("count")
        return count

    def names(self, *, required: bool) -> list[str]:
        """Instruments of the query; all where it may name none.

        Raises:
            RefusalError: it names none, or one that is not listed.
        """
        text = self.query.get("instruments", "")
        if not text and required:
            raise RefusalError(400, {"errorMessage": "Missing argument 'instruments'"})
        names = text.split(",") if text else list(self.prices)
        if any(name not in self.prices for name in names):
            raise invalid("instruments")
        return names

    def read(self, **found: Any) -> dict[str, Any]:
        """Body of a read of the account."""
        return read_body(self.book, **found)

    def read_log(self, **found: Any) -> dict[str, Any]:
        """Body of a read of the log, as far as this reader sees it."""
        return {**found, "lastTransactionID": str(self.visible)}


Endpoint = Callable[[RequestContext], dict[str, Any]]
"""Reads a request and returns the body of its answer."""


class RequestLimit:
    """At most `rate` a second, over the last second; 0 is no limit."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._times: deque[float] = deque()

    def allows(self, now_s: float) -> bool:
        """Count one more and return True, if it may come now."""
        if not self._rate:
            return True
        while self._times and self._times[0] <= now_s - 1:
            self._times.popleft()
        # Strict on purpose: at most `rate` in any second, in whatever way the venue counts.
        if len(self._times) >= self._rate:
            return False
        self._times.append(now_s)
        return True


class HandlerFactory:
    """Makes aiohttp handlers of endpoints."""

    def __init__(self, venue: SimulatedVenue) -> None:
        self._venue = venue
        # One factory for both ports: the limits count requests of both.
        self._requests = RequestLimit(venue.options.requests_per_s)
        self._connections = RequestLimit(venue.options.connections_per_s)
        self._peers: dict[Any, None] = {}

    def endpoint(self, act: Endpoint, status: int) -> Handler:
        """Make the handler of one of v20's endpoints; `status` is that of a success."""

        async def handle(request: web.Request) -> web.StreamResponse:
            headers, fault = self._new_headers(), self._fault(request)
            answered = status
            try:
                body = await self._answer(request, headers, act, fault)
            except RefusalError as refusal:
                answered, body = refusal.status, dict(refusal.body)
            self._note(request, answered, fault)
            return await self._send(request, fault, answered, body, headers)

        return handle

    def stream(self, kind: str) -> Handler:
        """Make the handler of one of the streams."""

        async def handle(request: web.Request) -> web.StreamResponse:
            headers, fault = self._new_headers(), self._fault(request)
            try:
                self._admit(request, fault)
                context = self._context(request, headers, None)
                names = frozenset(context.names(required=True) if kind == "pricing" else ())
            except RefusalError as refusal:
                self._note(request, refusal.status, fault)
                return await self._send(request, fault, refusal.status, dict(refusal.body), headers)
            # Noted at its beginning: a stream may last as long as the test.
            self._note(request, 200, fault)
            return await streams.serve(request, self._venue, Subscription(context.book.id, kind, names), headers)

        return handle

    async def end_streams(self, _: web.Application) -> None:
        """End every stream: aiohttp's shutdown waits for them."""
        for subscription in self._venue.subscriptions:
            subscription.end()

    def _new_headers(self) -> Headers:
        return {"RequestID": self._venue.request_id(), "Content-Type": "application/json"}

    async def _answer(
        self, request: web.Request, headers: Headers, act: Endpoint, fault: FaultRule | None
    ) -> dict[str, Any]:
        self._admit(request, fault)
        # Read whole first: a request that has arrived is acted on, whether or not its client waits for the answer.
        body = await self._read(request)
        if self._venue.options.latency_s:
            await asyncio.sleep(self._venue.options.latency_s)
        if fault is None:
            return self._apply(request, headers, act, body)
        if fault.kind == "delay":
            await asyncio.sleep(fault.seconds)
        lag_s = fault.seconds if fault.kind == "lag" else 0.0
        answer = self._apply(request, headers, act, body, lag_s)
        if fault.kind == "error_after":
            status = fault.status or 500
            raise RefusalError(status, plain_error(status))
        return _from_tomorrow(answer) if fault.kind == "unknown_value" else answer

    def _apply(
        self, request: web.Request, headers: Headers, act: Endpoint, body: Any, lag_s: float = 0.0
    ) -> dict[str, Any]:
        context = self._context(request, headers, body, lag_s)
        try:
            return act(context)
        finally:
            if request.method != "GET":
                self._venue.publish(context.book)  # a refusal has written a transaction, too

    def _admit(self, request: web.Request, fault: FaultRule | None) -> None:
        """Count the connection and the request, check the token, and show a fault that comes first.

        Raises:
            RefusalError: a status; 0 cuts the connection.
        """
        now_s = time.monotonic()
        if self._is_new(request) and not self._connections.allows(now_s):
            raise RefusalError(0, {})
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or token not in self._venue.tokens:
            raise RefusalError(401, plain_error(401))
        if not self._requests.allows(now_s):
            raise RefusalError(429, plain_error(429))
        if fault is not None and fault.kind in _BEFORE:
            status = fault.status or _BEFORE[fault.kind]
            raise RefusalError(status, plain_error(status))

    def _is_new(self, request: web.Request) -> bool:
        peer = request.transport.get_extra_info("peername") if request.transport is not None else None
        if peer in self._peers:
            return False
        self._peers[peer] = None
        # Bounded by forgetting the oldest: a peer is an address and a port, and ports come back.
        if len(self._peers) > PEERS_KEPT:
            del self._peers[next(iter(self._peers))]
        self._venue.connections += 1
        return True

    def _context(self, request: web.Request, headers: Headers, body: Any, lag_s: float = 0.0) -> RequestContext:
        # Routes without an account (`/accounts`, candles, books) need none: the first one stands in.
        name = request.match_info.get("account", self._venue.options.accounts[0])
        book = self._venue.accounts.get(name)
        if book is None:
            raise RefusalError(403, {"errorMessage": "The provided request was forbidden."})
        return RequestContext(
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
            raise RefusalError(0, {}) from None  # the client went in the middle of its request
        if not data:
            return {}
        try:
            return json.loads(data)
        except ValueError:
            raise RefusalError(400, {"errorMessage": "Invalid JSON in the body of the request"}) from None

    def _fault(self, request: web.Request) -> FaultRule | None:
        header = request.headers.get("X-Simulate-Fault")
        if header is None:
            # Taken before the token is checked: a rule is used up by a refused request, too.
            return self._venue.faults.take(request.method, request.path, kinds=REQUEST_KINDS)
        try:
            return self._venue.faults.use(header_rule(header))
        except FaultError as fault:
            raise web.HTTPBadRequest(reason=str(fault)) from None

    def _note(self, request: web.Request, status: int, fault: FaultRule | None) -> None:
        kind = fault.kind if fault is not None else None
        self._venue.requests.append(SeenRequest(time.monotonic_ns(), request.method, request.path, status, kind))

    async def _send(
        self, request: web.Request, fault: FaultRule | None, status: int, body: dict[str, Any], headers: Headers
    ) -> web.StreamResponse:
        kind = fault.kind if fault is not None else ""
        if status == 0 or kind == "reset_after":
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        # Its request was applied before: only the answer hangs.
        if kind == "hang":
            await asyncio.sleep(HANG_S)
        if kind == "html":
            return web.Response(text=HTML, status=status, content_type="text/html")
        data = encode(body, in_unix=request.headers.get("Accept-Datetime-Format") == "UNIX")
        if headers.get("Content-Encoding") == "gzip":
            # Without the time in the header: the same book is the same bytes.
            data = gzip.compress(data, mtime=0)
        if kind != "half_body":
            return web.Response(body=data, status=status, headers=headers)
        # Announced whole and sent half: the client can tell a truncated body from a short one.
        response = web.StreamResponse(status=status, headers=headers | {"Content-Length": str(len(data))})
        await response.prepare(request)
        await response.write(data[: len(data) // 2])
        if request.transport is not None:
            request.transport.close()
        return response


def _from_tomorrow(value: Any) -> Any:
    """Copy with a field and reasons that no schema names."""
    if isinstance(value, list):
        return [_from_tomorrow(item) for item in value]
    if not isinstance(value, dict):
        return value
    reasons = {key: "REASON_OF_TOMORROW" for key in ("reason", "rejectReason", "errorCode") if key in value}
    copy = {key: _from_tomorrow(item) for key, item in value.items()}
    return copy | reasons | {"fieldOfTomorrow": {"values": [1, None, "x"]}}
