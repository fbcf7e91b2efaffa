from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from broker.simulator.http.server import Simulator
from broker.simulator.venue import Subscription
from tests import v20_schema
from tests.v20_client import V20Client

DEADLINE_S = 10


@asynccontextmanager
async def opened(simulator: Simulator, client: V20Client, path: str) -> AsyncIterator[aiohttp.StreamReader]:
    url = f"{simulator.stream_url}/v3/accounts/{client.account}{path}"
    async with asyncio.timeout(DEADLINE_S), client.session.get(url) as answer:
        assert answer.status == 200
        yield answer.content


async def lines(stream: aiohttp.StreamReader, kind: str, count: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while len(found) < count:
        line = json.loads(await stream.readline())
        if line["type"] == kind or (kind == "" and line["type"] != "HEARTBEAT"):
            found.append(line)
    return found


async def read_all(stream: aiohttp.StreamReader, got: bytearray) -> None:
    while True:
        got += await stream.readany()


async def test_prices_begin_with_a_snapshot_and_go_on_with_what_moves(simulator: Simulator, client: V20Client) -> None:
    async with opened(simulator, client, "/pricing/stream?instruments=EUR_USD,USD_JPY") as stream:
        first = await lines(stream, "PRICE", 2)
        simulator.venue.step()
        then = await lines(stream, "PRICE", 1)

    assert {item["instrument"] for item in first} == {"EUR_USD", "USD_JPY"}
    assert not v20_schema.definition_faults("ClientPrice", then[0])


async def test_a_slow_reader_gets_the_latest_price_only(simulator: Simulator) -> None:
    waiting = Subscription("x", "pricing", frozenset({"EUR_USD"}))
    simulator.venue.subscriptions.append(waiting)

    for _ in range(5):
        simulator.venue.step()

    prices, _ = waiting.take()
    assert prices == [simulator.venue.market.prices["EUR_USD"]]


async def test_transactions_come_once_each_and_none_before_the_request(simulator: Simulator, client: V20Client) -> None:
    await client.order()
    async with opened(simulator, client, "/transactions/stream") as stream:
        beat = json.loads(await stream.readline())
        await client.order(units="-50")
        found = await lines(stream, "", 2)

    assert beat == {"type": "HEARTBEAT", "time": beat["time"], "lastTransactionID": "4"}
    assert [(item["id"], item["type"]) for item in found] == [("5", "MARKET_ORDER"), ("6", "ORDER_FILL")]


async def test_heartbeats_go_on_while_prices_move(simulator: Simulator, client: V20Client) -> None:
    async with opened(simulator, client, "/pricing/stream?instruments=EUR_USD") as stream:
        beats = 0
        while beats < 3:
            simulator.venue.step()
            beats += json.loads(await stream.readline())["type"] == "HEARTBEAT"


async def test_heartbeats_are_as_published(simulator: Simulator, client: V20Client) -> None:
    async with opened(simulator, client, "/transactions/stream") as stream:
        beat = json.loads(await stream.readline())

    assert not v20_schema.definition_faults("TransactionHeartbeat", beat)


async def test_a_cut_comes_in_the_middle_of_a_line(simulator: Simulator, client: V20Client) -> None:
    async with opened(simulator, client, "/transactions/stream") as stream:
        await stream.readline()
        async with client.session.post(f"{simulator.rest_url}/simulator/faults", json={"kind": "stream_cut"}):
            pass
        got = bytearray()
        with pytest.raises(aiohttp.ClientPayloadError):
            await read_all(stream, got)

    assert got
    assert not got.endswith(b"\n")


async def test_a_line_that_is_broken_is_followed_by_whole_ones(simulator: Simulator, client: V20Client) -> None:
    async with opened(simulator, client, "/transactions/stream") as stream:
        await stream.readline()
        async with client.session.post(f"{simulator.rest_url}/simulator/faults", json={"kind": "stream_garbage"}):
            pass
        async with asyncio.timeout(120):
            while is_whole(await stream.readline()):
                pass  # a heartbeat may have been on its way
            assert is_whole(await stream.readline())


def is_whole(line: bytes) -> bool:
    assert line.endswith(b"\n")
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


async def test_a_stalled_stream_is_silent_and_goes_on(simulator: Simulator, client: V20Client) -> None:
    rule = {"kind": "stream_stall", "seconds": 0.3}
    async with opened(simulator, client, "/transactions/stream") as stream:
        await stream.readline()
        async with client.session.post(f"{simulator.rest_url}/simulator/faults", json=rule):
            pass
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(read_all(stream, bytearray()), 0.2)
        assert await stream.readline()


async def test_a_stream_without_a_token_is_a_401(simulator: Simulator) -> None:
    url = f"{simulator.stream_url}/v3/accounts/{simulator.account}/transactions/stream"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        assert answer.status == 401


async def test_a_stream_of_an_unlisted_instrument_is_a_400(simulator: Simulator, client: V20Client) -> None:
    url = f"{simulator.stream_url}/v3/accounts/{client.account}/pricing/stream?instruments=XXX_YYY"
    async with client.session.get(url) as answer:
        assert answer.status == 400


async def test_a_stopping_simulator_ends_its_streams() -> None:
    async with Simulator(ticks_per_s=0) as simulator, V20Client("", simulator.token) as client:
        url = f"{simulator.stream_url}/v3/accounts/{client.account}/transactions/stream"
        answer = await client.session.get(url)
        await answer.content.readline()
        await simulator.__aexit__(None, None, None)
        async with asyncio.timeout(DEADLINE_S):
            assert await answer.content.read() == b""
