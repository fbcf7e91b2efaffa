"""The broker that trades the account, asked by one that does not: plain HTTP, or mutual TLS as `api.tls` says."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Self

import aiohttp
from fastapi.responses import Response, StreamingResponse
from yarl import URL

from broker.api.http.problem import Problem
from broker.api.settings import ApiSettings
from broker.credentials.generation import CertificatePair

CONNECT_S = 2.0
SILENCE_S = 30.0
"""Of an event stream: the owner shows each 10 s that it lives."""
VIA = "1.1 broker"
"""Names us in `Via` (RFC 9110, 7.6.3), so that a request is passed on once."""
DEADLINE_HEADER = "Broker-Deadline-Ms"
_SHARE_OF_OWNER, _SHARE_OF_ANSWER = 0.9, 0.95
"""Of our deadline: the owner answers before we give up, and we before the caller's time ends."""
_SENT = ("x-api-key", "authorization", "content-type", "idempotency-key", "traceparent", "tracestate")
_RETURNED = ("Content-Type", "Location", "Idempotent-Replayed", "Retry-After", "WWW-Authenticate")
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """A request to pass on."""

    method: str
    target: str
    """Path with query, percent-encoded as it came."""
    headers: Mapping[str, str]
    """By their names in small letters."""
    body: bytes


class Peer:
    """Passes requests on to the owner. `async with` it.

    The owner authenticates the caller's own key. `certificates` gives what we present; none is not ready.
    """

    def __init__(self, settings: ApiSettings, certificates: Callable[[], CertificatePair | None]) -> None:
        self._settings = settings
        self._certificates = certificates
        self._session: aiohttp.ClientSession | None = None
        self._loaded: tuple[CertificatePair, ssl.SSLContext] | None = None

    async def __aenter__(self) -> Self:
        total_s = self._settings.deadline_s * _SHARE_OF_ANSWER
        timeout = aiohttp.ClientTimeout(total=total_s, sock_connect=CONNECT_S)
        connector = aiohttp.TCPConnector(limit=self._settings.connections)
        self._session = aiohttp.ClientSession(timeout=timeout, connector=connector)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    def url(self, address: str) -> str:
        """The owner's order API, as our own setting of TLS makes it: never plain where ours is not."""
        return f"{'https' if self._settings.tls == 'required' else 'http'}://{address}"

    async def pass_on(self, address: str, request: Passed) -> Response:
        """The owner's answer, whatever it is.

        Raises:
            Problem: 503 where nothing was sent, 504 where the owner may have taken it.
        """
        with _told(address, request):
            async with await self._ask(address, request) as answer:
                return Response(await answer.read(), answer.status, _kept(answer))

    async def follow(self, address: str, request: Passed, end: asyncio.Event) -> Response:
        """The owner's stream of events, until it ends, or `end` is set, or the owner is silent.

        Raises:
            Problem: as above.
        """
        quiet = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=SILENCE_S)
        with _told(address, request):
            answer = await self._ask(address, request, quiet)
        if answer.status != HTTPStatus.OK:
            async with answer:
                return Response(await answer.read(), answer.status, _kept(answer))
        return StreamingResponse(_chunks(answer, end), answer.status, _kept(answer))

    async def _ask(
        self, address: str, request: Passed, limits: aiohttp.ClientTimeout | None = None
    ) -> aiohttp.ClientResponse:
        if self._session is None:
            raise RuntimeError("Peer is used outside of `async with`")
        sent = {name: request.headers[name] for name in _SENT if name in request.headers}
        deadline_ms = round(self._settings.deadline_s * _SHARE_OF_OWNER * 1000)
        return await self._session.request(
            request.method,
            URL(self.url(address) + request.target, encoded=True),
            headers={**sent, "Via": VIA, DEADLINE_HEADER: str(deadline_ms)},
            data=request.body or None,
            ssl=self._context(),
            server_hostname=self._settings.peer_name or None,
            allow_redirects=False,
            timeout=limits or self._session.timeout,
        )

    def _context(self) -> ssl.SSLContext | bool:
        """Of the certificate in use now: a rotated one makes new connections."""
        if self._settings.tls != "required":
            return True
        pair = self._certificates()
        if pair is None or pair.authority is None:
            detail = "The broker has no certificate and ca.crt yet to ask the account's owner with. Nothing was sent."
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "not-ready", detail, reason="NoPeerTls", retry_after_s=1)
        if self._loaded is None or self._loaded[0] != pair:
            context = ssl.create_default_context(cafile=str(pair.authority))
            context.load_cert_chain(pair.certificate, pair.key)
            self._loaded = (pair, context)
        return self._loaded[1]


def _kept(answer: aiohttp.ClientResponse) -> dict[str, str]:
    return {name: answer.headers[name] for name in _RETURNED if name in answer.headers} | {"Via": VIA}


async def _chunks(answer: aiohttp.ClientResponse, end: asyncio.Event) -> AsyncIterator[bytes]:
    """The stream's bytes as they come. An owner that goes ends it: the client connects again."""
    ending = asyncio.create_task(end.wait())
    ending.add_done_callback(lambda _: answer.close())
    try:
        async for chunk in answer.content.iter_any():
            yield chunk
    except (aiohttp.ClientError, TimeoutError) as error:
        _LOG.info("owner's events ended", extra={"fault": f"{type(error).__name__}: {error}"})
    finally:
        ending.cancel()
        answer.close()


@contextmanager
def _told(address: str, request: Passed) -> Iterator[None]:
    """Faults on the way to the owner, as what the caller may do about them."""
    try:
        yield
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
        raise _unreachable(address, error) from error
    except (aiohttp.ClientError, TimeoutError) as error:
        raise _lost(address, request, error) from error


def _unreachable(address: str, error: Exception) -> Problem:
    _LOG.warning("owner not reached", extra={"owner": address, "fault": f"{type(error).__name__}: {error}"})
    detail = f"The broker that trades the account ({address}) cannot be reached. Nothing was sent. Try again."
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, "not-ready", detail, reason="OwnerUnreachable", retry_after_s=1)


def _lost(address: str, request: Passed, error: Exception) -> Problem:
    _LOG.warning("owner's answer lost", extra={"owner": address, "fault": f"{type(error).__name__}: {error}"})
    detail = (
        f"The answer of the broker that trades the account ({address}) was lost; it may have taken the request. "
        "Send it again with the same Idempotency-Key: it is then done once."
    )
    key = request.headers.get("idempotency-key")
    return Problem(
        HTTPStatus.GATEWAY_TIMEOUT, "owner-answer-lost", detail, retry_after_s=1, idempotency_key=key, owner=address
    )
