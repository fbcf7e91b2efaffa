"""Cost of the order path over the venue's own latency: `python -m bench.orders [seconds]`.

50 orders a second, open loop, against the simulator in a process of its own. Overhead is the time that placing an
order takes beyond the HTTP exchange that it makes. The disk's own fdatasync is measured in the same run, on the same
volume. The baseline is a plain aiohttp client that posts the same orders and keeps nothing.

`order_cpu_floor` is what is left of `order_cpu` without any step of ours: an append and its sync in the disk's thread,
one exchange on a connection of ours, and both streams, read and thrown away.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import os
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from time import perf_counter, process_time, sleep
from typing import Any

import aiohttp
import uvloop

from broker.domain import OrderRequest, OrderStatus, OrderType, Side
from broker.order_wiring import build_order_service
from broker.orders.service import OrderService
from broker.orders.settings import OrderSettings
from broker.orders.store.journal import DiskSyncer
from broker.venue.settings import VenueSettings
from broker.venue.v20.order_requests import VenueCall
from pod_runtime.run import settle
from pod_runtime.secret import Secret
from tests.venue_client import open_rest

ACCOUNT = "101-004-1234567-001"
TOKEN = "bench-token"  # noqa: S105 - the simulator's, made here
RATE = 50.0
VENUE_LATENCY_MS = 20.0
OPEN_ORDERS = 1000
HTTP_CREATED = 201
SILENCE_S = 30.0
_exchange: contextvars.ContextVar[list[float] | None] = contextvars.ContextVar("exchange", default=None)


def row(
    name: str, ours: float, *, unit: str, baseline: float | None = None, goal: float | None = None
) -> dict[str, Any]:
    """A line of the table."""
    ratio = ours / baseline if baseline else None
    holds = ours <= goal if goal is not None else None
    return {
        "name": name,
        "ours": ours,
        "baseline": baseline,
        "unit": unit,
        "ratio": ratio,
        "goal": goal,
        "holds": holds,
    }


@asynccontextmanager
async def simulator(directory: Path) -> AsyncIterator[str]:
    """A simulator in a process of its own; its address."""
    token_file = directory / "token"
    token_file.write_text(TOKEN)
    command = [sys.executable, "-m", "broker.simulator", "--token-file", str(token_file), "--requests-per-s", "0"]
    command += ["--latency-ms", str(VENUE_LATENCY_MS)]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        while True:
            line = json.loads(await process.stdout.readline())
            if line["event"] == "listening":
                break
        yield f"http://{line['rest']}"
    finally:
        process.terminate()
        await process.wait()


def note(event: tuple[Any, ...]) -> None:
    """Keeps the HTTP time of the order in whose task it happened."""
    times = _exchange.get()
    if times is not None and type(event).__name__ == "OrderStage" and event[0] == "http":
        times.append(event[1])


async def paced(count: int, act: Callable[[int], Coroutine[Any, Any, None]]) -> float:
    """Starts `count` acts at the rate, whatever each takes; CPU seconds of this process for each."""
    started, cpu_s = perf_counter(), process_time()
    async with asyncio.TaskGroup() as group:
        for index in range(count):
            await asyncio.sleep(max(0.0, started + index / RATE - perf_counter()))
            group.create_task(act(index))
    return (process_time() - cpu_s) / count


@asynccontextmanager
async def ready_service(url: str, directory: Path) -> AsyncIterator[OrderService]:
    """An order service that may trade."""
    secret = Secret(TOKEN)
    venue_settings = VenueSettings(account=ACCOUNT, rest_url=url, stream_url=url, connections_per_s=50)
    settings = OrderSettings(directory=directory / "orders")
    async with open_rest(venue_settings, lambda: secret, emit=note) as rest:
        service = build_order_service(settings, rest)
        stop = asyncio.Event()
        running = asyncio.create_task(service.run(stop))
        while any(not item.ok for item in service.conditions() if not item.advisory):  # noqa: ASYNC110 - a state, no event
            await asyncio.sleep(0.01)
        yield service
        stop.set()
        await running


async def start_with_open_orders(url: str, directory: Path, count: int = OPEN_ORDERS) -> float:
    """Seconds from start to ready with so many resting orders in the journal and at the venue."""
    order = {"type": "LIMIT", "instrument": "EUR_USD", "units": "1", "price": "0.50000", "timeInForce": "GTC"}
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as session:
        for start in range(0, count, 50):
            posts = [
                session.post(f"{url}/v3/accounts/{ACCOUNT}/orders", json={"order": order})
                for _ in range(start, start + 50)
            ]
            for answer in await asyncio.gather(*posts):
                assert answer.status == HTTP_CREATED, await answer.text()
                answer.release()
    async with ready_service(url, directory) as service:
        assert len(service.open_orders()) == count
    started = perf_counter()
    async with ready_service(url, directory) as service:
        assert len(service.open_orders()) == count
        return perf_counter() - started


async def through_service(url: str, directory: Path, count: int) -> tuple[list[float], list[float], float]:
    """Seconds of each `place`, and of it beyond its HTTP exchange; CPU seconds of each."""
    whole: list[float] = []
    beyond: list[float] = []
    async with ready_service(url, directory) as service:

        async def act(index: int) -> None:
            times: list[float] = []
            _exchange.set(times)
            started = perf_counter()
            order = (await service.place(request(index))).order
            duration = perf_counter() - started
            assert order.status is OrderStatus.FILLED, (order.status, order.reason, order.message)
            if index >= RATE:  # the first second opens connections
                whole.append(duration)
                while not times:  # noqa: ASYNC110 - the stream told the fill before the answer came; a state, no event
                    await asyncio.sleep(0.001)
                beyond.append(max(0.0, duration - times[0]))

        settle()  # as the broker does when it is ready
        cpu_s = await paced(count, act)
    return whole, beyond, cpu_s


def request(index: int) -> OrderRequest:
    """A small market order, to and fro."""
    return OrderRequest(
        client_order_id=f"bench-{index}",
        client="bench",
        account=ACCOUNT,
        instrument="EUR_USD",
        type=OrderType.MARKET,
        side=Side.BUY if index % 2 else Side.SELL,
        units=Decimal(100),
    )


async def plain(url: str, count: int) -> tuple[list[float], float]:
    """Seconds of each POST by a client that keeps nothing; CPU seconds of each."""
    durations: list[float] = []
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as session:

        async def act(index: int) -> None:
            order = {
                "type": "MARKET",
                "instrument": "EUR_USD",
                "units": "100" if index % 2 else "-100",
                "timeInForce": "FOK",
            }
            started = perf_counter()
            async with session.post(f"{url}/v3/accounts/{ACCOUNT}/orders", json={"order": order}) as answer:
                await answer.json()
            if index >= RATE:
                durations.append(perf_counter() - started)

        cpu_s = await paced(count, act)
    return durations, cpu_s


async def floor(url: str, directory: Path, count: int) -> float:
    """CPU seconds of each order that is synced, sent and answered, and about which nothing else is done."""
    journal = os.open(directory / "floor", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    syncer, loop, secret = DiskSyncer(), asyncio.get_running_loop(), Secret(TOKEN)
    settings = VenueSettings(account=ACCOUNT, rest_url=url, stream_url=url, connections_per_s=50)
    async with open_rest(settings, lambda: secret) as rest, asyncio.TaskGroup() as tasks:

        async def listen(path: str, query: dict[str, str]) -> None:
            stream = await rest.open_stream("floor", path, query, secret)
            try:
                while await stream.read(SILENCE_S):
                    pass
            finally:
                stream.abort()

        async def act(index: int) -> None:
            order = {"type": "MARKET", "instrument": "EUR_USD", "units": str((index % 2 * 2 - 1) * 100)}
            call = VenueCall(operation="floor", method="POST", path="/orders", body={"order": order})
            os.write(journal, b"x" * 600)
            synced: asyncio.Future[None] = loop.create_future()
            syncer.sync(journal, lambda *_: synced.set_result(None))
            await synced
            await rest.submit(call)

        names = ",".join(item.name for item in await rest.instruments())
        streams = [("/transactions/stream", {}), ("/pricing/stream", {"instruments": names})]
        listening = [tasks.create_task(listen(*each)) for each in streams]
        await paced(int(RATE), act)  # opens connections
        cpu_s = await paced(count, act)
        for task in listening:
            task.cancel()
    syncer.close()
    os.close(journal)
    return cpu_s


def disk_syncs(directory: Path, count: int) -> list[float]:
    """Seconds of each append and fdatasync on the volume, at the pace of the orders: a busy disk is faster."""
    handle = os.open(directory / "sync", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    durations = []
    for _ in range(count):
        sleep(1 / RATE)
        started = perf_counter()
        os.write(handle, b"x" * 600)
        os.fdatasync(handle)
        durations.append(perf_counter() - started)
    os.close(handle)
    return durations


def percentile(values: list[float], part: int) -> float:
    """In milliseconds."""
    return statistics.quantiles(values, n=100)[part - 1] * 1000


async def measure(seconds: float) -> list[dict[str, Any]]:
    """The rows."""
    with tempfile.TemporaryDirectory() as name:
        directory, count = Path(name), int(seconds * RATE)
        async with simulator(directory) as url:
            base, base_cpu_s = await plain(url, count)
            syncs = await asyncio.to_thread(disk_syncs, directory, count // 2)
            whole, beyond, cpu_s = await through_service(url, directory, count)
            syncs += await asyncio.to_thread(disk_syncs, directory, count // 2)
            floor_s = await floor(url, directory, count)
            start_s = await start_with_open_orders(url, directory)
    rows = [row("order_cpu", cpu_s * 1000, unit="ms", baseline=base_cpu_s * 1000, goal=1.5)]
    rows += [row("order_cpu_floor", floor_s * 1000, unit="ms", baseline=base_cpu_s * 1000)]
    rows += [row(f"start_to_ready_with_{OPEN_ORDERS}_open_orders", start_s, unit="s", goal=2.0)]
    for part, goal in ((50, 0.6), (99, 2.4)):
        own = max(0.0, percentile(beyond, part) - percentile(syncs, part))
        rows += [
            row(f"order_overhead_p{part}_beyond_venue_and_disk", own, unit="ms", goal=goal),
            row(f"order_overhead_p{part}_beyond_venue", percentile(beyond, part), unit="ms"),
            row(f"disk_fdatasync_p{part}", percentile(syncs, part), unit="ms"),
            row(f"order_duration_p{part}", percentile(whole, part), unit="ms", baseline=percentile(base, part)),
        ]
    return rows


def rows(seconds: float = 10.0) -> list[dict[str, Any]]:
    """The rows of the order path."""
    return uvloop.run(measure(seconds))


if __name__ == "__main__":
    for line in rows(float(sys.argv[1]) if len(sys.argv) > 1 else 10.0):
        print(json.dumps(line))
