from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from devstack.flow import Flow
from tests.unit.broker_client.order_api import ORDER


class Venue:
    """An order API that answers when it is let."""

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()
        self.answer = json.dumps(ORDER)
        self.url = ""

    async def place(self, _: web.Request) -> web.Response:
        await self.may_answer.wait()
        return web.Response(text=self.answer)

    async def prices(self, _: web.Request) -> web.Response:
        return web.json_response({"prices": []})


@pytest.fixture
async def venue() -> AsyncIterator[Venue]:
    made, application = Venue(), web.Application()
    application.router.add_post("/v1/orders", made.place)
    application.router.add_get("/v1/prices", made.prices)
    async with TestServer(application) as server:
        made.url = str(server.make_url(""))
        yield made


async def until_sent(flow: Flow, count: int) -> None:
    async with asyncio.timeout(120):
        while flow.tally.sent < count:
            await asyncio.sleep(0)


async def test_orders_keep_their_beat_while_nobody_answers(venue: Venue) -> None:
    flow, stop = Flow(base_url=venue.url, api_key="key", chance=random.Random(1), in_flight=100), asyncio.Event()
    running = asyncio.create_task(flow.run(1000.0, stop))
    await until_sent(flow, 100)
    assert (flow.tally.most_in_flight, flow.tally.results.total()) == (100, 0)
    stop.set()
    venue.may_answer.set()
    await running
    assert flow.tally.results["filled"] == flow.tally.sent


async def test_no_more_orders_wait_than_may(venue: Venue) -> None:
    flow, stop = Flow(base_url=venue.url, api_key="key", chance=random.Random(1), in_flight=5), asyncio.Event()
    running = asyncio.create_task(flow.run(1000.0, stop))
    await until_sent(flow, 5)
    venue.may_answer.set()
    await until_sent(flow, 20)
    stop.set()
    await running
    assert flow.tally.most_in_flight == 5


async def test_an_answer_that_is_no_order_is_counted_as_none(venue: Venue) -> None:
    venue.answer = "no colour answered"
    venue.may_answer.set()
    flow = Flow(base_url=venue.url, api_key="key", chance=random.Random(1))
    await flow.send(3)
    assert flow.tally.results == {"NoAnswerError": 3}
