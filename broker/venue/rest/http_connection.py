"""One kept-alive HTTP/1.1 connection to the venue, for one request at a time.

Why not a session of aiohttp
    A session decides by itself when to connect, what to send again and which of its connections a request gets. Here
    the pool decides all three: a repeated close trades twice. Without these decisions a request is one write, one
    parser and one timer, and costs a third of the CPU (docs/decisions/0019). llhttp, the parser of Node.js, reads the
    answers (`httptools`); the loop brings TLS.

One exchange
    `exchange` writes the whole request and waits for the whole answer. It ends in one of four ways:

        answer                      the connection is idle again, or closed if the venue says `Connection: close`
        ClosedConnectionError       it was closed before: not a byte was written
        OSError, TimeoutError       the request may have been acted on; the connection is aborted
        cancellation                the same

    `abort` also drops what the transport has not written yet: those bytes must not follow after the caller was told.
    An answer that comes after its request was given up would be taken for that of the next one, so no connection
    outlives an exchange that did not end with its answer. Bytes that nobody asked for close an idle connection.

The end of an answer
    Content-Length or chunked, by the parser. An answer with neither ends with the connection (RFC 9112, 6.3); with one
    of them, the end of the connection before it cuts the answer short, and what there is of it counts for nothing.
    We ask for no compression, but the venue zips order and position books all the same (v20, instrument endpoint).
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable
from math import inf
from time import monotonic
from typing import cast

import httptools
from msgspec import Struct

MAX_ANSWER_BYTES = 16 << 20
"""Bound on memory, headers included: a page of a thousand transactions has half a mebibyte, 5000 candles below 2."""
LAST_INFORMATIONAL = 199


class ClosedConnectionError(ConnectionError):
    """The connection was closed before the request; nothing was written."""


class HttpAnswer(Struct, frozen=True):
    """An answer; names of headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class MovingDeadline:
    """A deadline that is set for each exchange and hardly ever passes: `passed` is called if it does. `close` it.

    Its timer stays for the next one. A timer each costs an exchange as much as its parser does.
    """

    def __init__(self, passed: Callable[[float], None]) -> None:
        self._passed = passed
        self._seconds = 0.0
        self._due_s = inf
        self._timer: asyncio.TimerHandle | None = None

    def set(self, seconds: float) -> None:
        """Let it pass in `seconds` from now, in place of any other time."""
        loop = asyncio.get_running_loop()
        self._seconds, self._due_s = seconds, loop.time() + seconds
        if self._timer is not None and self._timer.when() > self._due_s:
            self.close()
        if self._timer is None:
            self._timer = loop.call_at(self._due_s, self._look)

    def clear(self) -> None:
        """Let it not pass."""
        self._due_s = inf

    def close(self) -> None:
        """Let go of the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        if self._due_s == inf:
            return
        loop = asyncio.get_running_loop()
        if loop.time() < self._due_s:
            self._timer = loop.call_at(self._due_s, self._look)
        else:
            self._due_s = inf
            self._passed(self._seconds)


class HttpConnection(asyncio.Protocol):
    """A connection that `create_connection` opens. `abort` it."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[HttpAnswer] | None = None
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._size = 0
        self._is_begun = False
        """True behind the headers of an answer, until it is whole."""
        self._is_left = False
        """True once the venue sends nothing more."""
        self._idle_since_s = monotonic()
        self._deadline = MovingDeadline(self._miss)

    @property
    def is_open(self) -> bool:
        """True where a request can go."""
        # With TLS the transport drops what is written behind the venue's end, some turns before it calls itself closed.
        return self.transport is not None and not self._is_left and not self.transport.is_closing()

    @property
    def idle_s(self) -> float:
        """Seconds since the last answer."""
        return monotonic() - self._idle_since_s

    def abort(self) -> None:
        """Drop the connection with everything that it has not written yet."""
        if self.transport is not None:
            self.transport.abort()

    async def exchange(self, request: bytes, deadline_s: float) -> HttpAnswer:
        """Send a whole request and return its answer.

        Raises:
            ClosedConnectionError: nothing was written.
            TimeoutError, OSError: there was no whole answer; the venue may have acted.
        """
        if self.transport is None or not self.is_open:
            raise ClosedConnectionError("the connection is closed")
        answer: asyncio.Future[HttpAnswer] = asyncio.get_running_loop().create_future()
        self._answer = answer
        self._deadline.set(deadline_s)
        try:
            self.transport.write(request)
            return await answer
        except BaseException:
            self.abort()
            raise
        finally:
            self._deadline.clear()
            self._answer = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; called by the loop, as the others below."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none of asyncio's classes

    def data_received(self, data: bytes) -> None:
        """Take a part of an answer."""
        self._size += len(data)
        if self._answer is None or self._size > MAX_ANSWER_BYTES:
            self._fail(ConnectionError(f"{self._size} bytes that are no answer to a request"))
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade, UnicodeDecodeError) as error:
            self._fail(ConnectionError(f"no HTTP: {type(error).__name__}"))

    def eof_received(self) -> bool:
        """Close our side, too."""
        self._is_left = True
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """End the exchange that waits."""
        self._deadline.close()
        headers = self._headers
        is_ended_by_close = "content-length" not in headers and "transfer-encoding" not in headers
        if error is None and self._is_begun and is_ended_by_close:
            self.on_message_complete()
        else:
            self._fail(error if isinstance(error, OSError) else ConnectionResetError("closed before a whole answer"))

    def on_message_begin(self) -> None:
        """Begin an answer; called by the parser, as those below."""
        if self._answer is None or self._answer.done():  # a second one, in the same bytes as the first
            self.abort()
        self._headers, self._body = {}, []

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; of one that is repeated, the last."""
        # Behind the body it is a trailer, which says nothing of how to read it (RFC 9110, 6.5.1).
        if self._is_begun:
            return
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Note that the rest is the body."""
        self._is_begun = True

    def on_body(self, part: bytes) -> None:
        """Take a part of the body."""
        self._body.append(part)

    def on_message_complete(self) -> None:
        """Hand the answer over."""
        self._is_begun = False
        status = self._parser.get_status_code()
        if status <= LAST_INFORMATIONAL:  # the answer itself is still to come
            return
        self._size, self._idle_since_s = 0, monotonic()
        if not self._parser.should_keep_alive() and self.transport is not None:
            self.transport.close()
        if self._answer is None or self._answer.done():
            return
        try:
            body = _plain(self._headers.get("content-encoding", ""), b"".join(self._body))
        except (zlib.error, ConnectionError) as error:
            self._fail(ConnectionError(f"no gzip: {error}"))
        else:
            self._answer.set_result(HttpAnswer(status, self._headers, body))

    def _miss(self, seconds: float) -> None:
        self._fail(TimeoutError(f"no answer within {seconds:g} s"))

    def _fail(self, error: Exception) -> None:
        self.abort()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)


def _plain(encoding: str, body: bytes) -> bytes:
    """Undo gzip. Raises zlib.error, ConnectionError: it is cut, or becomes larger than any right answer."""
    if encoding.lower() != "gzip" or not body:  # a gateway's error may have the header and no body
        return body
    unzip = zlib.decompressobj(zlib.MAX_WBITS | 16)
    found = unzip.decompress(body, MAX_ANSWER_BYTES)
    if not unzip.eof:
        raise ConnectionError("it is cut, or too large")
    return found
