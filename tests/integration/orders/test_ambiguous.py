"""Answers that are lost, late, wrong or lies: every write of every kind accounted for, once, as the venue's log has it.

AMBIGUOUS (default 60) is the number of writes and SEED the seed of their faults; both are printed. Every kind of write
meets every kind of fault in turn; the default is a part of these pairs that the seed picks.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from decimal import Decimal
from itertools import count, islice, product
from pathlib import Path
from typing import Any

import pytest

from broker.domain import OrderStatus
from broker.order_wiring import build_order_service
from broker.orders.errors import NotReadyError
from broker.orders.mass_actions import MassResult, OrderFilter
from broker.orders.model.lifecycle import OrderAction
from broker.orders.service import OrderService
from broker.orders.settings import OrderSettings
from broker.simulator.faults import REQUEST_KINDS, FaultRule
from broker.simulator.http.server import Simulator
from broker.venue.errors import VenueError
from broker.venue.settings import VenueSettings
from pod_runtime.secret import Secret
from tests.integration.orders.test_kills import transactions
from tests.integration.orders.trader import TOKEN
from tests.integration.orders.writes import ACCOUNT, CLIENT, WRITES, VenueTruth, Write, prepared
from tests.venue_client import open_rest

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    # aiohttp leaves the socket of a connection that the venue cut off to the garbage collector.
    pytest.mark.filterwarnings("ignore:.*unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
COUNT = int(os.environ.get("AMBIGUOUS", "60"))
SEED = int(os.environ.get("SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
AT_ONCE = 6
LATE_S = 1.2
"""Delay of an answer that comes after our deadline, with the write applied all the same."""
FAULTS = tuple(sorted(REQUEST_KINDS - {"lag"}))
ALL_PAIRS = len(FAULTS) * len(WRITES) <= COUNT
MASS_FAULTS = sorted(set(FAULTS) - {"delay", "unknown_value"}) if ALL_PAIRS else ["error_before", "hang", "reset_after"]
"""All of them in the soak."""
OPERATIONS = {"create_order", "replace_order", "close_position", "close_trade", "change_trade_orders"}


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """Garbage goes where these warnings are ignored, and not in the next test."""
    yield
    gc.collect()


async def wait(is_so: Any, deadline_s: float) -> None:
    async with asyncio.timeout(deadline_s):
        while not is_so():
            await asyncio.sleep(0.02)


def pairs(chance: random.Random) -> list[tuple[str, str]]:
    """Kinds of writes and of faults: all pairs in an order of their own, again and again, COUNT in all."""

    def rounds() -> Iterator[tuple[str, str]]:
        while True:
            every = list(product(WRITES, FAULTS))
            chance.shuffle(every)
            yield from every

    return list(islice(rounds(), COUNT))


@asynccontextmanager
async def running(simulator: Simulator, directory: Path, events: list[Any]) -> AsyncIterator[OrderService]:
    secret = Secret(TOKEN)
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
        directory=directory,
        absence_horizon_s=2.0,
        answer_wait_s=4.0,
        circuit_failures=10**6,
        reconcile_s=1000,
        price_collar_ratio=Decimal("0.5"),
    )
    async with open_rest(settings, lambda: secret, emit=events.append) as rest:
        service = build_order_service(orders, rest)
        stop = asyncio.Event()
        task = asyncio.create_task(service.run(stop))
        try:
            await wait(lambda: all(item.ok or item.advisory for item in service.conditions()), 60)
            yield service
        finally:
            stop.set()
            await task


def settled(service: OrderService) -> bool:
    return not any(item.status in {OrderStatus.SUBMITTED, OrderStatus.UNKNOWN} for item in service.open_orders())


async def send(service: OrderService, write: Write) -> None:
    try:
        await write.send(service)
    # A cancel that nobody answered, or a token that the venue does not know just now: the caller may ask again.
    except (VenueError, NotReadyError):
        return


async def test_every_write_meets_every_fault_and_the_books_are_the_venues(tmp_path: Path) -> None:
    print(f"AMBIGUOUS={COUNT} SEED={SEED}")
    chance, events = random.Random(SEED), list[Any]()
    asked = Counter[str]()
    async with (
        Simulator(seed=SEED, tokens=frozenset({TOKEN}), requests_per_s=0) as simulator,
        running(simulator, tmp_path, events) as service,
    ):
        rules = simulator.venue.faults.rules
        # The oldest trade, at which the closes of the position take their units.
        await Write(kind="market", number=90_000, path="/orders").send(service)
        todo = list(enumerate(pairs(chance)))
        for start in range(0, len(todo), AT_ONCE):
            batch = [(await prepared(service, kind, number), fault) for number, (kind, fault) in todo[start:][:AT_ONCE]]
            for write, fault in batch:
                rules.append(FaultRule(kind=fault, method=write.method, path=write.path, seconds=LATE_S))
            if chance.random() < 0.5:
                rules.append(FaultRule(kind="lag", path="/transactions/sinceid", seconds=0.5, count=3))
            if chance.random() < 0.3:
                rules.append(FaultRule(kind="stream_cut", path="/transactions/stream"))
            async with asyncio.TaskGroup() as group:
                for write, _ in batch:
                    group.create_task(send(service, write))
            rules.clear()
            asked.update(write.name for write, _ in batch)
        await asyncio.sleep(LATE_S)
        await wait(lambda: settled(service), 60)
        mismatches = await service.reconcile()
        engine = service.leadership.engine
        assert engine is not None
        records, held = list(engine.store.index), dict(engine.store.positions)
        (position,) = await service.positions()
        log = await transactions(simulator)

    truth = VenueTruth(log)
    assert set(asked.values()) == {1}
    assert truth.differences(records) == []
    assert held == {"EUR_USD": position.units} == dict(truth.positions)
    assert list(mismatches) == []
    sent = Counter(item.operation for item in events if type(item).__name__ == "ApiRequest")
    assert sum(sent[name] for name in OPERATIONS) <= sum(record.action is not OrderAction.ADOPTED for record in records)


@pytest.mark.parametrize("by", ["cancel and close all", "kill switch"])
@pytest.mark.parametrize("fault", MASS_FAULTS)
async def test_mass_actions_end_with_nothing_left_whatever_answers_are_lost(
    tmp_path: Path, fault: str, by: str
) -> None:
    async with (
        Simulator(seed=SEED, tokens=frozenset({TOKEN}), requests_per_s=0) as simulator,
        running(simulator, tmp_path, []) as service,
    ):
        for number, kind in enumerate(("market", "limit", "stop", "attached")):
            await Write(kind=kind, number=number, path="/orders").send(service)
        rules = simulator.venue.faults.rules
        rules.append(FaultRule(kind=fault, method="PUT", path="/cancel"))
        rules.append(FaultRule(kind=fault, method="PUT", path="/close"))

        async def until_complete(act: Callable[[str], Awaitable[MassResult]]) -> None:
            for attempt in count():
                with suppress(VenueError, NotReadyError):
                    if (await act(f"attempt-{attempt}")).complete:
                        return
                # Under the next key only when this one is accounted for: a close that is presumed absent stays so.
                await wait(lambda: settled(service), 60)

        actions = service.mass_actions
        if by == "kill switch":
            await until_complete(lambda key: actions.kill(CLIENT, f"kill-{key}", "sweep"))
        else:
            await until_complete(lambda key: actions.cancel_all(CLIENT, f"cancel-{key}", OrderFilter(keep_exits=True)))
            await until_complete(lambda key: actions.close_all(CLIENT, f"close-{key}", None, None))
        await wait(lambda: settled(service), 60)
        mismatches = await service.reconcile()
        positions = await service.positions()
        engine = service.leadership.engine
        assert engine is not None
        records = list(engine.store.index)
        log = await transactions(simulator)

    assert [item for item in positions if item.units] == []
    assert [record.id for record in records if record.status is OrderStatus.PENDING] == []
    assert VenueTruth(log).differences(records) == []
    assert list(mismatches) == []
