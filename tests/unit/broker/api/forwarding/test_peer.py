"""Asking the broker that trades the account: a real server on the machine stands for it."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from broker.api.forwarding.peer import ForwardedRequest, Peer
from broker.api.http.problem import Problem
from broker.api.http.tls import CertificatePair, load_certificate, new_server_context
from broker.api.settings import ApiSettings
from tests.unit.broker.api.asgi import call
from tests.unit.broker.certificates import make_issued, make_pair

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
ORDER = ForwardedRequest(
    method="POST",
    target="/v1/orders?a=%2F",
    headers={
        "x-api-key": "key",
        "idempotency-key": "one",
        "traceparent": "00-a-b-01",
        "cookie": "c",
        "host": "standby",
        "content-type": "application/json",
    },
    body=b'{"units":"1"}',
)


@asynccontextmanager
async def owner(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handler)
    server = TestServer(application, host="127.0.0.1", scheme="https" if tls else "http")
    await server.start_server(ssl=tls)
    try:
        yield f"127.0.0.1:{server.port}"
    finally:
        await server.close()


async def echo(request: web.Request) -> web.Response:
    told: dict[str, Any] = {
        "headers": {name.lower(): value for name, value in request.headers.items()},
        "target": request.raw_path,
    }
    certificate = request.get_extra_info("peercert")
    told |= {"body": await request.text(), "peer": bool(certificate)}
    return web.json_response(told, status=201, headers={"Location": "/v1/orders/1", "Set-Cookie": "secret"})


class Certificates:
    """A `CertificateSource` whose newest pair is in use."""

    def __init__(self, *pairs: CertificatePair) -> None:
        self.pairs = list(pairs)

    def certificate(self) -> CertificatePair | None:
        return self.pairs[-1] if self.pairs else None


def plain(**changed: Any) -> Peer:
    return Peer(ApiSettings(tls="off", **changed), Certificates())


async def test_request_and_answer_are_carried_over() -> None:
    async with owner(echo) as address, plain(deadline_s=10) as peer:
        answer = await peer.forward(address, ORDER)
    told = json.loads(bytes(answer.body))
    assert (answer.status_code, told["target"], told["body"]) == (201, ORDER.target, '{"units":"1"}')
    kept = ("x-api-key", "idempotency-key", "traceparent", "via", "broker-deadline-ms")
    assert [told["headers"].get(name) for name in kept] == ["key", "one", "00-a-b-01", "1.1 broker", "9000"]
    assert "cookie" not in told["headers"]
    assert (answer.headers["location"], answer.headers["via"]) == ("/v1/orders/1", "1.1 broker")
    assert "set-cookie" not in answer.headers


async def test_an_owner_that_is_not_there_was_sent_nothing() -> None:
    async with owner(echo) as address:
        gone = address
    async with plain() as peer:
        with pytest.raises(Problem) as raised:
            await peer.forward(gone, ORDER)
    assert (raised.value.status, raised.value.extra["reason"]) == (503, "OwnerUnreachable")


async def cut(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def stall(_: web.Request) -> web.StreamResponse:
    await asyncio.sleep(60)
    return web.Response()


@pytest.mark.parametrize("handler", [cut, stall])
async def test_a_lost_answer_says_which_key_to_send_again_with(handler: Handler) -> None:
    async with owner(handler) as address, plain(deadline_s=0.2) as peer:
        with pytest.raises(Problem) as raised:
            await peer.forward(address, ORDER)
    problem = raised.value
    assert (problem.status, problem.name, problem.extra["idempotency_key"]) == (504, "owner-answer-lost", "one")
    assert problem.headers["Retry-After"] == "1"


async def beats(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await answer.prepare(request)
    await answer.write(b"event: order\n\n")
    if "short" not in request.raw_path:
        await asyncio.sleep(60)
    return answer


def events(target: str) -> ForwardedRequest:
    return ForwardedRequest(method="GET", target=target, headers={"x-api-key": "key"}, body=b"")


async def test_events_come_through_until_the_owner_ends_them() -> None:
    async with owner(beats) as address, plain() as peer:
        stream = await peer.follow(address, events("/v1/events?short"), asyncio.Event())
        answer = await call(stream, "GET", "/v1/events")
    assert (answer.content, answer.headers["content-type"]) == (b"event: order\n\n", "text/event-stream")


async def test_events_end_with_us() -> None:
    end = asyncio.Event()
    async with owner(beats) as address, plain() as peer:
        stream = await peer.follow(address, events("/v1/events"), end)
        answer = await call(stream, "GET", "/v1/events", until=end)
    assert answer.content == b"event: order\n\n"


async def test_an_owner_that_refuses_events_is_quoted() -> None:
    async with owner(echo) as address, plain() as peer:
        answer = await peer.follow(address, events("/v1/events"), asyncio.Event())
    assert (answer.status_code, json.loads(bytes(answer.body))["target"]) == (201, "/v1/events")


def pair(folder: Path, name: str, authority: str) -> CertificatePair:
    certificate, key = make_pair(name)
    paths = [folder / f"{name}.{end}" for end in ("crt", "key", "ca")]
    for path, content in zip(paths, (certificate, key, make_pair(authority)[0]), strict=True):
        path.write_bytes(content)
    return CertificatePair(certificate=paths[0], key=paths[1], authority=paths[2])


def serving(folder: Path, name: str, authority: str) -> ssl.SSLContext:
    context, held = new_server_context(), pair(folder, name, authority)
    load_certificate(context, held.certificate, held.key, held.authority)
    return context


async def test_both_show_a_certificate(tmp_path: Path) -> None:
    mine = pair(tmp_path, "broker", "broker")
    async with (
        owner(echo, serving(tmp_path, "broker", "broker")) as address,
        Peer(ApiSettings(tls="required"), Certificates(mine)) as peer,
    ):
        answer = await peer.forward(address, ORDER)
    assert json.loads(bytes(answer.body))["peer"] is True


async def test_an_intermediate_is_authority_enough_where_the_root_stays_elsewhere(tmp_path: Path) -> None:
    paths = [tmp_path / f"broker.{end}" for end in ("crt", "key", "ca")]
    for path, content in zip(paths, make_issued("broker"), strict=True):
        path.write_bytes(content)
    mine, context = CertificatePair(certificate=paths[0], key=paths[1], authority=paths[2]), new_server_context()
    load_certificate(context, mine.certificate, mine.key, mine.authority)
    async with owner(echo, context) as address, Peer(ApiSettings(tls="required"), Certificates(mine)) as peer:
        answer = await peer.forward(address, ORDER)
    assert json.loads(bytes(answer.body))["peer"] is True


async def test_an_owner_with_another_authority_is_sent_nothing(tmp_path: Path) -> None:
    mine = pair(tmp_path, "broker", "broker")
    async with (
        owner(echo, serving(tmp_path, "stranger", "stranger")) as address,
        Peer(ApiSettings(tls="required"), Certificates(mine)) as peer,
    ):
        with pytest.raises(Problem) as raised:
            await peer.forward(address, ORDER)
    assert (raised.value.status, raised.value.extra["reason"]) == (503, "OwnerUnreachable")


async def test_an_owner_under_another_name_is_sent_nothing(tmp_path: Path) -> None:
    mine = pair(tmp_path, "broker", "broker")
    async with (
        owner(echo, serving(tmp_path, "broker", "broker")) as address,
        Peer(ApiSettings(tls="required", peer_name="broker.broker.svc"), Certificates(mine)) as peer,
    ):
        with pytest.raises(Problem) as raised:
            await peer.forward(address, ORDER)
    assert raised.value.extra["reason"] == "OwnerUnreachable"


async def test_without_a_certificate_nothing_is_sent() -> None:
    async with Peer(ApiSettings(tls="required"), Certificates()) as peer:
        with pytest.raises(Problem) as raised:
            await peer.forward("127.0.0.1:1", ORDER)
    assert (raised.value.status, raised.value.extra["reason"]) == (503, "NoPeerTls")


async def test_a_rotated_certificate_is_presented_next(tmp_path: Path) -> None:
    certificates = Certificates(pair(tmp_path, "broker", "broker"))
    async with (
        owner(echo, serving(tmp_path, "broker", "broker")) as address,
        Peer(ApiSettings(tls="required"), certificates) as peer,
    ):
        await peer.forward(address, ORDER)
        certificates.pairs.append(pair(tmp_path, "successor", "stranger"))
        with pytest.raises(Problem):
            await peer.forward(address, ORDER)
