"""From a request to its answer: authorization, limits and faults around every endpoint."""

from __future__ import annotations

import asyncio
import gzip
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from aiohttp import web

from broker.simulator.account.book import AccountBook, TransactionPayload
from broker.simulator.account.matching import Matching
from broker.simulator.faults import REQUEST_KINDS, FaultError, FaultRule, header_rule
from broker.simulator.http import streams
from broker.simulator.v20.answers import RefusalError, encode, invalid, plain_error, size
from broker.simulator.venue import SeenRequest, SimulatedVenue, Subscription

_DECODER = msgspec.json.Decoder()
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
HTML = "<html><head><title>503 Service Temporarily Unavailable</title></head><body>503</body></html>"
LARGEST_COUNT = 500
DEFAULT_COUNT = 50
PEERS_KEPT = 10_000
HANG_S = 3600.0
_BEFORE = {"reset_before": 0, "error_before": 500, "html": 503, "unauthorized": 401, "rate_limited": 429}
"""Faults that answer without applying anything, and their status unless the rule names another."""


class RequestContext:
    """One request from its fault to its answer: all that an endpoint works with."""

    book: AccountBook
    """Account of the path."""
    body: Any

    def __init__(self, venue: SimulatedVenue, request: web.Request) -> None:
        self.venue = venue
        self.request = request
        self.parts: Mapping[str, str] = request.match_info
        self.query: Mapping[str, str] = request.query
        self.path = f"{request.scheme}://{request.host}{request.path}"
        self.request_id = venue.request_id()
        self.headers = {"RequestID": self.request_id, "Content-Type": "application/json"}
        """Headers of the answer; an endpoint may add to them."""
        self.fault = self._take_fault()
        self.kind = self.fault.kind if self.fault is not None else None
        self.lag_s = self.fault.seconds if self.fault is not None and self.kind == "lag" else 0.0
        """Lag of this reader behind the log."""

    def _take_fault(self) -> FaultRule | None:
        header = self.request.headers.get("X-Simulate-Fault")
        if header is None:
            # Taken before the token is checked: a rule is used up by a refused request, too.
            return self.venue.faults.take(self.request.method, self.request.path, kinds=REQUEST_KINDS)
        try:
            return self.venue.faults.use(header_rule(header))
        except FaultError as fault:
            raise web.HTTPBadRequest(reason=str(fault)) from None

    def status_of(self, usual: int) -> int:
        """Status that the fault names, else the usual one of its kind."""
        return (self.fault.status if self.fault is not None else 0) or usual

    @property
    def rules(self) -> Matching:
        """Rules of the venue for the account, now."""
        return self.venue.matching(self.book, self.request_id)

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
        if name not in self.venue.market.prices:
            raise invalid("instrument")
        return name

    @property
    def count(self) -> int:
        """Number of items that are asked for; raises RefusalError if it is out of bounds."""
        return size(self.query, "count", DEFAULT_COUNT, LARGEST_COUNT)

    def names(self, *, required: bool) -> list[str]:
        """Instruments of the query; all where it may name none.

        Raises RefusalError: it names none, or one that is not listed.
        """
        text = self.query.get("instruments", "")
        if not text and required:
            raise RefusalError(400, {"errorMessage": "Missing argument 'instruments'"})
        names = text.split(",") if text else list(self.venue.market.prices)
        if any(name not in self.venue.market.prices for name in names):
            raise invalid("instruments")
        return names

    def read(self, **found: Any) -> dict[str, Any]:
        """Body of a read of the account."""
        return {**found, "lastTransactionID": self.book.last_id}

    def read_log(self, **found: Any) -> dict[str, Any]:
        """Body of a read of the log, as far as this reader sees it."""
        return {**found, "lastTransactionID": str(self.visible)}

    def find_book(self) -> None:
        """Find the account. Raises RefusalError: 403 where it is not the token's."""
        # Routes without an account (`/accounts`, candles, books) need none: the first one stands in.
        name = self.parts.get("account", self.venue.options.accounts[0])
        if name not in self.venue.accounts:
            raise RefusalError(403, {"errorMessage": "The provided request was forbidden."})
        self.book = self.venue.accounts[name]

    async def read_request(self) -> None:
        """Read the body. Raises RefusalError: 400 where it is no JSON; 0 cuts the connection."""
        try:
            # Not `json`: its texts may hold halves of a surrogate pair, which no answer could repeat.
            self.body = _DECODER.decode(await self.request.read() or b"{}")
        except ConnectionError:
            raise RefusalError(0, {}) from None  # the client went in the middle of its request
        except ValueError:
            raise RefusalError(400, {"errorMessage": "Invalid JSON in the body of the request"}) from None

    def note(self, status: int) -> None:
        """Keep the request for tests that count."""
        seen = SeenRequest(time.monotonic_ns(), self.request.method, self.request.path, status, self.kind)
        self.venue.requests.append(seen)

    async def send(self, status: int, body: Mapping[str, Any]) -> web.StreamResponse:
        """Answer, or show a fault in the answer's place."""
        if status == 0 or self.kind == "reset_after":
            if self.request.transport is not None:
                self.request.transport.abort()
            return web.Response()
        # Its request was applied before: only the answer hangs.
        if self.kind == "hang":
            await asyncio.sleep(HANG_S)
        if self.kind == "html":
            return web.Response(text=HTML, status=status, content_type="text/html")
        data = encode(body, self.request.headers)
        if self.headers.get("Content-Encoding") == "gzip":
            # Without the time in the header: the same book is the same bytes.
            data = gzip.compress(data, mtime=0)
        if self.kind != "half_body":
            return web.Response(body=data, status=status, headers=self.headers)
        # Announced whole and sent half: the client can tell a truncated body from a short one.
        response = web.StreamResponse(status=status, headers=self.headers | {"Content-Length": str(len(data))})
        await response.prepare(self.request)
        await response.write(data[: len(data) // 2])
        if self.request.transport is not None:
            self.request.transport.close()
        return response


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
            call, answered = RequestContext(self._venue, request), status
            body: Mapping[str, Any]
            try:
                body = await self._answer(call, act)
            except RefusalError as refusal:
                answered, body = refusal.status, refusal.body
            call.note(answered)
            return await call.send(answered, body)

        return handle

    def stream(self, kind: str) -> Handler:
        """Make the handler of one of the streams."""

        async def handle(request: web.Request) -> web.StreamResponse:
            call = RequestContext(self._venue, request)
            try:
                self._admit(call)
                call.find_book()
                names = frozenset(call.names(required=True) if kind == "pricing" else ())
            except RefusalError as refusal:
                call.note(refusal.status)
                return await call.send(refusal.status, refusal.body)
            # Noted at its beginning: a stream may last as long as the test.
            call.note(200)
            return await streams.serve(request, self._venue, Subscription(call.book.id, kind, names), call.headers)

        return handle

    async def end_streams(self, _: web.Application) -> None:
        """End every stream: aiohttp's shutdown waits for them."""
        for subscription in self._venue.subscriptions:
            subscription.end()

    async def _answer(self, call: RequestContext, act: Endpoint) -> dict[str, Any]:
        self._admit(call)
        # Read whole first: a request that has arrived is acted on, whether or not its client waits for the answer.
        await call.read_request()
        if self._venue.options.latency_s:
            await asyncio.sleep(self._venue.options.latency_s)
        if call.fault is not None and call.kind == "delay":
            await asyncio.sleep(call.fault.seconds)
        call.find_book()
        try:
            answer = act(call)
        finally:
            if call.request.method != "GET":
                self._venue.publish(call.book)  # a refusal has written a transaction, too
        if call.kind == "error_after":
            raise plain_error(call.status_of(500))
        return _from_tomorrow(answer) if call.kind == "unknown_value" else answer

    def _admit(self, call: RequestContext) -> None:
        """Count the connection and the request, check the token, and show a fault that comes first.

        Raises RefusalError: a status; 0 cuts the connection.
        """
        now_s = time.monotonic()
        if self._is_new(call.request) and not self._connections.allows(now_s):
            raise RefusalError(0, {})
        scheme, _, token = call.request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or token not in self._venue.tokens:
            raise plain_error(401)
        if not self._requests.allows(now_s):
            raise plain_error(429)
        if call.kind in _BEFORE:
            raise plain_error(call.status_of(_BEFORE[call.kind]))

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


def _from_tomorrow(value: Any) -> Any:
    """Copy with a field and reasons that no schema names."""
    if isinstance(value, list):
        return [_from_tomorrow(item) for item in value]
    if not isinstance(value, dict):
        return value
    reasons = {key: "REASON_OF_TOMORROW" for key in ("reason", "rejectReason", "errorCode") if key in value}
    copy = {key: _from_tomorrow(item) for key, item in value.items()}
    return copy | reasons | {"fieldOfTomorrow": {"values": [1, None, "x"]}}
