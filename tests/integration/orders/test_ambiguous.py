"""Answers that are lost, late, wrong or lies: every order accounted for, once.

AMBIGUOUS (default 60) is the number of orders and SEED the seed of their faults; both are printed.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from broker.domain import Order, OrderRequest, OrderStatus, OrderType, Side
from broker.order_wiring import build_order_service
from broker.orders.settings import OrderSettings
from broker.simulator.faults import FaultRule
from broker.simulator.http.server import Simulator
from broker.venue.settings import VenueSettings
from pod_runtime.secret import Secret
from tests.integration.orders.test_kills import fills_by_order, transactions
from tests.integration.orders.trader import ACCOUNT, TOKEN
from tests.venue_client import open_rest

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    # aiohttp leaves the socket of a connection that the venue cut off to the garbage collector.
    pytest.mark.filterwarnings("ignore:.*unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """Garbage goes where these warnings are ignored, and not in the next test."""
    yield
    gc.collect()


COUNT = int(os.environ.get("AMBIGUOUS", "60"))
SEED = int(os.environ.get("SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
APPLIED = ("hang", "reset_after", "half_body", "error_after")
NOT_APPLIED = ("reset_before", "error_before", "html", "rate_limited")
LATE_S = 1.2
"""How late an answer comes that comes after our deadline, with the order applied all the same."""


def order(number: int) -> OrderRequest:
    return OrderRequest(
        client_order_id=str(number),
        client="sweep",
        account=ACCOUNT,
        instrument="EUR_USD",
        type=OrderType.MARKET,
        side=Side.BUY if number % 2 else Side.SELL,
        units=Decimal(100),
    )


async def wait(is_so: Any, deadline_s: float) -> None:
    async with asyncio.timeout(deadline_s):
        while not is_so():
            await asyncio.sleep(0.02)


async def test_ambiguous_answers_double_nothing_and_lose_nothing(tmp_path: Path) -> None:
    print(f"AMBIGUOUS={COUNT} SEED={SEED}")
    chance = random.Random(SEED)
    secret, events = Secret(TOKEN), list[Any]()
    placed: dict[str, tuple[str, Order]] = {}
    async with Simulator(seed=SEED, tokens=frozenset({TOKEN}), requests_per_s=0) as simulator:
        settings = VenueSettings(
            account=ACCOUNT,
            rest_url=simulator.rest_url,
            stream_url=simulator.stream_url,
            request_deadline_s=0.6,
            connections_per_s=100,
            reconnect_s=0.01,
            instruments=("EUR_USD",),
        )
        orders = OrderSettings(
            directory=tmp_path, absence_horizon_s=2.0, answer_wait_s=4.0, circuit_failures=10**6, reconcile_s=1000
        )
        async with open_rest(settings, lambda: secret, emit=events.append) as rest:
            service = build_order_service(orders, rest)
            stop = asyncio.Event()
            running = asyncio.create_task(service.run(stop))
            await wait(lambda: all(item.ok or item.advisory for item in service.conditions()), 10)
            rules = simulator.venue.faults.rules

            async def act(number: int) -> None:
                placed[str(number)] = (kinds[number], (await service.place(order(number))).order)

            kinds = [chance.choice(APPLIED + NOT_APPLIED + ("delay",)) for _ in range(COUNT)]
            for start in range(0, COUNT, 6):
                for number in range(start, min(start + 6, COUNT)):
                    rules.append(FaultRule(kind=kinds[number], method="POST", path="/orders", seconds=LATE_S))
                if chance.random() < 0.5:
                    rules.append(FaultRule(kind="lag", path="/transactions/sinceid", seconds=0.5, count=3))
                if chance.random() < 0.3:
                    rules.append(FaultRule(kind="stream_cut", path="/transactions/stream"))
                async with asyncio.TaskGroup() as group:
                    for number in range(start, min(start + 6, COUNT)):
                        group.create_task(act(number))
                rules.clear()
            await asyncio.sleep(LATE_S)
            await wait(lambda: not any(item.status is OrderStatus.UNKNOWN for item in service.open_orders()), 30)
            mismatches = await service.reconcile()
            final = {name: service.by_client_id("sweep", name) for name in placed}
            stop.set()
            await running
        log = await transactions(simulator)

    fills = fills_by_order(log)
    assert len(placed) == COUNT
    assert {name: number for name, number in fills.items() if number > 1} == {}
    statuses = {held.id: held.status for held in final.values() if held is not None}
    assert {name for name, status in statuses.items() if status is OrderStatus.FILLED} == set(fills)
    denied = {held.reason for held in final.values() if held is not None and held.status is OrderStatus.DENIED}
    assert denied <= {"VENUE_UNREACHABLE"}  # no connection in time, on a busy machine: certainly not sent
    ended = {OrderStatus.FILLED, OrderStatus.REJECTED, OrderStatus.PRESUMED_ABSENT, OrderStatus.DENIED}
    assert set(statuses.values()) <= ended
    assert list(mismatches) == []
    posts = [event for event in events if type(event).__name__ == "ApiRequest" and event.operation == "create_order"]
    assert len(posts) <= COUNT
