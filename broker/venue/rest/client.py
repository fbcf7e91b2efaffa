"""Requests to the venue: a deadline each, one attempt for a write, errors that say what is known."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from time import monotonic, perf_counter
from typing import Any, Self

import aiohttp

from broker.domain import Account, Instrument, Position, Quote
from broker.events.orders import OrderStage
from broker.events.venue import ApiError, ApiRequest, ApiRetry, ConnectionOpened, ConnectionStatus, TooManyRequests
from broker.venue import errors
from broker.venue.rest.answer import WORDS, judge
from broker.venue.rest.connection_pool import ConnectionPool, Lane
from broker.venue.rest.rate_limit import Precedence, Throttle
from broker.venue.settings import VenueSettings
from broker.venue.v20 import parse as wire
from broker.venue.v20.order_requests import Call
from pod_runtime.backoff import Backoff
from pod_runtime.secret import Secret
from producer.emitter import Emit

TokenSource = Callable[[], Secret | None]
Hindrance = Callable[[], str | None]
CONNECT_SHARE = 0.3
"""Of a request's deadline, for getting a connection: less than the gap between two owners of the account."""
NO_TURN = "no turn within the request's deadline: more is asked than the venue's rate limit lets through"
REACHED = (errors.RefusedError, errors.RateLimitedError)
"""Errors that only a working venue gives."""


class VenueRest:
    """The REST side of one account. `async with` opens and closes its connections.

    The token is asked for at each request, so that a new one is used from the next request on. Nothing here
    repeats a POST or PUT; reads are repeated with jittered backoff. `beside` is another account's, open for at least
    as long, whose connections and limits are shared: they are the token's and the machine's, not the account's.
    """

    def __init__(
        self,
        settings: VenueSettings,
        *,
        token: TokenSource,
        emit: Emit,
        chance: Callable[[], float],
        on_unauthorized: Callable[[Secret], None] = lambda _: None,
        delivery_s: float | None = None,
        beside: VenueRest | None = None,
    ) -> None:
        self._settings = settings
        self._token = token
        self._emit = emit
        self._chance = chance
        self._on_unauthorized = on_unauthorized
        self._backoff = Backoff(base_s=0.1, cap_s=5.0)
        self._beside = beside
        self.requests: Throttle = beside.requests if beside is not None else self._throttle("requests")
        self.connections: Throttle = beside.connections if beside is not None else self._throttle("connections")
        self.pool: ConnectionPool = beside.pool if beside is not None else self._new_pool(delivery_s)
        self.is_up: bool | None = None
        """Whether the last answer was one of a working venue; None before the first."""

    def _throttle(self, name: str) -> Throttle:
        settings = self._settings
        rate, burst = settings.requests_per_s, float(settings.burst)
        if name == "connections":
            rate, burst = settings.connections_per_s, max(1.0, settings.connections_per_s)
        return Throttle(name, rate=rate, burst=burst, now_s=monotonic, emit=self._emit)

    def _new_pool(self, delivery_s: float | None) -> ConnectionPool:
        settings = self._settings
        # The shorter limit is for getting a connection: what it ends was never sent.
        connect_s = settings.request_deadline_s * CONNECT_SHARE
        return ConnectionPool(
            settings.rest_url,
            settings.connections,
            timeout=aiohttp.ClientTimeout(total=settings.request_deadline_s, connect=connect_s),
            delivery_s=connect_s if delivery_s is None else min(connect_s, delivery_s),
            headers={"Content-Type": "application/json", "Accept-Datetime-Format": "RFC3339"},
            tracing=self.tracing("rest"),
            requests=self.requests,
            connections=self.connections,
            emit=self._emit,
        )

    async def __aenter__(self) -> Self:
        if self._beside is None:
            await self.pool.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._beside is None:
            await self.pool.__aexit__()

    def tracing(self, channel: str) -> aiohttp.TraceConfig:
        """Hooks that pace and count new connections; for every session to the venue."""
        hooks = aiohttp.TraceConfig()

        async def pace(*_: object) -> None:
            await self.connections.enter(Precedence.OPEN)
            self._emit(ConnectionOpened(channel=channel))

        hooks.on_connection_create_start.append(pace)
        return hooks

    async def submit(
        self, call: Call, precedence: Precedence = Precedence.OPEN, *, hindrance: Hindrance = lambda: None
    ) -> wire.Answer:
        """Sends a write once. `hindrance` is asked last, after the wait for the rate limit: its reason withholds it.

        Raises:
            VenueError: `outcome_known` says whether the venue certainly did not act; a refusal is an answer, too,
                and comes as RefusedError with its body.
        """
        lane = await self._lane(call, precedence)
        try:
            if (reason := hindrance()) is not None:
                raise errors.WithheldError(reason, operation=call.operation)
            body, request_id = await self._exchange(lane, call)
        finally:
            self.pool.put(lane)
        started = perf_counter()
        try:
            answer = wire.parse_answer(body, request_id)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise errors.UnreadableAnswerError(str(error), operation=call.operation, request_id=request_id) from error
        self._emit(OrderStage(stage="parse", duration_s=perf_counter() - started))
        return answer

    async def _lane(self, call: Call, precedence: Precedence) -> Lane:
        """A connection to send on, when the venue's rate limit and those before us let it be ours; to be put back."""
        started = perf_counter()
        try:
            lane = await self._take(precedence)
        except TimeoutError:
            # Neither a fault of the venue's nor a request to it; the queue's depth and the retries are measured.
            raise errors.NotSentError(NO_TURN, operation=call.operation) from None
        except errors.NotSentError as error:
            self._count(call, None, perf_counter() - started)
            self._failed(call, error)
            raise
        if call.method != "GET":
            self._emit(OrderStage(stage="throttle", duration_s=perf_counter() - started))
        return lane

    async def _take(self, precedence: Precedence) -> Lane:
        """A lane: at once and without a timer where one is free, else in turn; again where it died between."""
        if self.requests.try_enter(precedence) and (lane := self.pool.take()) is not None:
            return lane
        async with asyncio.timeout(self._settings.request_deadline_s):
            while True:
                await self.requests.enter(precedence)
                if (lane := self.pool.take()) is not None:
                    return lane

    async def summary(self) -> Account:
        """The account's summary."""
        return wire.parse_account(await self._read("account_summary", "/summary"))

    async def instruments(self) -> list[Instrument]:
        """Everything that the account may trade."""
        body = await self._read("account_instruments", "/instruments")
        return [wire.parse_instrument(raw) for raw in body["instruments"]]

    async def pricing(self, names: Sequence[str]) -> tuple[list[Quote], dict[str, Decimal]]:
        """Quotes, and the factors to the account's currency."""
        body = await self._read("pricing", "/pricing", {"instruments": ",".join(names)})
        quotes = [wire.parse_quote(raw, datetime.now(UTC)) for raw in body["prices"]]
        return [quote for quote in quotes if quote is not None], wire.parse_conversions(body["prices"])

    async def positions(self) -> tuple[list[Position], int]:
        """Open positions, and the log's last id at that moment."""
        body = await self._read("open_positions", "/openPositions")
        return [wire.parse_position(raw) for raw in body["positions"]], int(body["lastTransactionID"])

    async def trades(self) -> tuple[list[wire.Trade], int]:
        """Open trades, and the log's last id at that moment."""
        body = await self._read("open_trades", "/openTrades")
        return [wire.parse_trade(raw) for raw in body["trades"]], int(body["lastTransactionID"])

    async def pending_orders(self) -> tuple[list[wire.VenueOrder], int]:
        """Resting orders, and the log's last id at that moment."""
        body = await self._read("pending_orders", "/pendingOrders")
        orders = [wire.parse_order(raw, self._settings.account, "external") for raw in body["orders"]]
        return orders, int(body["lastTransactionID"])

    async def transactions_since(self, after: int) -> wire.Page:
        """The log behind transaction `after`, as far as the venue shows it."""
        body = await self._read("transactions_since", "/transactions/sinceid", {"id": str(after)})
        return wire.parse_page(body)

    async def prove(self, token: Secret) -> None:
        """Shows that `token` works for the account, by using it.

        Raises:
            VenueError: it does not, or the venue cannot be asked.
        """
        call = Call(operation="prove_token", method="GET", path="/summary")
        await self._read_once(call, token=token)

    def _account_path(self, path: str) -> str:
        return f"{self._settings.rest_url.rstrip('/')}/v3/accounts/{self._settings.account}{path}"

    async def _read(self, operation: str, path: str, params: Mapping[str, str] | None = None) -> dict[str, Any]:
        call = Call(operation=operation, method="GET", path=path)
        for attempt in range(self._settings.read_attempts - 1):
            try:
                return await self._read_once(call, params)
            except (errors.NotSentError, errors.AnswerLostError, errors.RateLimitedError):
                self._emit(ApiRetry(operation=operation))
            await asyncio.sleep(self._backoff.delay_s(attempt, self._chance()))
        return await self._read_once(call, params)

    async def _read_once(
        self, call: Call, params: Mapping[str, str] | None = None, *, token: Secret | None = None
    ) -> dict[str, Any]:
        lane = await self._lane(call, Precedence.READ)
        try:
            return (await self._exchange(lane, call, params, token=token))[0]
        finally:
            self.pool.put(lane)

    async def _exchange(
        self, lane: Lane, call: Call, params: Mapping[str, str] | None = None, *, token: Secret | None = None
    ) -> tuple[dict[str, Any], str | None]:
        started = perf_counter()
        status: int | None = None
        try:
            status, body, request_id = await self._send(lane, call, params, token)
        except errors.VenueError as error:
            status = error.status
            self._failed(call, error)
            raise
        finally:
            duration_s = perf_counter() - started
            self._count(call, status, duration_s)
            if call.method != "GET":
                self._emit(OrderStage(stage="http", duration_s=duration_s))
        self._turn(up=True, reason=None)
        return body, request_id

    def _count(self, call: Call, status: int | None, duration_s: float) -> None:
        status_class = f"{status // 100}xx" if status else "none"
        self._emit(ApiRequest(operation=call.operation, status_class=status_class, duration_s=duration_s))

    def _failed(self, call: Call, error: errors.VenueError) -> None:
        self._report(call, error)
        self._turn(up=isinstance(error, REACHED), reason=error.error_type)

    def _turn(self, *, up: bool, reason: str | None) -> None:
        if up is not self.is_up:
            self._emit(ConnectionStatus(channel="rest", up=int(up), reason=None if up else reason))
        self.is_up = up

    def _report(self, call: Call, error: errors.VenueError) -> None:
        self._emit(
            ApiError(
                error_type=error.error_type,
                operation=call.operation,
                status=error.status,
                request_id=error.request_id,
                message=str(error)[:WORDS],
            )
        )
        if isinstance(error, errors.RateLimitedError):
            self._emit(TooManyRequests(operation=call.operation))

    async def _send(
        self, lane: Lane, call: Call, params: Mapping[str, str] | None, token: Secret | None
    ) -> tuple[int, dict[str, Any], str | None]:
        secret = token or self._token()
        if secret is None:
            raise errors.NotAuthorizedError(
                "no venue token yet: the secret volume has none", operation=call.operation
            )
        headers = {"Authorization": f"Bearer {secret.reveal()}"}
        data = json.dumps(call.body).encode() if call.body is not None else None
        url = self._account_path(call.path)
        try:
            async with lane.session.request(call.method, url, params=params, data=data, headers=headers) as answer:
                text = await answer.read()
                body = judge(call.operation, answer.status, answer.headers, text)
                return answer.status, body, answer.headers.get("RequestID")
        except errors.NotAuthorizedError:
            self._on_unauthorized(secret)
            raise
        except errors.RateLimitedError as error:
            self.requests.obey(error.retry_after_s)
            raise
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise errors.NotSentError(f"no connection: {error}"[:WORDS], operation=call.operation) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            lane.abort()
            words = f"no whole answer: {type(error).__name__} {error}"[:WORDS]
            raise errors.AnswerLostError(words, operation=call.operation) from error
