"""The connections are opened in the background: a request never waits for one of its own."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from broker.venue.errors import WithheldError
from broker.venue.rest.client import VenueRest
from broker.venue.rest.rate_limit import Precedence
from broker.venue.settings import VenueSettings
from broker.venue.v20.order_requests import VenueCall
from pod_runtime.secret import Secret
from tests.venue_client import open_rest

OPEN = VenueCall(operation="create_order", method="POST", path="/orders", body={"order": {}})
CANCEL = VenueCall(operation="cancel_order", method="PUT", path="/orders/1/cancel")


class FakeVenueServer:
    """Answers at once, or holds its answers until it is told; closes after each answer where it is told to."""

    def __init__(self) -> None:
        self.connections: list[Any] = []
        self.methods: list[str] = []
        self.paths: list[str] = []
        self.free = asyncio.Event()
        self.free.set()
        self.closes = False

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.transport not in self.connections:
            self.connections.append(request.transport)
        self.methods.append(request.method)
        self.paths.append(request.path)
        await self.free.wait()
        answer = web.json_response({})
        if self.closes:
            answer.force_close()
        return answer

    @asynccontextmanager
    async def rest(self, **settings: Any) -> AsyncIterator[VenueRest]:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.handle)
        running = TestServer(app)
        await running.start_server()
        url = str(running.make_url("")).rstrip("/")
        made = VenueSettings(account="101", rest_url=url, stream_url=url, **settings)
        secret = Secret("token")
        try:
            async with open_rest(made, lambda: secret) as rest:
                yield rest
        finally:
            await running.close()


async def test_burst_at_the_start_shares_the_connection_that_there_is() -> None:
    server = FakeVenueServer()
    async with server.rest(connections_per_s=0.1, burst=100) as rest:
        answers = await asyncio.gather(*(rest.submit(OPEN) for _ in range(80)))
    assert len(answers) == 80
    assert len(server.connections) == 1


async def test_connections_grow_while_requests_wait() -> None:
    server = FakeVenueServer()
    server.free.clear()
    async with server.rest(connections=3, connections_per_s=100, burst=100) as rest:
        sending = [asyncio.create_task(rest.submit(OPEN)) for _ in range(10)]
        async with asyncio.timeout(120):
            while len(server.methods) < 3:
                await asyncio.sleep(0.001)
        server.free.set()
        await asyncio.gather(*sending)
    assert len(server.connections) == 3


async def test_cancel_takes_the_next_free_connection_before_opens_that_came_earlier() -> None:
    server = FakeVenueServer()
    server.free.clear()
    async with server.rest(connections=1, burst=100) as rest:
        opens = [asyncio.create_task(rest.submit(OPEN)) for _ in range(5)]
        while not server.methods:
            await asyncio.sleep(0.001)
        cancel = asyncio.create_task(rest.submit(CANCEL, Precedence.CANCEL))
        await asyncio.sleep(0)
        server.free.set()
        await asyncio.gather(*opens, cancel)
    assert server.methods == ["POST", "PUT", "POST", "POST", "POST", "POST"]


async def test_connection_that_the_venue_closes_is_replaced() -> None:
    server = FakeVenueServer()
    server.closes = True
    async with server.rest(connections=1, connections_per_s=100) as rest:
        for _ in range(3):
            await rest.submit(OPEN)
    assert len(server.connections) == 3


async def test_caller_that_leaves_the_queue_leaves_the_connection_to_others() -> None:
    server = FakeVenueServer()
    server.free.clear()
    async with server.rest(connections=1, burst=100) as rest:
        first = asyncio.create_task(rest.submit(OPEN))
        while not server.methods:
            await asyncio.sleep(0.001)
        second, third = (asyncio.create_task(rest.submit(OPEN)) for _ in range(2))
        await asyncio.sleep(0)
        second.cancel()
        server.free.set()
        await asyncio.gather(first, third)
        with pytest.raises(asyncio.CancelledError):
            await second
        await rest.submit(OPEN)
    assert len(server.methods) == 3


async def test_send_guard_is_asked_after_the_wait_for_a_connection() -> None:
    server = FakeVenueServer()
    server.free.clear()
    owns = True
    async with server.rest(connections=1, burst=100) as rest:
        first = asyncio.create_task(rest.submit(OPEN))
        while not server.methods:
            await asyncio.sleep(0.001)
        second = asyncio.create_task(rest.submit(OPEN, guard=lambda: None if owns else "OWNERSHIP_LOST"))
        await asyncio.sleep(0)
        owns = False
        server.free.set()
        await first
        with pytest.raises(WithheldError, match="OWNERSHIP_LOST"):
            await second
    assert server.methods == ["POST"]


async def test_kernel_delivers_a_request_in_time_or_not_at_all() -> None:
    server = FakeVenueServer()
    async with server.rest(connections=1, request_deadline_s=10.0) as rest:
        connection = await rest.connections.borrow(Precedence.OPEN)
        assert connection.transport is not None
        kernels = connection.transport.get_extra_info("socket")
        limit_ms = kernels.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
        idle_s = kernels.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
        rest.connections.give_back(connection)
    # The second is for an idle one: a request on one that is long dead would be lost.
    assert (limit_ms, idle_s) == (3000, 10)


async def test_accounts_share_the_connections_and_the_limits() -> None:
    server = FakeVenueServer()
    async with server.rest(connections=1, connections_per_s=100) as first:
        settings = replace(first.settings, account="102")
        second = VenueRest(settings, first.connections, tokens=first.tokens, emit=lambda _: None, chance=lambda: 0.0)
        await asyncio.gather(first.submit(OPEN), second.submit(OPEN))
    assert len(server.connections) == 1
    assert server.paths == ["/v3/accounts/101/orders", "/v3/accounts/102/orders"]
