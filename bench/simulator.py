"""Load that the simulated venue can carry: `python -m bench.simulator [seconds]`.

Orders: eight connections post market orders as fast as they are answered. Prices: one stream of 100 instruments that
all move 50 times a second; CPU is the simulator's own. Both against `python -m broker.simulator` in its own process.
"""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import perf_counter
from typing import Any

import aiohttp
import psutil
import uvloop

from broker.simulator.market.instruments import LISTINGS

ACCOUNT = "101-004-1234567-001"
HEADERS = {"Authorization": "Bearer simulator-token"}
CONNECTIONS = 8
INSTRUMENTS = tuple(LISTINGS)[:100]
TICKS_PER_S = 50
ORDERS_GOAL = 500.0
PRICES_GOAL = 4900.0


@asynccontextmanager
async def simulator(*options: str) -> AsyncIterator[tuple[str, psutil.Process]]:
    """A simulator in a process of its own: its address and the process."""
    command = [sys.executable, "-m", "broker.simulator", "--requests-per-s", "0", *options]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        yield await _address(process), psutil.Process(process.pid)
    finally:
        process.terminate()
        await process.wait()


async def _address(process: Process) -> str:
    assert process.stdout is not None
    return f"http://{json.loads(await process.stdout.readline())['rest']}"


async def orders_per_s(seconds: float) -> float:
    """Market orders that were answered in a second."""
    async with simulator() as (url, _), aiohttp.ClientSession(headers=HEADERS) as session:
        began, done = perf_counter(), 0

        async def post() -> None:
            nonlocal done
            side = 1
            while perf_counter() - began < seconds:
                order = {"type": "MARKET", "instrument": "EUR_USD", "units": str(100 * side)}
                async with session.post(f"{url}/v3/accounts/{ACCOUNT}/orders", json={"order": order}) as answer:
                    assert answer.status == 201
                    await answer.read()
                side, done = -side, done + 1

        await asyncio.gather(*(post() for _ in range(CONNECTIONS)))
        return done / (perf_counter() - began)


async def prices(seconds: float) -> tuple[float, float]:
    """Prices a second that a reader got, and the share of a core that the simulator took."""
    # In the news scenario every step changes every rounded price: calm, one in six stays where it was.
    options = ("--instruments", ",".join(INSTRUMENTS), "--ticks-per-s", str(TICKS_PER_S), "--scenario", "news")
    async with simulator(*options) as (url, process), aiohttp.ClientSession(headers=HEADERS) as session:
        path = f"/v3/accounts/{ACCOUNT}/pricing/stream"
        async with session.get(url + path, params={"instruments": ",".join(INSTRUMENTS)}) as stream:
            await stream.content.readline()
            cpu, began, count = _cpu_s(process), perf_counter(), 0
            while perf_counter() - began < seconds:
                count += (await stream.content.readany()).count(b'"type":"PRICE"')
            took = perf_counter() - began
            return count / took, (_cpu_s(process) - cpu) / took


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


async def measure(seconds: float) -> list[dict[str, Any]]:
    """The rows."""
    orders = await orders_per_s(seconds)
    got, cores = await prices(seconds)
    return [
        row("simulator_orders", orders, "1/s", goal=ORDERS_GOAL, holds=orders >= ORDERS_GOAL),
        row("simulator_prices_on_a_stream", got, "1/s", goal=PRICES_GOAL, holds=got >= PRICES_GOAL),
        row("simulator_cpu_at_those_prices", cores, "cores", goal=1.0, holds=cores <= 1.0),
    ]


def row(name: str, ours: float, unit: str, *, goal: float, holds: bool) -> dict[str, Any]:
    """A line of the table."""
    return {"name": name, "ours": ours, "baseline": None, "unit": unit, "ratio": None, "goal": goal, "holds": holds}


def rows(seconds: float = 5.0) -> list[dict[str, Any]]:
    """The rows of the simulated venue."""
    return uvloop.run(measure(seconds))


def main() -> None:
    """Prints the rows as JSON, one a line."""
    for line in rows(*map(float, sys.argv[1:2])):
        print(json.dumps(line))


if __name__ == "__main__":
    main()
