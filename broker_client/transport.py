"""Requests to the order API: key, deadline, retries, and errors as exceptions."""

from __future__ import annotations

import asyncio
import random
import ssl
import uuid
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from datetime import datetime
from http import HTTPStatus
from itertools import count
from typing import Any, Self, TypeVar
from urllib.parse import quote, urlsplit

import aiohttp
import msgspec

from broker_client.errors import NoAnswerError, OrderApiError, error_of
from broker_client.event_stream import CONNECTED, EventParser, StreamEvent
from broker_client.retry import NOTHING_DONE, RESULT_UNKNOWN, RetryPolicy
from pod_runtime.connection.keepalive import keepalive_socket

T = TypeVar("T")
_REPEATABLE = frozenset({"GET", "PUT", "DELETE"})
"""Methods that may be sent twice by HTTP's own rules (RFC 9110, 9.2.2)."""
CONNECT_S = 5.0
"""A connection that is not open by then is tried again: the kernel waits longer from one attempt to the next."""
SILENCE_S = 20.0
"""A stream that says nothing for so long is lost: the broker sends a comment each 10 s."""
_SHORTEST_S = 0.01  # a time-out of 0 would be none
_LINE_BYTES = 1 << 20
_JSON = {"Content-Type": "application/json"}


class Transport:
    """A session with one broker. `async with` it: leaving closes its connections."""

    def __init__(
        self,
        url: str,
        *,
        api_key: str | Callable[[], str],
        account: str | None = None,
        deadline_s: float = 60.0,
        attempt_s: float = 35.0,
        retry: RetryPolicy | None = None,
        tls: ssl.SSLContext | None = None,
        connections: int = 100,
        poll_s: float = 0.5,
        chance: Callable[[], float] = random.random,
        new_key: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        """Connects at the first call.

        `url` is the broker's base URL. `api_key` may be a function, which each request asks: keys are rotated.
        `account` is that of calls which name none. `deadline_s` bounds a call with its retries, `attempt_s` one
        attempt; the latter is longer than the broker's own deadline, so that its answer is seen. `tls` has the
        certificates to trust, if they are not the system's. `poll_s` is the pause
        between two looks at an order that is not settled. `chance` spreads retries; `new_key` names requests that
        their caller did not name.
        """
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.username is not None:
            raise ValueError("url must be http:// or https:// with a host, without user, password and query")
        if min(deadline_s, attempt_s, poll_s) <= 0:
            raise ValueError("deadline_s, attempt_s and poll_s must be above 0")
        self._url = url.rstrip("/")
        self._api_key = api_key
        self.account = account
        self._deadline_s = deadline_s
        self._attempt_s = attempt_s
        self._retry = retry or RetryPolicy()
        self._tls: ssl.SSLContext | bool = tls or True
        self._connections = connections
        self._poll_s = poll_s
        self._chance = chance
        self._new_key = new_key
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(limit=self._connections, socket_factory=keepalive_socket)
        self._session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        return self

    async def __aexit__(self, *error: object) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _ask(
        self,
        method: str,
        path: str,
        answer: type[T],
        *,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str | None] | None = None,
        body: msgspec.Struct | None = None,
        idempotency_key: str | None = None,
    ) -> T:
        """The decoded answer; raises OrderApiError after the last attempt."""
        sent = {name: value for name, value in (headers or {}).items() if value is not None}
        if idempotency_key is not None:
            sent["Idempotency-Key"] = idempotency_key
        is_repeatable = method in _REPEATABLE or idempotency_key is not None
        # Encoded once: each attempt sends the same bytes under the same key.
        content = msgspec.json.encode(body) if body is not None else None
        loop = asyncio.get_running_loop()
        end = loop.time() + self._deadline_s
        for attempt in count(1):
            try:
                found = await self._attempt(
                    method,
                    path,
                    query=query or {},
                    headers=sent,
                    content=content,
                    timeout_s=max(_SHORTEST_S, min(self._attempt_s, end - loop.time())),
                )
                return _decoded(found, answer, idempotency_key)
            except OrderApiError as error:
                # A connection that was never made has carried nothing.
                unsent = isinstance(error.__cause__, (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError))
                pause_s = self._retry.pause_s(
                    error.status,
                    attempt=attempt,
                    is_repeatable=is_repeatable or unsent,
                    retry_after_s=error.retry_after_s,
                    remaining_s=end - loop.time(),
                    chance=self._chance(),
                )
                if pause_s is None:
                    raise
            await asyncio.sleep(pause_s)
        raise AssertionError("unreachable")

    async def _attempt(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any],
        headers: Mapping[str, str],
        content: bytes | None,
        timeout_s: float,
    ) -> bytes:
        key = headers.get("Idempotency-Key")
        try:
            async with self._open().request(
                method,
                self._url + path,
                params=_texts(query),
                headers={**self._credentials(), **headers, **(_JSON if content is not None else {})},
                data=content,
                timeout=aiohttp.ClientTimeout(total=timeout_s, sock_connect=CONNECT_S),
                allow_redirects=False,  # the API key is for this host only
                ssl=self._tls,
            ) as answer:
                received = await answer.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            words = str(error) or "no answer in time"
            raise NoAnswerError(f"{method} {path}: {words}", idempotency_key=key) from error
        if answer.status >= HTTPStatus.MULTIPLE_CHOICES:
            raise error_of(answer.status, answer.headers.get("Retry-After"), received, key)
        return received

    def _key_for(self, body: msgspec.Struct | None) -> str:
        """Name of an order whose caller gave none: that in its body, or a new one."""
        named = getattr(body, "client_order_id", None)
        return named if isinstance(named, str) else self._new_key()

    def _stream(
        self, path: str, query: Mapping[str, Any]
    ) -> AbstractAsyncContextManager[AsyncGenerator[StreamEvent, None]]:
        return aclosing(self._follow(path, query))

    async def _follow(self, path: str, query: Mapping[str, Any]) -> AsyncGenerator[StreamEvent, None]:
        """Events of one connection after the other, each going on behind the last event's id."""
        parser, failures = EventParser(), 0
        while True:
            try:
                async with aclosing(self._connection(path, query, parser)) as events:
                    async for event in events:
                        failures = 0
                        yield event
            except OrderApiError as error:
                if error.status not in NOTHING_DONE | RESULT_UNKNOWN:
                    raise
            pause_s = (parser.retry_s or 0.0) + self._retry.pauses.delay_s(failures, self._chance())
            failures += 1
            await asyncio.sleep(pause_s)

    async def _connection(
        self, path: str, query: Mapping[str, Any], parser: EventParser
    ) -> AsyncGenerator[StreamEvent, None]:
        headers = {**self._credentials(), "Accept": "text/event-stream"}
        if parser.last_id is not None:
            headers["Last-Event-ID"] = parser.last_id
        parser.abandon()
        timeout = aiohttp.ClientTimeout(
            total=None, connect=self._attempt_s, sock_connect=CONNECT_S, sock_read=SILENCE_S
        )
        try:
            async with self._open().get(
                self._url + path,
                params=_texts(query),
                headers=headers,
                timeout=timeout,
                allow_redirects=False,
                read_bufsize=_LINE_BYTES,
                ssl=self._tls,
            ) as answer:
                if answer.status != HTTPStatus.OK:
                    raise error_of(answer.status, answer.headers.get("Retry-After"), await answer.read())
                yield StreamEvent(kind=CONNECTED, data={}, id=parser.last_id)
                async for line in answer.content:
                    if (event := parser.feed(line.decode(errors="replace").rstrip("\r\n"))) is not None:
                        yield event
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            # ValueError: a line beyond the limit, or data that is no JSON. The next connection begins afresh.
            raise NoAnswerError(f"GET {path}: {str(error) or 'the stream fell silent'}") from error

    def _credentials(self) -> dict[str, str]:
        return {"X-API-Key": self._api_key if isinstance(self._api_key, str) else self._api_key()}

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("the client is not open: use it within `async with`")
        return self._session


def segment(value: str) -> str:
    """A text as one segment of a path."""
    return quote(value, safe="")


def _texts(query: Mapping[str, Any]) -> dict[str, str]:
    return {name: _text(value) for name, value in query.items() if value is not None}


def _text(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case datetime():
            return value.isoformat()
        case list() | tuple():
            return ",".join(map(_text, value))
        case _:
            return str(value)


def _decoded(content: bytes, answer: type[T], idempotency_key: str | None) -> T:
    try:
        return msgspec.json.decode(content, type=answer)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        # A proxy's page, or a broker of another contract: never taken for a result.
        message = f"the answer cannot be read: {error}"
        raise NoAnswerError(message, idempotency_key=idempotency_key) from error
