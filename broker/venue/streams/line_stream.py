"""A stream of the venue's, kept open: watched for silence, opened again with backoff, on the newest token."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from time import monotonic
from typing import Any

import aiohttp

from broker.events.venue import ConnectionStatus, StreamDecodeError, StreamReconnected
from broker.venue.rest.client import TokenSource, VenueRest
from broker.venue.settings import VenueSettings
from broker.venue.streams.stream_state import LineSplitter, StreamDataError, failures_after, message
from pod_runtime.backoff import Backoff
from pod_runtime.secret import Secret
from producer.emitter import Emit

HTTP_OK = 200
UNAUTHORIZED = frozenset({401, 403})
TOKEN_POLL_S = 0.25
LONGEST_PAUSE_S = 30.0


class _StreamEndedError(Exception):
    """A stream ended; the text is the cause, a constant name."""


class LineStream:
    """One stream. `run` returns only when cancelled.

    `on_open` is awaited after each opening, `on_message` for each object of the stream, heartbeats included.
    What they raise ends the connection, counted, and it is opened again.
    """

    def __init__(
        self,
        name: str,
        path: str,
        *,
        settings: VenueSettings,
        rest: VenueRest,
        token: TokenSource,
        emit: Emit,
        chance: Callable[[], float],
        on_message: Callable[[dict[str, Any]], Awaitable[None]],
        on_open: Callable[[], Awaitable[None]],
        params: Callable[[], Mapping[str, str]] = dict,
        on_unauthorized: Callable[[Secret], None] = lambda _: None,
    ) -> None:
        self.name = name
        self._url = f"{settings.stream_url.rstrip('/')}/v3/accounts/{settings.account}{path}"
        self._settings = settings
        self._rest = rest
        self._token = token
        self._emit = emit
        self._chance = chance
        self._on_message = on_message
        self._on_open = on_open
        self._params = params
        self._on_unauthorized = on_unauthorized
        self._backoff = Backoff(base_s=settings.reconnect_s, cap_s=LONGEST_PAUSE_S)
        self.is_up = False
        self.reason: str | None = "not opened yet"
        self._last_message_s = monotonic()
        self._was_up = False

    @property
    def silence_s(self) -> float:
        """Seconds since the last bytes: an opening that brings none does not count."""
        return monotonic() - self._last_message_s

    @property
    def is_alive(self) -> bool:
        """Whether bytes came within the heartbeat's deadline: a stream that is being opened again still counts."""
        return self._was_up and self.silence_s < self._settings.heartbeat_deadline_s

    async def run(self) -> None:
        """Keeps the stream open."""
        failures = 0
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._settings.request_deadline_s)
        async with aiohttp.ClientSession(timeout=timeout, trace_configs=[self._rest.tracing(self.name)]) as session:
            while True:
                started = monotonic()
                try:
                    cause = await self._once(session)
                except asyncio.CancelledError:
                    self._turn(up=False, reason="stopped")
                    raise
                failures = failures_after(failures, monotonic() - started, self._settings.healthy_after_s)
                self._turn(up=False, reason=cause)
                if cause == "token_changed":
                    failures = 0
                else:
                    await asyncio.sleep(self._backoff.delay_s(failures - 1, self._chance()))
                self._emit(StreamReconnected(stream=self.name, cause=cause))

    async def _once(self, session: aiohttp.ClientSession) -> str:
        """One connection, from opening to its end; the cause of the end."""
        try:
            await self._read(session)
        except _StreamEndedError as error:
            return str(error)
        except StreamDataError as error:
            self._emit(StreamDecodeError(stream=self.name, message=str(error)))
            return "undecodable"
        except TimeoutError:
            return "silent"
        except (aiohttp.ClientError, OSError):
            return "connection_lost"
        except Exception as error:  # noqa: BLE001 - a message that cannot be used must not end the stream for good
            self._emit(StreamDecodeError(stream=self.name, message=f"{type(error).__name__}: {error}"[:300]))
            return "message_failed"
        return "ended"

    async def _read(self, session: aiohttp.ClientSession) -> None:
        secret = await self._wait_token()
        headers = {"Authorization": f"Bearer {secret.reveal()}", "Accept-Datetime-Format": "RFC3339"}
        async with asyncio.timeout(self._settings.request_deadline_s):
            answer = await session.get(self._url, params=self._params(), headers=headers)
        try:
            await self._check(answer, secret)
            await self._on_open()
            self._turn(up=True, reason=None)
            await self._pump(answer, secret)
        finally:
            answer.close()

    async def _check(self, answer: aiohttp.ClientResponse, secret: Secret) -> None:
        if answer.status in UNAUTHORIZED:
            self._on_unauthorized(secret)
            self._turn(up=False, reason="not_authorized")
            await self._wait_other_token(secret)
            raise _StreamEndedError("token_changed")
        if answer.status != HTTP_OK:
            raise _StreamEndedError(f"http_{answer.status // 100}xx")

    async def _pump(self, answer: aiohttp.ClientResponse, secret: Secret) -> None:
        splitter = LineSplitter()
        while True:
            async with asyncio.timeout(self._settings.heartbeat_deadline_s):
                chunk = await answer.content.readany()
            if not chunk:
                raise _StreamEndedError("closed_by_venue")
            await asyncio.sleep(0)  # an answer that came in the same turn goes first: a caller waits for it
            self._last_message_s = monotonic()
            for line in splitter.feed(chunk):
                await self._on_message(message(line))
            current = self._token()
            if current is not secret and current is not None and current != secret:
                raise _StreamEndedError("token_changed")

    async def _wait_token(self) -> Secret:
        while (secret := self._token()) is None:
            self._turn(up=False, reason="no_token")
            await asyncio.sleep(TOKEN_POLL_S)
        return secret

    async def _wait_other_token(self, dead: Secret) -> None:
        """A 401 is not asked again: only another token can mend it. A poll, for the source is a plain function.

        After the venue's own faults a token may work again, so it is tried once a minute.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(60.0):
                while (current := self._token()) is None or current == dead:  # noqa: ASYNC110 - nothing to wait on
                    await asyncio.sleep(TOKEN_POLL_S)

    def _turn(self, *, up: bool, reason: str | None) -> None:
        if up != self.is_up:
            self._emit(ConnectionStatus(channel=self.name, up=int(up), reason=reason))
        self._was_up |= up
        self.is_up, self.reason = up, reason
