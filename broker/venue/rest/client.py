"""Requests to the venue: a deadline each, one attempt for a write, errors that say whether the venue has acted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from time import perf_counter
from typing import Any, Protocol, TypeVar
from urllib.parse import quote, urlencode, urlsplit

from broker.domain import Account, Instrument, Position, Quote
from broker.events.orders import OrderStage
from broker.events.venue import ApiError, ApiRequest, ApiRetry, ConnectionStatus, TooManyRequests
from broker.venue import errors
from broker.venue.rest.answer import MAX_WORDS, ReadAnswer, read_answer, read_text
from broker.venue.rest.connection_pool import VenueConnections
from broker.venue.rest.http_connection import ClosedConnectionError, HttpConnection
from broker.venue.rest.http_stream import HttpStream
from broker.venue.rest.rate_limit import Precedence
from broker.venue.settings import VenueSettings
from broker.venue.v20 import parse
from broker.venue.v20.order_requests import VenueCall
from broker.venue.v20.transactions import Transaction, parse_transaction
from broker.venue.v20.wire_json import write_json
from pod_runtime.backoff import Backoff
from pod_runtime.cancellation import check_cancelled
from pod_runtime.secret import Secret
from producer.emitter import Emit

T = TypeVar("T")
SendGuard = Callable[[], str | None]
"""Asked last before a write is sent: a reason withholds the write, None lets it go."""
NO_TURN = "no turn within the request's deadline: more is asked than the venue's rate limit lets through"
BACKOFF = Backoff(base_s=0.1, cap_s=5.0)


class VenueTokens(Protocol):
    """Holder of the venue's token."""

    def token(self) -> Secret | None:
        """Return the token to use now; None before there is one."""

    def on_unauthorized(self, token: Secret, /) -> None:
        """Take note that the venue answered 401 or 403 to `token`."""


@dataclass(slots=True)
class VenueRest:
    """REST requests of one account, over connections that all accounts share.

    The token is read at each request, so that a new one is used from the next request on. Nothing here repeats a
    POST or PUT; reads are repeated with jittered backoff.
    """

    settings: VenueSettings
    connections: VenueConnections
    _: KW_ONLY
    tokens: VenueTokens
    emit: Emit
    chance: Callable[[], float]
    is_up: bool | None = None
    """True after an answer of a working venue, False after any other; None before the first."""
    _target: str = field(init=False)
    """Begin of the targets of the account's requests."""
    _headers: str = field(init=False)
    """Headers of every request."""
    _stream_target: str = field(init=False)
    _stream_headers: str = field(init=False)

    def __post_init__(self) -> None:
        settings = self.settings
        self._target, self._headers = _place(settings.rest_url, settings.account)
        self._headers += "Content-Type: application/json\r\n"
        self._stream_target, self._stream_headers = _place(settings.stream_url, settings.account)

    async def submit(
        self, call: VenueCall, precedence: Precedence = Precedence.OPEN, *, guard: SendGuard = lambda: None
    ) -> parse.OrderAnswer:
        """Send a write once, after the wait for the rate limit and unless `guard` withholds it.

        Raises:
            VenueError: `outcome_known` says whether the venue certainly did not act; a refusal is an answer, too,
                and comes as VenueRefusedError with its body.
        """
        connection = await self._borrow(call, precedence)
        try:
            # Asked after the wait, not before: ownership may have been lost or trading halted in the queue.
            if (reason := guard()) is not None:
                raise errors.WithheldError(reason, operation=call.operation)
            body, request_id = await self._exchange(connection, call, read_answer)
        finally:
            self.connections.give_back(connection)
        started = perf_counter()
        try:
            answer = parse.parse_answer(body, request_id)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise errors.UnreadableAnswerError(str(error), operation=call.operation, request_id=request_id) from error
        self.emit(OrderStage(stage="parse", duration_s=perf_counter() - started))
        return answer

    async def _borrow(self, call: VenueCall, precedence: Precedence) -> HttpConnection:
        started = perf_counter()
        try:
            connection = await self.connections.borrow(precedence)
        except TimeoutError:
            # Neither a fault of the venue's nor a request to it; the queue's depth and the retries are measured.
            raise errors.NotSentError(NO_TURN, operation=call.operation) from None
        except errors.NotSentError as error:
            self._count(call, None, perf_counter() - started)
            self._report(call, error)
            raise
        if call.method != "GET":
            self.emit(OrderStage(stage="throttle", duration_s=perf_counter() - started))
        return connection

    async def summary(self) -> Account:
        """Read the account's summary."""
        return parse.parse_account(await self._read("account_summary", "/summary"))

    async def instruments(self) -> list[Instrument]:
        """Read all instruments that the account may trade."""
        body = await self._read("account_instruments", "/instruments")
        return [parse.parse_instrument(raw) for raw in body["instruments"]]

    async def pricing(self, names: Sequence[str]) -> tuple[list[Quote], dict[str, Decimal]]:
        """Read quotes, and the factors to the account's currency."""
        body = await self._read("pricing", "/pricing", instruments=",".join(names), includeHomeConversions="true")
        quotes = [parse.parse_quote(raw, datetime.now(UTC)) for raw in body["prices"]]
        return [quote for quote in quotes if quote is not None], parse.parse_conversions(body)

    async def positions(self) -> tuple[list[Position], int]:
        """Read open positions, and the log's last id at that moment."""
        body = await self._read("open_positions", "/openPositions")
        return [parse.parse_position(raw) for raw in body["positions"]], int(body["lastTransactionID"])

    async def trades(self) -> tuple[list[parse.VenueTrade], int]:
        """Read open trades, and the log's last id at that moment."""
        body = await self._read("open_trades", "/openTrades")
        return [parse.parse_trade(raw) for raw in body["trades"]], int(body["lastTransactionID"])

    async def trade(self, trade_id: str) -> parse.VenueTrade:
        """Read one trade, open or closed. Raises VenueRefusedError: there is none of this id."""
        return parse.parse_trade((await self._read("trade", f"/trades/{trade_id}"))["trade"])

    async def pending_orders(self) -> tuple[list[parse.VenueOrder], int]:
        """Read resting orders, and the log's last id at that moment."""
        body = await self._read("pending_orders", "/pendingOrders")
        orders = [parse.parse_order(raw, self.settings.account, "external") for raw in body["orders"]]
        return orders, int(body["lastTransactionID"])

    async def transactions_since(self, after: int) -> parse.TransactionPage:
        """Read the log behind transaction `after`, as far as the venue shows it."""
        body = await self._read("transactions_since", "/transactions/sinceid", id=str(after))
        return parse.parse_page(body)

    async def ending(self, venue_order_id: str) -> Transaction | None:
        """Read the transaction that ended an order; None while it rests, or if the venue does not know it any more."""
        try:
            order = (await self._read("order", f"/orders/{venue_order_id}"))["order"]
            ended = order.get("fillingTransactionID") or order.get("cancellingTransactionID")
            if ended is None:
                return None
            return await self.transaction(ended)
        except errors.VenueRefusedError:
            return None

    async def transaction(self, number: str) -> Transaction:
        """Read one transaction of the log. Raises VenueError: also if the log has none of that id."""
        return parse_transaction((await self._read("transaction", f"/transactions/{number}"))["transaction"])

    async def market_data(self, call: VenueCall) -> bytes:
        """Read market data, below all else in precedence and within one request's deadline; the body as it came.

        Raises VenueError: a VenueRefusedError has the venue's words in its body.
        """
        try:
            async with asyncio.timeout(self.settings.request_deadline_s), self.connections.market_data:
                return await self._repeat(call, Precedence.MARKET_DATA, read_text)
        except TimeoutError:
            raise errors.AnswerLostError("no answer within the request's deadline", operation=call.operation) from None

    async def prove(self, token: Secret) -> None:
        """Show that `token` works for the account, by using it.

        Raises VenueError: it does not, or the venue cannot be asked.
        """
        call = VenueCall(operation="prove_token", method="GET", path="/summary")
        await self._read_once(call, Precedence.READ, read_answer, token)

    async def _read(self, operation: str, path: str, **query: str) -> dict[str, Any]:
        call = VenueCall(operation=operation, method="GET", path=path, query=query)
        return await self._repeat(call, Precedence.READ, read_answer)

    async def _repeat(self, call: VenueCall, precedence: Precedence, read: ReadAnswer[T]) -> T:
        for attempt in range(self.settings.read_attempts - 1):
            try:
                return await self._read_once(call, precedence, read)
            except errors.VenueError as error:
                # A refusal or a dead token would be the same again.
                if not error.is_repeated:
                    raise
                check_cancelled()
                self.emit(ApiRetry(operation=call.operation))
            await asyncio.sleep(BACKOFF.delay_s(attempt, self.chance()))
        return await self._read_once(call, precedence, read)

    async def _read_once(
        self, call: VenueCall, precedence: Precedence, read: ReadAnswer[T], token: Secret | None = None
    ) -> T:
        connection = await self._borrow(call, precedence)
        try:
            return (await self._exchange(connection, call, read, token))[0]
        finally:
            self.connections.give_back(connection)

    async def _exchange(
        self, connection: HttpConnection, call: VenueCall, read: ReadAnswer[T], token: Secret | None = None
    ) -> tuple[T, str | None]:
        """Send a request and read its answer: the body and the venue's id of the request."""
        started = perf_counter()
        status: int | None = None
        try:
            status, body, request_id = await self._send(connection, call, read, token)
        except errors.VenueError as error:
            status = error.status
            self._report(call, error)
            raise
        finally:
            duration_s = perf_counter() - started
            # Counted however it ends, also by the cancellation of its caller.
            self._count(call, status, duration_s)
            if call.method != "GET":
                self.emit(OrderStage(stage="http", duration_s=duration_s))
        self._set_up(up=True, reason=None)
        return body, request_id

    def _count(self, call: VenueCall, status: int | None, duration_s: float) -> None:
        status_class = f"{status // 100}xx" if status else "none"
        self.emit(ApiRequest(operation=call.operation, status_class=status_class, duration_s=duration_s))

    def _report(self, call: VenueCall, error: errors.VenueError) -> None:
        where: dict[str, Any] = {"operation": call.operation, "status": error.status, "request_id": error.request_id}
        self.emit(ApiError(error_type=error.error_type, message=str(error)[:MAX_WORDS], **where))
        if isinstance(error, errors.RateLimitedError):
            self.emit(TooManyRequests(operation=call.operation))
        lacks_right = call.may_lack_right and isinstance(error, errors.NotAuthorizedError)
        self._set_up(up=lacks_right or error.shows_venue, reason=error.error_type)

    def _set_up(self, *, up: bool, reason: str | None) -> None:
        if up is not self.is_up:
            self.emit(ConnectionStatus(channel="rest", up=int(up), reason=None if up else reason))
        self.is_up = up

    async def _send(
        self, connection: HttpConnection, call: VenueCall, read: ReadAnswer[T], token: Secret | None
    ) -> tuple[int, T, str | None]:
        secret = token or self.tokens.token()
        if secret is None:
            words = "no venue token yet: the secret volume has none"
            raise errors.NotAuthorizedError(words, operation=call.operation)
        request = self._request(call, secret)
        try:
            answer = await connection.exchange(request, self.settings.request_deadline_s)
            body = read(call.operation, answer.status, answer.headers, answer.body)
            return answer.status, body, answer.headers.get("requestid")
        except errors.NotAuthorizedError:
            if not call.may_lack_right:
                self.tokens.on_unauthorized(secret)
            raise
        except errors.RateLimitedError as error:
            self.connections.requests.obey(error.retry_after_s)
            raise
        except ClosedConnectionError as error:
            raise errors.NotSentError(f"no connection: {error}", operation=call.operation) from error
        except OSError as error:  # TimeoutError is one
            words = f"no whole answer: {type(error).__name__} {error}"[:MAX_WORDS]
            raise errors.AnswerLostError(words, operation=call.operation) from error

    def _request(self, call: VenueCall, secret: Secret) -> bytes:
        """The request as it goes over the wire (RFC 9112)."""
        data = write_json(call.body) if call.body is not None else b""
        length = f"Content-Length: {len(data)}\r\n" if call.body is not None else ""
        target = self._target if call.of_account else self._target.rpartition("/accounts/")[0]
        line = _line(call.method, f"{target}{call.path}", call.query)
        return f"{line}{self._headers}{_authorization(secret, call.operation)}{length}\r\n".encode("ascii") + data

    async def open_stream(self, channel: str, path: str, query: Mapping[str, str], secret: Secret) -> HttpStream:
        """Ask for a stream of the account; its `status` is the venue's answer. `abort` it.

        Raises OSError: there is no answer; as a TimeoutError, none within a request's deadline.
        """
        line, headers = _line("GET", f"{self._stream_target}{path}", query), self._stream_headers
        request = f"{line}{headers}{_authorization(secret, channel)}\r\n".encode("ascii")
        async with asyncio.timeout(self.settings.request_deadline_s):
            stream = await self.connections.open_stream(channel, self.emit)
            try:
                await stream.ask(request, self.settings.request_deadline_s)
            except BaseException:
                stream.abort()
                raise
        return stream


def _place(url: str, account: str) -> tuple[str, str]:
    """Begin of the targets of an account's requests to a host, and headers of each."""
    found = urlsplit(url)
    headers = f"Host: {found.netloc.rpartition('@')[2]}\r\nAccept-Datetime-Format: RFC3339\r\n"
    return f"{found.path.rstrip('/')}/v3/accounts/{quote(account, safe='')}", headers


def _line(method: str, target: str, query: Mapping[str, str] | None) -> str:
    return f"{method} {target}{f'?{urlencode(query)}' if query else ''} HTTP/1.1\r\n"


def _authorization(secret: Secret, operation: str) -> str:
    token = secret.reveal()
    # A line break in it would begin another header.
    if not (token.isascii() and token.isprintable()):
        words = f"the venue token, of {len(token)} characters, has some that no header takes"
        raise errors.NotAuthorizedError(words, operation=operation)
    return f"Authorization: Bearer {token}\r\n"
