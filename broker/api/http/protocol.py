"""HTTP/1.1 of the order API on one connection: bounds on the size, the number and the time of what a peer sends.

All of it holds before a key is seen, and is counted while a request is still incomplete:

    head   `api.head_bytes` and `api.head_fields`, else 431; whole within `api.receive_s`, else 408
    body   whole within `api.receive_s` after the head, else 408. Its size is `http.middleware`'s to bound, which asks
           for the key first; here is a bound on its framing and on trailers, which nobody reads
    idle   `api.keep_alive_s` between two requests; a connection on which nothing came is closed without a word
    queue  MAX_PIPELINED requests that wait for the answer before them

The parser knows none of these limits: it collects fields of any size for as long as they come.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from http import HTTPStatus
from math import inf
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from broker.api.http.problem import Problem
from broker.api.settings import ApiSettings
from pod_runtime.listener.acceptor import Connection

MAX_PIPELINED = 16
LINGER_S = 2.0
"""Time for the rest of a body that was answered without it: closed at once, the peer might never see the answer."""


class ApiProtocol(HttpToolsProtocol):
    """One connection. `close_if_late` is the server's to call, about once a second."""

    def __init__(self, connection: Connection, settings: ApiSettings, refused: Counter[str], **own: Any) -> None:
        super().__init__(**own)
        self._connection = connection
        self._settings = settings
        self._refused = refused
        self._fault: Callable[[], None] | None = None
        self._in_body = False
        self._received = 0
        """Bytes of the head or body that comes, framing included."""
        self._head_bytes = 0
        self._trailers = 0
        self._late_s = connection.accepted_s + settings.receive_s
        """Time of the loop's clock by which what is awaited must be here."""
        self._stalled_s = inf
        """The same for a stranger that does not read its answer."""
        self._done = False

    def connection_lost(self, exc: Exception | None) -> None:
        """Release the connection's place."""
        self._connection.release()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse in pieces: no more of an incomplete head reaches the parser than a head may have."""
        if self._done:
            return
        self._unset_keepalive_if_required()
        if self._late_s == inf and not self._is_busy():
            self._late_s = self.loop.time() + self._settings.receive_s
        rest = memoryview(data)
        try:
            while rest and not self._done:
                piece = rest if self._in_body else rest[: self._settings.head_bytes + 1 - self._received]
                rest = rest[len(piece) :]
                self._received += len(piece)
                self.parser.feed_data(piece)
                self._check_received()
        except httptools.HttpParserUpgrade:
            pass  # nothing here speaks another protocol: the request is answered as if it had not asked
        except httptools.HttpParserError:
            (self._fault or self._refuse_malformed)()

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self.scope["state"]["connection"] = self._connection
        self._late_s = self.loop.time() + self._settings.receive_s

    def on_url(self, url: bytes) -> None:
        """Count the target, which may come in pieces."""
        super().on_url(url)
        self._count_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a field. Those behind the body are dropped: what was judged by the head must not change."""
        self._count_head(len(name) + len(value) + 4)  # with ": " and the line's end
        if self._in_body:
            self._trailers += 1
        else:
            super().on_header(name, value)
        if len(self.headers) + self._trailers > self._settings.head_fields:
            self._stop(self._refuse_large_head)

    def on_headers_complete(self) -> None:
        """Begin to answer a request whose head is sound."""
        hosts = sum(name == b"host" for name, _ in self.headers)
        if hosts != 1 and (hosts or self.parser.get_http_version() == "1.1"):  # RFC 9112, 3.2
            self._stop(self._refuse_host)
        if len(self.pipeline) >= MAX_PIPELINED:
            self._stop(self._refuse_queue)
        self._in_body, self._received, self._trailers = True, 0, 0
        self._connection.begin()
        super().on_headers_complete()
        # The parser reads nothing behind a request that asks for another protocol, so the connection ends with it.
        if self.parser.should_upgrade():
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """Note that the request is whole."""
        super().on_message_complete()
        self._in_body, self._received, self._head_bytes = False, 0, 0
        # Answered before it was whole: the server's own timer for idle connections was stopped by its last bytes.
        self._late_s = inf if self._is_busy() else self.loop.time() + self._settings.keep_alive_s

    def on_response_complete(self) -> None:
        """Wait for the rest of the request, or for the next one; close if something was refused meanwhile."""
        if self._done:
            self.transport.close()
        super().on_response_complete()
        if self.cycle.response_complete:
            self._connection.end()
        if self._in_body:
            self._late_s = self.loop.time() + LINGER_S

    def pause_writing(self) -> None:
        """Give a stranger that does not read its answer a time to do so."""
        super().pause_writing()
        if not self._connection.known:
            self._stalled_s = self.loop.time() + self._settings.receive_s

    def resume_writing(self) -> None:
        """Note that the peer reads."""
        super().resume_writing()
        self._stalled_s = inf

    def close_if_late(self, now_s: float) -> None:
        """Close the connection if something that had to come by now has not."""
        # A peer that does not read keeps open what we have closed.
        if self.transport.is_closing() and self._stalled_s == inf:
            self._stalled_s = now_s + self._settings.receive_s
        if now_s < min(self._late_s, self._stalled_s):
            return
        is_answered = self._in_body and not self._is_busy()
        if now_s >= self._stalled_s or is_answered or not (self._received or self._in_body):
            self._refused["idle"] += 1
            self.transport.abort()
        else:
            detail = f"The request was not whole after {self._settings.receive_s:g} s. Send it again, in one go."
            self._refuse("late", Problem(HTTPStatus.REQUEST_TIMEOUT, "late", detail))
        self._late_s = self._stalled_s = inf

    def _is_busy(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _count_head(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > self._settings.head_bytes:
            self._stop(self._refuse_large_head)

    def _check_received(self) -> None:
        """Refuse what the parser holds or has thrown away beyond the bounds."""
        if self._done:
            return
        if not self._in_body and self._received > self._settings.head_bytes:
            self._refuse_large_head()
        # A body in pieces of one byte has six bytes of framing for each; nobody sends a large one so.
        elif self._in_body and self._received > 2 * self._settings.request_bytes + self._settings.head_bytes:
            detail = f"The body is larger than {self._settings.request_bytes} bytes."
            self._refuse("body", Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too-large", detail))

    def _stop(self, fault: Callable[[], None]) -> None:
        """End parsing, from within a callback of the parser."""
        self._fault = fault
        raise ValueError(fault.__name__)

    def _refuse_malformed(self) -> None:
        detail = "The request is not HTTP/1.1 (RFC 9112)."
        self._refuse("malformed", Problem(HTTPStatus.BAD_REQUEST, "bad-request", detail))

    def _refuse_host(self) -> None:
        detail = "The request needs one header Host (RFC 9112, 3.2)."
        self._refuse("malformed", Problem(HTTPStatus.BAD_REQUEST, "bad-request", detail))

    def _refuse_queue(self) -> None:
        detail = f"More than {MAX_PIPELINED} requests wait for an answer on this connection. Wait, or open another."
        self._refuse("queue", Problem(HTTPStatus.TOO_MANY_REQUESTS, "too-many-requests", detail, retry_after_s=1))

    def _refuse_large_head(self) -> None:
        bounds = f"{self._settings.head_bytes} bytes and {self._settings.head_fields} fields"
        detail = f"The head of a request may have {bounds}. Send fewer or shorter ones."
        self._refuse("head", Problem(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "head-too-large", detail))

    def _refuse(self, reason: str, problem: Problem) -> None:
        """Answer with a problem and close; nothing more is read."""
        self._done = True
        self._refused[reason] += 1
        if self._is_busy():
            cycle = self.cycle
            if not self._in_body or cycle.response_started or self.pipeline:
                # The answer under way is to another request, which may be an order: it goes out, then we close.
                cycle.keep_alive = False
                self.flow.pause_reading()
                return
            cycle.disconnected = True
            cycle.message_event.set()
        response = problem.response()
        fields = [*self.server_state.default_headers, *response.raw_headers, (b"connection", b"close")]
        head = b"HTTP/1.1 %d %s\r\n" % (problem.status, problem.status.phrase.encode())
        lines = b"".join(b"%s: %s\r\n" % field for field in fields)
        self.transport.write(head + lines + b"\r\n" + bytes(response.body))
        self.transport.close()
