"""Connections without a key, against the whole process: nobody who has one loses an order to them."""

from __future__ import annotations

import asyncio
import os
import resource
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.integration.api.broker_process import Stand, standing, start
from tests.integration.api.strangers import strangers
from tests.unit.broker.certificates import make_pair
from tests.unit.broker.secret_volume import KEYS, publish, usual_files

pytestmark = pytest.mark.real
STRANGERS = int(os.environ.get("STRANGERS", "300"))
HELD_S = float(os.environ.get("STRANGERS_S", "3"))
CONNECTIONS = max(100, STRANGERS // 2)
MARKET = {"instrument": "EUR_USD", "side": "buy", "type": "market", "units": "1"}


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Stand]:
    async with standing(tmp_path) as made:
        made.changed["api"] = {"connections": CONNECTIONS, "connections_per_address": CONNECTIONS}
        yield made


async def test_no_order_of_a_caller_with_a_key_fails_while_strangers_hold_connections(stand: Stand) -> None:
    broker = await stand.start_ready()
    # The strangers are of the caller's own address, which has shown a key before they come.
    assert not await fault_of(stand, "GET", "/v1/admin/state", 200)
    end = asyncio.get_running_loop().time() + HELD_S
    failed: list[object] = []
    async with strangers(stand.url, STRANGERS), aiohttp.ClientSession() as kept:
        while True:
            for session in (kept, None):
                failed += await fault_of_order(stand, session)
            failed += await fault_of(stand, "GET", "/metrics", None)
            failed += await fault_of(stand, "DELETE", "/v1/orders/01JGX5TVK2M4N6P8Q0R2S4T001", 404)
            failed += await fault_of(stand, "GET", "/v1/admin/state", 200)
            if asyncio.get_running_loop().time() > end:
                break
            await asyncio.sleep(0.1)

    assert not failed, failed
    assert await broker.end() == 0


async def fault_of_order(stand: Stand, session: aiohttp.ClientSession | None) -> list[object]:
    """Fault of an order on a kept connection, or on one of its own."""
    own = session or aiohttp.ClientSession()
    try:
        headers = {"X-API-Key": KEYS["flow"]}
        async with own.post(f"{stand.url}/v1/orders", json=MARKET, headers=headers) as answer:
            return [] if answer.status == 201 else [(answer.status, await answer.text())]
    except (aiohttp.ClientError, TimeoutError) as error:
        return [repr(error)]
    finally:
        if session is None:
            await own.close()


async def fault_of(stand: Stand, method: str, path: str, expected: int | None) -> list[object]:
    """The same for a request on a connection of its own; without `expected` it has no key."""
    headers = {} if expected is None else {"X-API-Key": KEYS["boss"]}
    try:
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.request(method, stand.url + path) as answer,
        ):
            text = await answer.text()
            return [] if answer.status == (expected or 200) else [(method, path, answer.status, text)]
    except (aiohttp.ClientError, TimeoutError) as error:
        return [(method, path, repr(error))]


async def test_handshakes_that_never_come_keep_no_caller_out(stand: Stand) -> None:
    certificate, key = make_pair("broker")
    stand.changed["api"] |= {"tls": "required", "receive_s": 2.0}
    publish(stand.secrets, 1, {**usual_files(), "tls.crt": certificate, "tls.key": key})
    broker = await stand.start_broker()
    await broker.event("ready")
    trust = ssl.create_default_context(cadata=certificate.decode())
    async with strangers(stand.url, CONNECTIONS + 20, of="127.0.0.2"):
        for number in range(5):
            headers = {"X-API-Key": KEYS["flow"], "Idempotency-Key": f"tls-{number}"}
            async with (
                aiohttp.ClientSession(headers=headers) as session,
                session.post(f"{stand.url}/v1/orders", json=MARKET, ssl=trust) as answer,
            ):
                assert answer.status == 201, await answer.text()
    assert await broker.end() == 0


async def test_flood_of_handshakes_is_refused_before_it_costs_anything_and_nobody_else_notices(stand: Stand) -> None:
    certificate, key = make_pair("broker")
    stand.changed["api"] |= {"tls": "required", "connections_per_address": 20, "connections_per_s_per_address": 0.1}
    publish(stand.secrets, 1, {**usual_files(), "tls.crt": certificate, "tls.key": key})
    broker = await stand.start_broker()
    await broker.event("ready")
    trust = ssl.create_default_context(cadata=certificate.decode())
    async with asyncio.TaskGroup() as tasks:
        flood = [tasks.create_task(handshakes(stand.url, trust, "127.0.0.2", 60)) for _ in range(2)]
        for number in range(40):
            # On connections of their own, of which more come than the rate allows: this address has shown a key.
            assert not await fault_from("127.0.0.3", stand, trust, f"tls-{number}")
            if number % 8 == 0:
                assert not await fault_from("127.0.0.4", stand, trust)  # a scrape, which has none
    assert sum(task.result() for task in flood) > 60
    assert await broker.end() == 0


async def handshakes(url: str, trust: ssl.SSLContext, of: str, count: int) -> int:
    """Begins so many connections, one behind the other; the number of those that were closed without a handshake."""
    host, port = url.removeprefix("https://").split(":")
    refused = 0
    for _ in range(count):
        try:
            _, writer = await asyncio.open_connection(
                host, int(port), ssl=trust, server_hostname="broker", local_addr=(of, 0)
            )
        except OSError:
            refused += 1
        else:
            writer.transport.abort()
    return refused


async def fault_from(address: str, stand: Stand, trust: ssl.SSLContext, order: str | None = None) -> list[object]:
    """What went wrong with an order, or a scrape, from an address, on a connection of its own."""
    headers = {"X-API-Key": KEYS["flow"], "Idempotency-Key": order} if order else {}
    method, path, body, expected = ("POST", "/v1/orders", MARKET, 201) if order else ("GET", "/metrics", None, 200)
    try:
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(local_addr=(address, 0)), headers=headers) as session,
            session.request(method, stand.url + path, json=body, ssl=trust) as answer,
        ):
            text = await answer.text()
            return [] if answer.status == expected else [(answer.status, text)]
    except (aiohttp.ClientError, TimeoutError) as error:
        return [repr(error)]


async def test_more_connections_than_descriptors_end_nothing(stand: Stand) -> None:
    broker = await stand.start_ready()
    assert (await stand.condition("Serving"))["ok"]  # on a connection that the session keeps
    # As if other parts had taken the descriptors: the bound on connections alone would keep within the limit.
    open_now = len(list(Path(f"/proc/{broker.child.pid}/fd").iterdir()))
    resource.prlimit(broker.child.pid, resource.RLIMIT_NOFILE, (open_now + 20, open_now + 20))
    async with strangers(stand.url, 60):
        await broker.event("connections cannot be accepted")
        assert (await stand.until("Serving", ok=False))["reason"] == "NoDescriptors"
    await broker.event("connections are accepted again")
    await stand.until("Serving", ok=True)
    status, order = await stand.place_order()
    assert (status, order["status"]) == (201, "filled")
    assert await broker.end() == 0


async def test_start_refuses_more_connections_than_descriptors_allow(stand: Stand) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    stand.changed["api"] = {"connections": hard - 199}
    broker = await start("-m", "broker", "--config", str(stand.configuration()))

    assert await broker.child.wait() == os.EX_CONFIG
    assert await broker.end() == os.EX_CONFIG
    assert f"api.connections: must be at most {hard - 200}" in "".join(broker.other)
