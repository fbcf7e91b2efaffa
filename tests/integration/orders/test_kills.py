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
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from broker.orders.model.ids import parse_tag
from broker.orders.model.lifecycle import OrderRecord
from broker.simulator.faults import FaultRule
from broker.simulator.http.server import Simulator
from tests.integration.orders.trader import TOKEN, answers
from tests.integration.orders.writes import VenueTruth, told_otherwise

pytestmark = [pytest.mark.real, pytest.mark.slow]
KILLS = int(os.environ.get("KILLS", "8"))
SEED = int(os.environ.get("SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
ORDERS_PER_KILL = 4
ROOT = Path(__file__).parents[3]


async def run_once(
    url: str, directory: Path, count: int, *, kill_at: int = 0, kill_when: Callable[[], Awaitable[None]] | None = None
) -> dict[str, Any] | None:
    """The trader's last words, or None where it was killed: at its own step `kill_at`, or when `kill_when` is done."""
    command = [sys.executable, "-m", "tests.integration.orders.trader", url, str(directory / "orders")]
    command += [str(directory / "ledger"), str(count), str(kill_at)]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'proto'}"}
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=environment, cwd=ROOT
    )
    talking = asyncio.create_task(process.communicate())
    if kill_when is not None:
        waiting = asyncio.ensure_future(kill_when())
        await asyncio.wait([talking, waiting], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
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


def records(words: dict[str, Any]) -> list[OrderRecord]:
    return msgspec.convert(words["records"], list[OrderRecord])


async def on_the_wire(simulator: Simulator, method: str) -> None:
    """Return when the venue has acted on a write whose answer it keeps back."""
    faults = simulator.venue.faults
    used = faults.used.get("hang", 0)
    faults.rules.append(FaultRule(kind="hang", method=method))
    while faults.used.get("hang", 0) == used:
        await asyncio.sleep(0.005)


async def test_kills_between_any_two_steps_double_nothing_and_lose_nothing(tmp_path: Path) -> None:
    print(f"KILLS={KILLS} SEED={SEED}")
    chance = random.Random(SEED)
    count = KILLS * ORDERS_PER_KILL
    async with Simulator(seed=SEED, tokens=frozenset({TOKEN}), requests_per_s=0, latency_s=0.004) as simulator:
        for kills in range(1, KILLS + 1):
            at_step, method = chance.random() < 0.7, chance.choice(["POST", "PUT"])
            ended = await run_once(
                simulator.rest_url,
                tmp_path,
                kills * ORDERS_PER_KILL,
                kill_at=chance.randrange(1, 400) if at_step else 0,
                kill_when=None if at_step else partial(on_the_wire, simulator, method),
            )
            simulator.venue.faults.rules.clear()
            assert ended is None or not ended["mismatches"]
        last = await run_once(simulator.rest_url, tmp_path, count)
        log = await transactions(simulator)

    assert last is not None
    assert last["mismatches"] == []
    truth = VenueTruth(log)
    assert truth.differences(records(last)) == []
    assert told_otherwise(answers(tmp_path / "ledger"), records(last)) == []
    flat = {name: str(units) for name, units in truth.positions.items() if units}
    assert last["held"] == last["positions"] == flat


async def transactions(simulator: Simulator, token: str = TOKEN) -> list[dict[str, Any]]:
    """The venue's own log."""

    url = f"{simulator.rest_url}/v3/accounts/101-004-1234567-001/transactions/sinceid"
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session,
        session.get(url, params={"id": "0"}) as answer,
    ):
        return list((await answer.json())["transactions"])
