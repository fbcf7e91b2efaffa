"""kill -9 of the trading process between any two steps of an order: nothing doubled, nothing lost.

KILLS (default 8) is the number of kills and SEED their seed; both are printed.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from broker.orders.model.ids import parse_tag
from broker.simulator.http.server import Simulator
from tests.integration.orders.trader import TOKEN

pytestmark = [pytest.mark.real, pytest.mark.slow]
KILLS = int(os.environ.get("KILLS", "8"))
SEED = int(os.environ.get("SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
ORDERS_PER_KILL = 4
ROOT = Path(__file__).parents[3]


async def run_once(
    url: str, directory: Path, count: int, *, kill_at: int, kill_after_s: float | None
) -> dict[str, Any] | None:
    """The trader's last words, or None where it was killed."""
    command = [sys.executable, "-m", "tests.integration.orders.trader", url, str(directory / "orders")]
    command += [str(directory / "ledger"), str(count), str(kill_at)]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'proto'}"}
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=environment, cwd=ROOT
    )
    talking = asyncio.create_task(process.communicate())
    if kill_after_s is not None:
        await asyncio.wait([talking], timeout=kill_after_s)
        if process.returncode is None:
            process.kill()
    output, errors = await talking
    if process.returncode == 0:
        words: dict[str, Any] = json.loads(output.splitlines()[-1])
        return words
    assert process.returncode == -9, errors.decode()
    return None


def fills_by_order(log: list[dict[str, Any]]) -> Counter[str]:
    """Our order ids, and how many orders with that mark the venue has filled."""
    found: Counter[str] = Counter()
    for item in log:
        tag = parse_tag(item.get("clientOrderID"))
        if item["type"] == "ORDER_FILL" and tag is not None:
            found[tag.order_id] += 1
    return found


async def test_kills_between_any_two_steps_double_nothing_and_lose_nothing(tmp_path: Path) -> None:
    print(f"KILLS={KILLS} SEED={SEED}")
    chance = random.Random(SEED)
    count = KILLS * ORDERS_PER_KILL
    async with Simulator(seed=SEED, tokens=frozenset({TOKEN}), requests_per_s=0, latency_s=0.004) as simulator:
        kills = 0
        while kills < KILLS:
            by_event = chance.random() < 0.7
            ended = await run_once(
                simulator.rest_url,
                tmp_path,
                (kills + 1) * ORDERS_PER_KILL,
                kill_at=chance.randrange(1, 220) if by_event else 0,
                kill_after_s=None if by_event else 0.6 + chance.random(),
            )
            kills += 1
            assert ended is None or not ended["mismatches"]
        last = await run_once(simulator.rest_url, tmp_path, count, kill_at=0, kill_after_s=None)
        log = await transactions(simulator)

    assert last is not None
    assert last["mismatches"] == []
    orders = last["orders"]
    assert set(orders) == {str(number) for number in range(count)}
    fills = fills_by_order(log)
    assert {name: number for name, number in fills.items() if number > 1} == {}
    filled = {order["id"] for order in orders.values() if order["status"] == "filled"}
    assert filled == set(fills)
    made = [tag.order_id for item in log if (tag := parse_tag((item.get("clientExtensions") or {}).get("id")))]
    assert len(made) == len(set(made))
    assert set(made) <= {order["id"] for order in orders.values()}
    assert {order["status"] for order in orders.values()} <= {"filled", "pending", "presumed_absent"}


async def transactions(simulator: Simulator, token: str = TOKEN) -> list[dict[str, Any]]:
    """The venue's own log."""

    url = f"{simulator.rest_url}/v3/accounts/101-004-1234567-001/transactions/sinceid"
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session,
        session.get(url, params={"id": "0"}) as answer,
    ):
        return list((await answer.json())["transactions"])
