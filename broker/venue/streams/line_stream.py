"""A stream of the venue, kept open: watched for silence, opened again with back-off, on the newest token."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from time import monotonic
from typing import Protocol

from broker.events.venue import ConnectionStatus, StreamDecodeError, StreamReconnected
from broker.venue.errors import NotAuthorizedError
from broker.venue.rest.answer import json_object, judge
from broker.venue.rest.client import VenueRest
from broker.venue.rest.http_stream import HttpStream
from broker.venue.streams.stream_state import LineSplitter, StreamDataError, failures_after
from pod_runtime.backoff import Backoff
from pod_runtime.cancellation import check_cancelled
from pod_runtime.secret import Secret

HTTP_OK = 200
MAX_REFUSAL_BYTES = 1 << 16
"""Bytes that are read of an answer that is no stream."""
TOKEN_POLL_S = 0.25
OTHER_TOKEN_S = 60.0
"""Wait for another token after a 401, before the same one is tried again."""
LONGEST_PAUSE_S = 10.0
"""With the silence before it and the opening behind it, a stream is back within 30 s of the network's return."""


class _StreamEndedError(Exception):
    """The end of a stream; the text is the cause, a constant name."""


class StreamReader(Protocol):
    """Consumer of a stream. An exception of its methods ends the connection, is counted, and a new one is opened.

    A StreamDataError is for a line that cannot be read at all.
    """

    def parameters(self) -> Mapping[str, str]:
        """Query parameters of the next request for the stream."""

    async def opened(self) -> None:
        """Prepare for messages: the stream is open, and nothing of it has been read."""

    async def take(self, lines: Sequence[bytes], /) -> None:
        """Take the lines that came together, one JSON object each; heartbeats come, too."""


class LineStream:
    """One stream of the account that `rest` asks for. `run` returns only when cancelled."""

    def __init__(self, name: str, path: str, rest: VenueRest, reader: StreamReader) -> None:
        settings = rest.settings
        self.name = name
        self._path = path
        self._settings = settings
        self._rest = rest
        self._tokens = rest.tokens
        self._emit = rest.emit
        self._reader = reader
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
        """True while the last bytes are within the heartbeat deadline, even if the stream is being opened again."""
        return self._was_up and self.silence_s < self._settings.heartbeat_deadline_s

    async def run(self) -> None:
        """Keep the stream open."""
        failures = 0
        while True:
            check_cancelled()
            started = monotonic()
            try:
                cause = await self._connect_once()
            except asyncio.CancelledError:
                self._set_up(up=False, reason="stopped")
                raise
            failures = failures_after(failures, monotonic() - started, self._settings.healthy_after_s)
            self._set_up(up=False, reason=cause)
            if cause == "token_changed":
                failures = 0
            else:
                await asyncio.sleep(self._backoff.delay_s(failures - 1, self._rest.chance()))
            self._emit(StreamReconnected(stream=self.name, cause=cause))

    async def _connect_once(self) -> str:
        """Run one connection from opening to end; return the cause of the end."""
        try:
            await self._read()
        except _StreamEndedError as error:
            return str(error)
        except StreamDataError as error:
            self._emit(StreamDecodeError(stream=self.name, message=str(error)))
            return "undecodable"
        except TimeoutError:
            return "silent"
        except OSError:
            return "connection_lost"
        except Exception as error:  # noqa: BLE001 - a message that cannot be used must not end the stream for good
            self._emit(StreamDecodeError(stream=self.name, message=f"{type(error).__name__}: {error}"[:300]))
            return "message_failed"
        return "ended"

    async def _read(self) -> None:
        secret = await self._wait_token()
        stream = await self._rest.open_stream(self.name, self._path, self._reader.parameters(), secret)
        try:
            await self._check(stream, secret)
            # Up only when the reader has caught up: `is_up` promises that nothing is missing.
            await self._reader.opened()
            self._set_up(up=True, reason=None)
            await self._pump(stream, secret)
        finally:
            stream.abort()

    async def _check(self, stream: HttpStream, secret: Secret) -> None:
        if stream.status == HTTP_OK:
            return
        answer = judge(stream.status, json_object(await self._refusal(stream)))
        if answer.error is not NotAuthorizedError:
            raise _StreamEndedError(f"http_{stream.status // 100}xx")
        self._tokens.on_unauthorized(secret)
        self._set_up(up=False, reason="not_authorized")
        await self._wait_other_token(secret)
        raise _StreamEndedError("token_changed")

    async def _refusal(self, stream: HttpStream) -> bytes:
        """Read the body of an answer that is no stream, as far as it comes within a request's deadline."""
        body, deadline_s = b"", self._settings.request_deadline_s
        with suppress(OSError):
            async with asyncio.timeout(deadline_s):
                while len(body) < MAX_REFUSAL_BYTES and (part := await stream.read(deadline_s)):
                    body += part
        return body

    async def _pump(self, stream: HttpStream, secret: Secret) -> None:
        splitter = LineSplitter()
        while True:
            chunk = await stream.read(self._settings.heartbeat_deadline_s)
            if not chunk:
                raise _StreamEndedError("closed_by_venue")
            # An answer to an order that came in the same iteration of the loop goes first: a caller waits for it.
            await asyncio.sleep(0)
            self._last_message_s = monotonic()
            if lines := splitter.feed(chunk):
                await self._reader.take(lines)
            # A stream outlives the token that it was opened with; only when it has moved over may that be revoked.
            current = self._tokens.token()
            if current is not secret and current is not None and current != secret:
                raise _StreamEndedError("token_changed")

    async def _wait_token(self) -> Secret:
        while (secret := self._tokens.token()) is None:
            self._set_up(up=False, reason="no_token")
            await asyncio.sleep(TOKEN_POLL_S)
        return secret

    async def _wait_other_token(self, dead: Secret) -> None:
        """Poll for a token other than the one that got a 401: no repetition can mend that."""
        # Once a minute the dead one is tried again: after a fault of the venue's own it may work.
        with suppress(TimeoutError):
            async with asyncio.timeout(OTHER_TOKEN_S):
                while (current := self._tokens.token()) is None or current == dead:  # noqa: ASYNC110 - no event to wait on
                    await asyncio.sleep(TOKEN_POLL_S)

    def _set_up(self, *, up: bool, reason: str | None) -> None:
        if up != self.is_up:
            self._emit(ConnectionStatus(channel=self.name, up=int(up), reason=reason))
        self._was_up |= up
        self.is_up, self.reason = up, reason
