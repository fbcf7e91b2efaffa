from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from broker.api.http.protocol import MAX_PIPELINED
from tests.unit.broker.api.conftest import Client
from tests.unit.broker.api.http.served import serving
from tests.unit.broker.secret_volume import KEYS

HOST = b"Host: broker\r\n"
KEY = b"X-API-Key: " + KEYS["flow"].encode() + b"\r\n"
GET = b"GET /v1/account HTTP/1.1\r\n" + HOST
ORDER = b"POST /v1/orders HTTP/1.1\r\nContent-Type: application/json\r\n" + HOST
END = b"\r\n"
BODY = b'{"instrument":"EUR_USD","side":"buy","type":"market","units":"100"}'
LENGTH = b"Content-Length: %d\r\n" % len(BODY)


async def test_head_within_the_bounds_is_answered(api: Client) -> None:
    async with serving(api) as server, server.wire() as wire:
        wire.send(GET, KEY, b"X-Long: ", b"x" * 30_000, END, b"X-One: 1\r\n" * 90, END)
        assert (await wire.answer())[0] == 200
        wire.send(GET, KEY, END)
        assert (await wire.answer())[0] == 200


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param((GET, b"X-Long: ", b"x" * 33_000, END, END), id="whole"),
        pytest.param((GET, b"X-Long: ", b"x" * 33_000), id="field without an end"),
        pytest.param((GET, b"x" * 33_000), id="name without an end"),
        pytest.param((b"GET /", b"x" * 33_000), id="target without an end"),
        pytest.param((GET, b"X-One: 1\r\n" * 101), id="fields without an end"),
        pytest.param((GET, b"X-One: 1\r\n" * 100, END), id="fields"),
    ],
)
async def test_head_beyond_the_bounds_is_431_also_while_it_is_incomplete(api: Client, parts: tuple[bytes, ...]) -> None:
    async with serving(api) as server, server.wire() as wire:
        wire.send(*parts)
        assert await wire.problem() == (431, "head-too-large")
        assert await wire.ended()
        assert await server.refused("head") == 1


async def test_head_in_small_pieces_is_counted_as_one(api: Client) -> None:
    async with serving(api, head_bytes=1024) as server, server.wire() as wire:
        wire.send(GET, b"X-Long: ")
        for _ in range(11):
            wire.send(b"x" * 100)
            await wire.writer.drain()
            await asyncio.sleep(0)
        assert await wire.problem() == (431, "head-too-large")


async def test_trailers_count_and_change_nothing(api: Client) -> None:
    chunked = ORDER + KEY + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n" % (len(BODY), BODY)
    async with serving(api) as server:
        async with server.wire() as wire:
            wire.send(chunked, b"Idempotency-Key: changed\r\n", END)
            assert (await wire.answer())[0] == 201
            assert [order.client_order_id[:5] for order in api.orders.placed] == ["auto-"]
        async with server.wire() as wire:
            wire.send(chunked, b"X-One: 1\r\n" * 100)
            assert await wire.problem() == (431, "head-too-large")


@pytest.mark.parametrize("parts", [(), (END,), (GET,), (GET, b"X-Half: ")], ids=repr)
async def test_connection_without_a_whole_head_is_closed_in_time(api: Client, parts: tuple[bytes, ...]) -> None:
    async with serving(api, receive_s=0.2) as server, server.wire() as wire:
        wire.send(*parts)
        if parts:
            assert await wire.problem() == (408, "late")
        assert await wire.ended()


async def test_second_request_of_a_connection_must_come_in_time_as_well(api: Client) -> None:
    async with serving(api, receive_s=0.2) as server, server.wire() as wire:
        wire.send(GET, KEY, END)
        assert (await wire.answer())[0] == 200
        wire.send(GET[:10])
        assert await wire.problem() == (408, "late")
        assert await wire.ended()


async def test_body_must_come_in_time(api: Client) -> None:
    async with serving(api, receive_s=0.2) as server, server.wire() as wire:
        wire.send(ORDER, KEY, LENGTH, END, BODY[:10])
        assert await wire.problem() == (408, "late")
        assert await wire.ended()
        assert api.orders.placed == []


async def test_answer_that_takes_longer_than_a_request_may_is_awaited(api: Client) -> None:
    release = asyncio.Event()

    async def wait() -> None:
        await release.wait()

    api.orders.before = wait
    async with serving(api, receive_s=0.1) as server, server.wire() as wire, server.wire() as other:
        wire.send(ORDER, KEY, LENGTH, END, BODY)
        other.send(GET)
        assert await other.problem() == (408, "late")
        release.set()
        assert (await wire.answer())[0] == 201


async def test_key_is_asked_for_before_the_body_is_read(api: Client) -> None:
    async with serving(api) as server, server.wire() as wire:
        wire.send(ORDER, b"Content-Length: 1000000\r\nExpect: 100-continue\r\n", END)
        assert await wire.problem() == (401, "no-key")
        assert await wire.ended()


async def test_body_beyond_the_bound_is_413_with_a_key(api: Client) -> None:
    async with serving(api, request_bytes=1024) as server, server.wire() as wire:
        wire.send(ORDER, KEY, b"Content-Length: 1025\r\n", END, b" " * 1025)
        assert await wire.problem() == (413, "too-large")


@pytest.mark.parametrize(
    ("head", "answer"),
    [
        pytest.param(b"GET /metrics HTTP/1.1\r\n", (400, "bad-request"), id="none"),
        pytest.param(b"GET /metrics HTTP/1.1\r\n" + 2 * HOST, (400, "bad-request"), id="two"),
        pytest.param(b"GET /v1/account HTTP/1.0\r\n", (401, "no-key"), id="none in HTTP/1.0"),
        pytest.param(b"no HTTP\r\n", (400, "bad-request"), id="no HTTP"),
    ],
)
async def test_request_needs_one_host(api: Client, head: bytes, answer: tuple[int, str]) -> None:
    async with serving(api) as server, server.wire() as wire:
        wire.send(head, END)
        assert await wire.problem() == answer


async def test_offer_of_another_protocol_is_answered_in_ours_and_ends_the_connection(api: Client) -> None:
    async with serving(api) as server, server.wire() as wire:
        wire.send(GET, KEY, b"Connection: Upgrade\r\nUpgrade: h2c\r\n", END)
        status, headers, _ = await wire.answer()
        assert (status, headers["connection"]) == (200, "close")
        assert await wire.ended()


async def test_queue_of_requests_is_bounded_and_the_first_is_answered(api: Client) -> None:
    release = asyncio.Event()

    async def wait() -> None:
        await release.wait()

    api.orders.before = wait
    async with serving(api) as server, server.wire() as wire:
        wire.send(ORDER, KEY, LENGTH, END, BODY, *[GET + KEY + END] * (MAX_PIPELINED + 1))
        assert await server.refused("queue") == 1
        release.set()
        assert (await wire.answer())[0] == 201
        assert await wire.ended()


async def test_stranger_makes_room_and_a_caller_with_a_key_does_not(api: Client) -> None:
    async with serving(api, connections=3) as server, AsyncExitStack() as stack:
        caller = await stack.enter_async_context(server.wire())
        caller.send(GET, KEY, END)
        assert (await caller.answer())[0] == 200
        strangers = [await stack.enter_async_context(server.wire()) for _ in range(2)]

        newcomer = await stack.enter_async_context(server.wire())
        newcomer.send(GET, KEY, END)
        assert (await newcomer.answer())[0] == 200
        assert await strangers[0].ended()
        caller.send(GET, KEY, END)
        assert (await caller.answer())[0] == 200
        assert await server.refused("evicted") == 1
