"""Orders while nobody takes what the broker tells about them.

SIDECAR_ABSENT_S (default 2) is how long the sidecar is away; a long run sets minutes. How long orders took with it
and without it is printed.
"""

from __future__ import annotations

import os
import statistics
import time

import aiohttp
import pytest

from devstack.stack import Stack
from devstack.status import settle
from tests.e2e.scenario import Client
from tests.e2e.stack_fixture import running_stack

ABSENT_S = float(os.environ.get("SIDECAR_ABSENT_S", "2"))
PRESENT_S = 1.5
pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(900 + ABSENT_S)]


async def trade(client: Client, word: str, seconds: float) -> list[str]:
    """The statuses of orders sent one after the other."""
    statuses: list[str] = []
    took: list[float] = []
    end = time.monotonic() + seconds
    while (began := time.monotonic()) < end:
        order = await client.order(f"{word}-{len(statuses)}")
        took.append(time.monotonic() - began)
        statuses.append(str(order.get("status")))
    print(f"{word}: {len(took)} orders, median {statistics.median(took) * 1e3:.2f} ms, worst {max(took) * 1e3:.2f} ms")
    return statuses


async def test_orders_go_on_without_the_sidecar_and_are_counted_when_it_is_back() -> None:
    async with running_stack() as stack, aiohttp.ClientSession() as session:
        client = Client(stack, session)
        await client.wait_prices()
        present = await trade(client, "present", PRESENT_S)
        await kill_sidecar(stack)
        absent = await trade(client, "absent", ABSENT_S)
        await stack.start_sidecar()
        await stack.wait_ready(30)
        reading = await settle(stack, session, deadline_s=30)

    assert set(present + absent) == {"filled"}
    assert len(absent) > 10
    assert reading.orders["filled"] == len(present + absent)
    assert reading.orders["received"] == reading.orders["filled"] + reading.orders["denied"]


async def kill_sidecar(stack: Stack) -> None:
    child = stack.children["sidecar"]
    child.process.kill()
    await child.process.wait()
