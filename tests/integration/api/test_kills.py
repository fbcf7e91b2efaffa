"""The whole broker is killed at random moments under load; callers try again with the same keys."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.integration.api.broker_process import Stand, standing
from tests.unit.broker.secret_volume import ACCOUNT

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    # aiohttp leaves a socket whose connection a kill cuts off while it is handed to the event loop.
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]
KILLS = int(os.environ.get("BROKER_KILLS", "3"))
ORDERS_BETWEEN = 40
CALLERS = 4


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Stand]:
    async with standing(tmp_path) as made:
        yield made


async def place(stand: Stand, name: str) -> dict[str, Any]:
    """Sends one order until there is an answer to it, as a careful caller does."""
    while True:
        try:
            status, body = await stand.place_order(client_order_id=name, units=str(100 + len(name)))
        except (aiohttp.ClientError, TimeoutError):
            await asyncio.sleep(0.02)
            continue
        if status in {201, 202}:
            return dict(body)
        assert status in {409, 503, 504}, (status, body)
        await asyncio.sleep(0.02)


async def venue_fills(stand: Stand) -> dict[str, str]:
    """Transaction id of each fill in the venue's own log, with its order."""
    url, found, after = f"{stand.rest}/v3/accounts/{ACCOUNT}/transactions/sinceid", dict[str, str](), 0
    while True:
        headers = {"Authorization": "Bearer token-1"}
        async with stand.session.get(url, params={"id": str(after)}, headers=headers) as answer:
            page = await answer.json()
        found |= {item["id"]: item["orderID"] for item in page["transactions"] if item["type"] == "ORDER_FILL"}
        if not page["transactions"]:
            return found
        after = int(page["transactions"][-1]["id"])


async def all_rows(stand: Stand, kind: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        status, page = await stand.call("GET", f"/v1/history/{kind}", params={"limit": "500", **cursor})
        assert status == 200, page
        rows += page[kind]
        if page["next"] is None:
            return rows
        cursor = {"cursor": page["next"]}


async def test_orders_venue_and_history_agree_after_kills(stand: Stand) -> None:
    seed = int(os.environ.get("SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"SEED={seed}")
    chance = random.Random(seed)
    stand.changed["orders"] = {"absence_horizon_s": 1.0, "absence_scans": 2}
    await stand.start_ready()
    names = iter([f"{number:05d}" for number in range((KILLS + 1) * ORDERS_BETWEEN)])
    answers: dict[str, dict[str, Any]] = {}

    async def caller() -> None:
        for name in names:
            answers[name] = await place(stand, name)

    callers = [asyncio.create_task(caller()) for _ in range(CALLERS)]
    for number in range(KILLS):
        due = (number + 1) * ORDERS_BETWEEN - chance.randrange(ORDERS_BETWEEN)
        while len(answers) < due:
            assert not any(task.done() for task in callers), callers
            await asyncio.sleep(0.002)
        await asyncio.sleep(chance.random() * 0.02)
        assert stand.broker is not None
        await stand.broker.end(signal.SIGKILL)
        await (await stand.start_broker()).event("ready")
    await asyncio.gather(*callers)

    fills = await venue_fills(stand)
    async with asyncio.timeout(120):
        while len(rows := await all_rows(stand, "orders")) < len(answers) or {row["status"] for row in rows} & {
            "submitted",
            "unknown",
            "received",
        }:
            await asyncio.sleep(0.1)
        while {item["transaction_id"] for item in await all_rows(stand, "fills")} != set(fills):
            await asyncio.sleep(0.1)
        while not set(fills) <= {str(item["id"]) for item in await all_rows(stand, "transactions")}:
            await asyncio.sleep(0.1)

    assert len(answers) == (KILLS + 1) * ORDERS_BETWEEN
    assert {row["client_order_id"] for row in rows} == set(answers)
    assert {row["id"] for row in rows} == {answer["id"] for answer in answers.values()}
    assert sorted(fills.values()) == sorted(row["venue_order_id"] for row in rows if row["status"] == "filled")
    assert len(fills) == len(set(fills.values())), "an order was filled twice"


async def test_denial_that_was_told_is_the_same_after_a_kill_at_that_moment(stand: Stand) -> None:
    # Larger than the limit: the venue never sees it, so that only the journal can tell of it.
    stand.changed["orders"] = {"account": {"units": 1000}}
    broker = await stand.start_ready()
    told: dict[str, Any] = {}
    for number in range(3):
        status, told = await stand.place_order(client_order_id=f"denied-{number}", units="1001")
        assert await broker.end(signal.SIGKILL) == -signal.SIGKILL
        assert (status, told["reason"]) == (422, "UNITS_LIMIT_EXCEEDED")
        broker = await stand.start_broker()
        await broker.event("ready")
        _, found = await stand.call("GET", f"/v1/orders/{told['order']['id']}")
        assert found == told["order"]
        _, again = await stand.place_order(client_order_id=f"denied-{number}", units="1001")
        assert again["order"] == told["order"]
    assert await broker.end() == 0
