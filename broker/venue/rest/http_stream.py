"""One HTTP/1.1 connection whose answer does not end: a stream of the venue.

Beside `http_connection`, which takes an answer as a whole, and like it without a session of aiohttp, which costs a
tenth of the process's start and as much as a price for each part that comes. The body is handed over in the parts in
which it comes; a reader that is slow stops the venue (TCP), and what waits here is bounded by PAUSE_BYTES and one read
of the socket.

The end of a body is told by its chunks or its length; without either it is that of the connection (RFC 9112, 6.3). A
connection that ends before is a fault.
"""

from __future__ import annotations

import asyncio
from typing import cast

import httptools

from broker.venue.rest.http_connection import LAST_INFORMATIONAL, MovingDeadline

MAX_HEAD_BYTES = 1 << 16
PAUSE_BYTES = 1 << 18
"""Bytes that may wait for the reader before the socket is read no more."""


class HttpStream(asyncio.Protocol):
    """A connection that `create_connection` opens, for one request. `abort` it."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._parts: list[bytes] = []
        self._size = 0
        """Bytes in `_parts`; before the body, those of the head."""
        self.status = 0
        """Of the answer; 0 before it came."""
        self._is_delimited = False
        self._is_over = False
        self._fault: Exception | None = None
        self._news: asyncio.Future[None] | None = None
        """End of the wait of `ask` or `read`."""
        self._deadline = MovingDeadline(self._miss)

    def abort(self) -> None:
        """Drop the connection."""
        if self._transport is not None:
            self._transport.abort()

    async def ask(self, request: bytes, deadline_s: float) -> None:
        """Send the request and wait for the head of its answer.

        Raises OSError: there is none; as a TimeoutError, within the deadline.
        """
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError("the connection is closed")
        self._transport.write(request)
        while not self.status:
            await self._wait(deadline_s)

    async def read(self, deadline_s: float) -> bytes:
        """The next part of the body; empty at its end.

        Raises OSError: the connection failed; as a TimeoutError, nothing came within the deadline.
        """
        while not self._parts:
            if self._is_over and self._fault is None:
                return b""
            await self._wait(deadline_s)
        found, self._parts, size = b"".join(self._parts), [], self._size
        self._size = 0
        if size > PAUSE_BYTES and self._transport is not None and not self._is_over:
            self._transport.resume_reading()
        return found

    async def _wait(self, deadline_s: float) -> None:
        if self._fault is not None:
            raise self._fault
        self._news = asyncio.get_running_loop().create_future()
        self._deadline.set(deadline_s)
        try:
            await self._news
        finally:
            self._deadline.clear()
            self._news = None
        if self._fault is not None and not self._parts:
            raise self._fault

    def _miss(self, seconds: float) -> None:
        self._end(TimeoutError(f"nothing within {seconds:g} s"))

    def _end(self, fault: Exception | None) -> None:
        if not self._is_over:
            self._is_over, self._fault = True, fault
            self.abort()
            self._wake()

    def _wake(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; called by the loop, as the others below."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none of asyncio's classes

    def data_received(self, data: bytes) -> None:
        """Take a part of the answer."""
        self._size += 0 if self.status else len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._end(ConnectionError(f"no HTTP: {type(error).__name__}"))
        if not self.status and self._size > MAX_HEAD_BYTES:
            self._end(ConnectionError(f"{self._size} bytes without the end of a head"))

    def connection_lost(self, error: Exception | None) -> None:
        """End the stream."""
        self._deadline.close()
        fault = error if isinstance(error, OSError) else ConnectionResetError("closed before a whole answer")
        self._end(None if error is None and self.status and not self._is_delimited else fault)

    def on_header(self, name: bytes, _: bytes) -> None:
        """Note if the body has an end of its own; called by the parser, as those below."""
        self._is_delimited |= name.lower() in {b"content-length", b"transfer-encoding"}

    def on_headers_complete(self) -> None:
        """Note the status."""
        status = self._parser.get_status_code()
        if status > LAST_INFORMATIONAL:
            self.status, self._size = status, 0
            self._wake()

    def on_body(self, part: bytes) -> None:
        """Take a part of the body."""
        self._parts.append(part)
        before, self._size = self._size, self._size + len(part)
        if before <= PAUSE_BYTES < self._size and self._transport is not None:
            self._transport.pause_reading()
        self._wake()

    def on_message_complete(self) -> None:
        """End the stream as the venue does."""
        if self.status:  # else the answer itself is still to come
            self._end(None)
