"""Two processes on one account: a paused owner wakes up fenced, and a killed one is followed at once."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from broker.simulator.http.server import Simulator
from tests.integration.orders.test_kills import fills_by_order, transactions
from tests.integration.orders.trader import TOKEN

pytestmark = [pytest.mark.real, pytest.mark.slow]
ROOT = Path(__file__).parents[3]


class Rival:
    """A process that trades when it may; see `rival.py`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[dict[str, Any]] = []

    async def read(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            self.lines.append(json.loads(line))

    def placed(self) -> list[dict[str, Any]]:
        return [line for line in self.lines if "id" in line]


@asynccontextmanager
async def rival(url: str, directory: Path, name: str) -> AsyncIterator[Rival]:
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'proto'}"}
    command = [sys.executable, "-m", "tests.integration.orders.competing_broker", url, str(directory), name]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, env=environment, cwd=ROOT)
    made = Rival(process)
    reading = asyncio.create_task(made.read())
    try:
        yield made
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await reading


async def until(is_so: Any, deadline_s: float = 120.0) -> None:
    async with asyncio.timeout(deadline_s):
        while not is_so():
            await asyncio.sleep(0.02)


async def test_paused_owner_wakes_up_fenced_and_nothing_is_doubled(tmp_path: Path) -> None:
    async with Simulator(seed=3, tokens=frozenset({TOKEN}), requests_per_s=0, latency_s=0.005) as simulator:
        async with (
            rival(simulator.rest_url, tmp_path, "first") as first,
            rival(simulator.rest_url, tmp_path, "second") as second,
        ):
            await until(lambda: first.placed() or second.placed())
            owner, other = (first, second) if first.placed() else (second, first)
            await until(lambda: len(owner.placed()) >= 10)
            owner.process.send_signal(signal.SIGSTOP)
            before = len(owner.placed())
            await until(lambda: len(other.placed()) >= 10)
            owner.process.send_signal(signal.SIGCONT)
            await until(lambda: any(line.get("refused") == "NotOwner" for line in owner.lines))
            await until(lambda: len(other.placed()) >= 30)
            late = owner.placed()[before:]
        log = await transactions(simulator)

    fills = fills_by_order(log)
    assert {name: number for name, number in fills.items() if number > 1} == {}
    known = {line["id"]: line["status"] for line in owner.placed() + other.placed()}
    assert {name for name, status in known.items() if status == "filled"} <= set(fills)
    assert {line["status"] for line in late} <= {"filled", "denied", "unknown"}
    marks = [
        item["clientExtensions"]["id"] for item in log if item["type"] == "MARKET_ORDER" and "clientExtensions" in item
    ]
    assert len(marks) == len(set(marks))


async def test_killed_owner_is_followed_without_waiting_for_its_lease(tmp_path: Path) -> None:
    async with (
        Simulator(seed=3, tokens=frozenset({TOKEN}), requests_per_s=0) as simulator,
        rival(simulator.rest_url, tmp_path, "first") as first,
        rival(simulator.rest_url, tmp_path, "second") as second,
    ):
        await until(lambda: first.placed() or second.placed())
        owner, other = (first, second) if first.placed() else (second, first)
        owner.process.kill()
        await until(lambda: len(other.placed()) >= 3)
