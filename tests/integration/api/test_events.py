"""`/v1/events` of a real broker: every change once and in the journal's order, whoever is killed or leaves."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest

from tests.integration.api.broker_process import Stand, standing
from tests.integration.api.event_reader import EventReader, journaled
from tests.integration.api.test_standby import insist, two
from tests.unit.broker.secret_volume import ACCOUNT

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    # aiohttp leaves a socket whose connection a kill cuts off while it is handed to the event loop.
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]
KILLS = int(os.environ.get("BROKER_KILLS", "3"))
ORDERS_BETWEEN = 10
QUERY = {"types": "order,transaction"}
LOST = (aiohttp.ClientError, TimeoutError, ConnectionError)


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Stand]:
    async with standing(tmp_path) as made:
        yield made


def new_chance() -> random.Random:
    seed = int(os.environ.get("SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"SEED={seed}")
    return random.Random(seed)


async def read_on(reader: EventReader, *stands: Stand) -> None:
    """Reads for ever, from one after the other."""
    while True:
        for stand in stands:
            try:
                await reader.read(stand.url)
            except LOST:
                await asyncio.sleep(0.02)


async def place(stand: Stand, name: str) -> None:
    """Sends one order until its end is known, through kills: one that was never sent ends as presumed absent."""
    ended = False
    while not ended:
        with suppress(*LOST):
            status, body = await stand.place_order(client_order_id=name)
            ended = status == 201 or body.get("status") == "presumed_absent"
        await asyncio.sleep(0.1)


async def until_seen(reader: EventReader, directory: Path, after: int) -> None:
    """Waits until the reader has seen as many changes as the journal has, and more do not come."""
    async with asyncio.timeout(120):
        while len(reader.changes()) < len(journaled(directory, after)):
            await asyncio.sleep(0.05)


async def test_reader_that_comes_back_after_kills_sees_each_change_once_in_order(stand: Stand) -> None:
    chance = new_chance()
    stand.changed["orders"] = {"absence_horizon_s": 1.0, "absence_scans": 2}
    await stand.start_ready()
    reader = EventReader(stand.session, QUERY, chance)
    reading = asyncio.create_task(read_on(reader, stand))
    async with asyncio.timeout(60):
        await reader.begun.wait()
    assert reader.last_id is not None
    start = int(reader.last_id.partition("-")[0])
    for kill in range(KILLS):
        numbers = range(kill * ORDERS_BETWEEN, (kill + 1) * ORDERS_BETWEEN)
        async with asyncio.TaskGroup() as group:
            for number in numbers:
                group.create_task(place(stand, f"{number:05d}"))
            await asyncio.sleep(chance.random() * 0.2)
            assert stand.broker is not None
            await stand.broker.end(signal.SIGKILL)
            await (await stand.start_broker()).event("ready")
    directory = stand.place / "orders" / ACCOUNT
    await until_seen(reader, directory, start)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)

    assert reader.changes() == journaled(directory, start)
    assert {kind for kind, _ in reader.events} == {"order", "transaction"}, "no gap was told"
    assert reader.connections > KILLS


async def test_reader_goes_on_at_the_successor_on_the_same_volume(tmp_path: Path) -> None:
    async with two(tmp_path, standby="forward") as (owner, standby):
        assert owner.broker is not None
        # Of the standby first: it passes the owner's stream on.
        reader = EventReader(owner.session, QUERY)
        reading = asyncio.create_task(read_on(reader, standby))
        async with asyncio.timeout(60):
            await reader.begun.wait()
        assert reader.last_id is not None
        start = int(reader.last_id.partition("-")[0])
        for number in range(5):
            await insist(standby, f"before-{number}", number + 1)
        await owner.broker.end(signal.SIGKILL)
        for number in range(5):
            await insist(standby, f"after-{number}", number + 1)
        directory = tmp_path / "orders" / ACCOUNT
        await until_seen(reader, directory, start)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)

    assert reader.changes() == journaled(directory, start)
    assert {kind for kind, _ in reader.events} == {"order", "transaction"}, "no gap was told"


async def test_successor_on_another_volume_tells_of_the_gap(tmp_path: Path) -> None:
    async with two(tmp_path, standby="forward", shared=False) as (owner, standby):
        assert owner.broker is not None
        reader = EventReader(owner.session, QUERY)
        reading = asyncio.create_task(read_on(reader, standby))
        async with asyncio.timeout(60):
            await reader.begun.wait()
        await insist(standby, "before", 1)
        await owner.broker.end(signal.SIGKILL)
        await insist(standby, "after", 2)
        async with asyncio.timeout(60):
            while "gap" not in [kind for kind, _ in reader.events]:
                await asyncio.sleep(0.02)
        await insist(standby, "later", 3)
        async with asyncio.timeout(60):
            while not [data for kind, data in reader.events if kind == "order" and data["client_order_id"] == "later"]:
                await asyncio.sleep(0.02)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)

    (gap,) = [data for kind, data in reader.events if kind == "gap"]
    assert gap["reason"] == "unknown"


async def test_account_state_and_price_come_beside_the_changes(stand: Stand) -> None:
    stand.changed["orders"] = {"sample_s": 0.2}
    await stand.start_ready()
    reader = EventReader(stand.session, {"types": "account,state,price"})
    reading = asyncio.create_task(read_on(reader, stand))
    async with asyncio.timeout(60):
        await reader.begun.wait()
        await stand.place_order()
        await stand.call("PUT", "/v1/admin/state", json={"state": "reducing", "reason": "test"})
        while {kind for kind, _ in reader.events} != {"account", "state", "price"}:
            await asyncio.sleep(0.02)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)

    state = next(data for kind, data in reader.events if kind == "state" and data["state"] == "reducing")
    assert state == {"state": "reducing", "actor": "boss", "reason": "test"}
