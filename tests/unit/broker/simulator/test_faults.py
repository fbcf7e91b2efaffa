from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from broker.simulator.http.server import Simulator
from tests.unit.broker.simulator.commands import ORDER, command, post
from tests.v20_client import V20Client


async def post_and_go(client: V20Client, simulator: Simulator, fault: str) -> None:
    """Sends an order whole and closes the connection once the venue has begun with it."""
    host, _, port = simulator.rest_address.rpartition(":")
    data = json.dumps(ORDER).encode()
    head = (
        f"POST /v3/accounts/{client.account}/orders HTTP/1.1\r\nHost: venue\r\n"
        f"Authorization: Bearer {client.token}\r\n"
        f"X-Simulate-Fault: {fault}\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(head.encode() + data)
    async with asyncio.timeout(120):
        while not simulator.venue.faults.used:
            await asyncio.sleep(0.001)
    writer.close()
    await writer.wait_closed()


async def filled(client: V20Client) -> None:
    async with asyncio.timeout(120):
        while await fills(client) == 0:
            await asyncio.sleep(0.02)


async def fills(client: V20Client) -> int:
    return sum(entry["type"] == "ORDER_FILL" for entry in await client.log())


@pytest.mark.parametrize(
    ("fault", "status", "words"),
    [
        ("error_before", 500, "Internal server error."),
        ("error_before; status=504", 504, "Timeout waiting for response."),
        ("html", 503, "<html>"),
        ("unauthorized", 401, "Insufficient authorization"),
        ("rate_limited", 429, "rate"),
    ],
)
async def test_a_fault_before_leaves_no_trace(client: V20Client, fault: str, status: int, words: str) -> None:
    answered, text = await post(client, fault)

    assert (answered, words in text) == (status, True)
    assert await fills(client) == 0


async def test_a_reset_before_leaves_no_trace(client: V20Client) -> None:
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await post(client, "reset_before")

    assert await fills(client) == 0


async def test_a_reset_after_has_traded(client: V20Client) -> None:
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await post(client, "reset_after")

    assert await fills(client) == 1


async def test_half_a_body_has_traded(client: V20Client) -> None:
    with pytest.raises(aiohttp.ClientPayloadError):
        await post(client, "half_body")

    assert await fills(client) == 1


async def test_a_hang_has_traded(client: V20Client, simulator: Simulator) -> None:
    await post_and_go(client, simulator, "hang")
    await filled(client)


async def test_an_error_after_has_traded(client: V20Client) -> None:
    status, _ = await post(client, "error_after; status=502")

    assert (status, await fills(client)) == (502, 1)


async def test_a_delayed_request_lands_though_its_client_went(client: V20Client, simulator: Simulator) -> None:
    await post_and_go(client, simulator, "delay; seconds=1")
    assert await fills(client) == 0
    await filled(client)


async def test_a_lagging_log_shows_an_order_later(simulator: Simulator, client: V20Client) -> None:
    order = (await client.order())["orderCreateTransaction"]["id"]
    await command(client, "POST", "faults", {"kind": "lag", "seconds": 3600, "method": "GET", "count": -1})

    behind = await client.get("/transactions/sinceid?id=0")
    await client.get(f"/orders/{order}", status=404)
    simulator.venue.clock.move(3601.0)
    caught_up = await client.get("/transactions/sinceid?id=0")

    assert (behind["transactions"], behind["lastTransactionID"]) == ([], "0")
    assert caught_up["lastTransactionID"] == "4"


async def test_values_of_tomorrow_come_where_they_are_asked_for(client: V20Client) -> None:
    _, text = await post(client, "unknown_value")

    body = json.loads(text)
    assert body["fieldOfTomorrow"] == {"values": [1, None, "x"]}
    assert body["orderFillTransaction"]["reason"] == "REASON_OF_TOMORROW"


async def test_a_rule_is_used_up_and_counted(client: V20Client) -> None:
    rules = {"rules": [{"kind": "error_before", "method": "POST", "path": "/orders", "count": 2}]}
    await command(client, "POST", "faults", rules)

    statuses = [(await post(client, None))[0] for _ in range(3)]

    _, state = await command(client, "GET", "state")
    assert statuses == [500, 500, 201]
    assert state["faults_used"] == {"error_before": 2}


async def test_a_rule_waits_for_its_time(simulator: Simulator, client: V20Client) -> None:
    await command(client, "POST", "faults", {"kind": "html", "after_s": 3600, "count": -1})

    before, _ = await post(client, None)
    simulator.venue.clock.move(3601.0)
    after, _ = await post(client, None)
    await command(client, "DELETE", "faults")

    assert (before, after) == (201, 503)
    assert (await post(client, None))[0] == 201


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({"kind": "earthquake"}, "earthquake"),
        ({"kind": "html", "colour": 1}, "colour"),
        ({"kind": "html", "count": "x"}, "count"),
        ({"kind": "html", "status": 200}, "status"),
        ({}, "kind"),
    ],
)
async def test_a_fault_that_cannot_be_is_refused(client: V20Client, body: Any, word: str) -> None:
    status, answer = await command(client, "POST", "faults", body)

    assert status == 400
    assert word in answer["errorMessage"]


@pytest.mark.parametrize("header", ["earthquake", "delay; seconds=soon", "delay; colour=1"])
async def test_a_header_that_cannot_be_is_refused(client: V20Client, header: str) -> None:
    status, _ = await post(client, header)

    assert status == 400
