"""Client of the order API of the broker that owns the account: plain HTTP, or mutual TLS as `api.tls` says.

aiohttp is imported where it is used, at the first request that is forwarded: an owner forwards none, and the import is
a tenth of its start.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Self

from fastapi.responses import Response, StreamingResponse
from starlette.types import Send

from broker.api.http.problem import Problem, unavailable
from broker.api.http.tls import CertificatePair, CertificateSource, client_context
from broker.api.settings import ApiSettings
from pod_runtime.cancellation import PersistentTaskGroup
from pod_runtime.connection.keepalive import keepalive_socket

if TYPE_CHECKING:
    import aiohttp

CONNECT_S = 2.0
SILENCE_S = 20.0
"""Longest silence of an event stream: the owner sends a comment each 10 s."""
VIA = "1.1 broker"
"""Our name in `Via` (RFC 9110, 7.6.3): a broker does not forward a request that has it."""
DEADLINE_HEADER = "Broker-Deadline-Ms"
# Shares of our deadline: the owner answers before we give up, and we before the caller's time ends.
_OWNERS_SHARE, _OUR_SHARE = 0.9, 0.95
# Lists of what goes through, not of what is held back: a header that somebody invents later stays here.
_REQUEST_HEADERS = (
    "x-api-key",
    "authorization",
    "content-type",
    "idempotency-key",
    "last-event-id",
    "traceparent",
    "tracestate",
)
_ANSWER_HEADERS = ("Content-Type", "Location", "Idempotent-Replayed", "Retry-After", "WWW-Authenticate")
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardedRequest:
    """A caller's request, to send again to the owner."""

    method: str
    target: str
    """Path with query, percent-encoded as it came."""
    headers: Mapping[str, str]
    """By their names in lower case."""
    body: bytes


class OwnerEvents(StreamingResponse):
    """Copies the owner's event stream until it ends, `end` is set, or the owner is silent for SILENCE_S."""

    def __init__(self, answer: aiohttp.ClientResponse, end: asyncio.Event) -> None:
        super().__init__(self._chunks(), answer.status, _answer_headers(answer))
        self._answer = answer
        self._end = end

    async def stream_response(self, send: Send) -> None:
        """Send head and chunks; Starlette calls it once."""
        # The task group is not in the generator: one that is left at a `yield` would end in another task (PEP 789).
        async with PersistentTaskGroup() as tasks:
            ending = tasks.create_task(self._close_at_end())
            try:
                await super().stream_response(send)
            finally:
                ending.cancel()
                self._answer.close()

    async def _close_at_end(self) -> None:
        await self._end.wait()
        self._answer.close()

    async def _chunks(self) -> AsyncIterator[bytes]:
        import aiohttp  # noqa: PLC0415 - see above, as all below

        try:
            async for chunk in self._answer.content.iter_any():
                yield chunk
        except (aiohttp.ClientError, TimeoutError) as error:
            # The status is sent already. The stream just ends, and the client connects again, to the next owner.
            _LOG.info("owner's events ended", extra={"fault": f"{type(error).__name__}: {error}"})


class Peer:
    """Sends requests on to the owner, which authenticates the caller's own key. `async with` it, which closes it."""

    def __init__(self, settings: ApiSettings, certificates: CertificateSource) -> None:
        self._settings = settings
        self._certificates = certificates
        self._session: aiohttp.ClientSession | None = None
        self._loaded: tuple[CertificatePair, ssl.SSLContext] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    def _open_session(self) -> aiohttp.ClientSession:
        import aiohttp  # noqa: PLC0415

        timeout = aiohttp.ClientTimeout(total=self._settings.deadline_s * _OUR_SHARE, sock_connect=CONNECT_S)
        connector = aiohttp.TCPConnector(limit=self._settings.connections, socket_factory=keepalive_socket)
        return aiohttp.ClientSession(timeout=timeout, connector=connector)

    async def forward(self, owner: str, request: ForwardedRequest) -> Response:
        """The owner's answer, whatever it is; `owner` is `host:port`.

        Raises Problem: 503 if nothing was sent, 504 if the owner may have taken the request.
        """
        with _faults_as_problems(owner, request):
            async with await self._send(owner, request) as answer:
                return Response(await answer.read(), answer.status, _answer_headers(answer))

    async def follow(self, owner: str, request: ForwardedRequest, end: asyncio.Event) -> Response:
        """The owner's stream of events, until it ends or `end` is set; or its refusal. Raises as `forward`."""
        import aiohttp  # noqa: PLC0415

        quiet = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=SILENCE_S)
        with _faults_as_problems(owner, request):
            answer = await self._send(owner, request, quiet)
            if answer.status == HTTPStatus.OK:
                return OwnerEvents(answer, end)
            async with answer:
                return Response(await answer.read(), answer.status, _answer_headers(answer))

    async def _send(
        self, owner: str, request: ForwardedRequest, limits: aiohttp.ClientTimeout | None = None
    ) -> aiohttp.ClientResponse:
        from yarl import URL  # noqa: PLC0415

        if self._session is None:
            self._session = self._open_session()
        headers = {name: request.headers[name] for name in _REQUEST_HEADERS if name in request.headers}
        deadline_ms = round(self._settings.deadline_s * _OWNERS_SHARE * 1000)
        return await self._session.request(
            request.method,
            URL(self._settings.url_of(owner) + request.target, encoded=True),
            headers={**headers, "Via": VIA, DEADLINE_HEADER: str(deadline_ms)},
            data=request.body or None,
            ssl=self._tls(),
            server_hostname=self._settings.peer_name or None,
            allow_redirects=False,  # a redirect would carry the caller's key to another host
            timeout=limits or self._session.timeout,
        )

    def _tls(self) -> ssl.SSLContext | bool:
        if self._settings.tls != "required":
            return True
        pair = self._certificates.certificate()
        if pair is None or pair.authority is None:
            detail = "The broker has no certificate and ca.crt yet to ask the account's owner with. Nothing was sent."
            raise unavailable("not-ready", detail, retry_after_s=1, reason="NoPeerTls")
        # aiohttp keys its connections by the context: a rotated certificate has a new one, and so new connections.
        if self._loaded is None or self._loaded[0] != pair:
            self._loaded = (pair, client_context(pair))
        return self._loaded[1]


def _answer_headers(answer: aiohttp.ClientResponse) -> dict[str, str]:
    return {name: answer.headers[name] for name in _ANSWER_HEADERS if name in answer.headers} | {"Via": VIA}


@contextmanager
def _faults_as_problems(owner: str, request: ForwardedRequest) -> Iterator[None]:
    """Turn faults on the way to the owner into what the caller may do about them."""
    import aiohttp  # noqa: PLC0415

    try:
        yield
    except (aiohttp.ClientError, TimeoutError) as error:
        # Without a connection nothing was sent. After that, nobody here knows how far the owner got.
        unsent = isinstance(error, (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError))
        words = "owner not reached" if unsent else "owner's answer lost"
        _LOG.warning(words, extra={"owner": owner, "fault": f"{type(error).__name__}: {error}"})
        if unsent:
            detail = f"The broker that trades the account ({owner}) cannot be reached. Nothing was sent. Try again."
            raise unavailable("not-ready", detail, retry_after_s=1, reason="OwnerUnreachable") from error
        detail = (
            f"The answer of the broker that trades the account ({owner}) was lost; it may have taken the request. "
            "Send it again with the same Idempotency-Key: it is then done once."
        )
        name, status, key = "owner-answer-lost", HTTPStatus.GATEWAY_TIMEOUT, request.headers.get("idempotency-key")
        raise Problem(status, name, detail, retry_after_s=1, idempotency_key=key, owner=owner) from error
