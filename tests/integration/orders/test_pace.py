"""The venue's limits on the venue's clock: requests and new connections a second, cancels before opens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from time import monotonic

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from broker.venue.rest.rate_limit import Precedence
from broker.venue.settings import VenueSettings
from broker.venue.v20.order_requests import VenueCall
from pod_runtime.secret import Secret
from tests.venue_client import open_rest

pytestmark = [pytest.mark.real, pytest.mark.slow]
JITTER_S = 0.15
"""Time by which a loaded machine may bunch what we sent apart."""
OPEN = VenueCall(operation="create_order", method="POST", path="/orders", body={"order": {}})
CANCEL = VenueCall(operation="cancel_order", method="PUT", path="/orders/1/cancel")


class Server:
    """Notes when what arrives."""

    def __init__(self) -> None:
        self.requests: list[tuple[float, str]] = []
        self.connections: dict[int, float] = {}

    async def handle(self, request: web.Request) -> web.StreamResponse:
        now = monotonic()
        self.requests.append((now, request.method))
        self.connections.setdefault(id(request.transport), now)
        return web.json_response({})


@pytest.fixture
async def server() -> AsyncIterator[tuple[Server, str]]:
    made = Server()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.handle)
    running = TestServer(app)
    await running.start_server()
    yield made, str(running.make_url("")).rstrip("/")
    await running.close()


def busiest(times: list[float], window_s: float) -> int:
    return max(sum(start <= at < start + window_s for at in times) for start in times)


async def test_bursts_are_paced_and_cancels_go_first(server: tuple[Server, str]) -> None:
    made, url = server
    settings = VenueSettings(account="101", rest_url=url, stream_url=url, request_deadline_s=30)
    secret = Secret("token")
    async with open_rest(settings, lambda: secret) as rest:
        opens = [asyncio.create_task(rest.submit(OPEN)) for _ in range(250)]
        await asyncio.sleep(0.5)
        before = len(made.requests)
        await asyncio.gather(*(rest.submit(CANCEL, Precedence.CANCEL) for _ in range(5)))
        opens_before_cancels = sum(method == "POST" for _, method in made.requests[before:])
        await asyncio.gather(*opens)

    assert len(made.requests) == 255
    assert busiest([at for at, _ in made.requests], 1.0 - JITTER_S) <= 100
    assert busiest(list(made.connections.values()), 1.0 - JITTER_S) <= 4
    assert opens_before_cancels < 60
