"""A cancellation, a lost lease and a drain at any await of the order path, while the loop stands beyond all deadlines.

`INTERRUPTIONS` is the number of awaits that each test tries; 0 tries them all.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from broker.order_wiring import build_order_service
from broker.orders.service import OrderService
from broker.orders.settings import OrderSettings
from broker.venue.rest.client import VenueRest
from broker.venue.settings import VenueSettings
from pod_runtime.secret import Secret
from tests.unit.broker.orders.fake_venue import ACCOUNT, FakeVenue, serving
from tests.unit.broker.orders.order_service_fixture import blocked, wait_until
from tests.unit.interruption import LOOPS, TURNS, Interruption, ends
from tests.venue_client import new_rest

NewLoop = Callable[[], asyncio.AbstractEventLoop]
STEPS = 64
"""Awaits of the product from its start to a trading account and its first heartbeats."""
DEADLINE_S = 0.2
PROMPT_S = 20.0
"""Less than the product's own bound; a cancellation that is lost once costs a second of it."""
TRIED = int(os.environ.get("INTERRUPTIONS", "2"))
SEED = int(os.environ.get("SEED", "20"))


def places(turns: int) -> list[int]:
    """Awaits to try: every so many-th, others for each test."""
    every = STEPS // TRIED if TRIED else 1
    return list(range(1 + (SEED + 5 * turns) % every, STEPS, every))


@dataclass(slots=True)
class Trial:
    """A service on a venue of its own, in a task that can be cancelled."""

    service: OrderService
    rest: VenueRest
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        async with self.rest.connections:
            await self.service.run(self.stop)


@asynccontextmanager
async def trial(directory: Path) -> AsyncIterator[Trial]:
    async with serving(FakeVenue()) as venue:
        settings = VenueSettings(
            account=ACCOUNT,
            rest_url=venue.url,
            stream_url=venue.url,
            request_deadline_s=DEADLINE_S,
            heartbeat_deadline_s=DEADLINE_S,
            connections_per_s=100,
            reconnect_s=0.01,
            healthy_after_s=0.0,
        )
        rest = new_rest(settings, lambda: Secret(venue.token), chance=random.Random(SEED).random)
        orders = OrderSettings(directory=directory, sample_s=0.1, drain_s=0.1, lease_s=3)
        yield Trial(build_order_service(orders, rest), rest)


async def interrupted(directory: Path, at: int, turns: int, act: Callable[[Trial, asyncio.Task[None]], object]) -> str:
    """Runs a service, and acts at an await; what is wrong with the end of it."""
    async with trial(directory) as made:
        interruption = Interruption(at=at, turns=turns, block_s=1.5 * DEADLINE_S, act=lambda: act(made, task))
        interruption.install()
        task = asyncio.create_task(made.run())
        await wait_until(lambda: interruption.is_over)
        if await ends(task, PROMPT_S):
            return ""
        task.cancel()
        return f"await {at} at {interruption.place}"


def sweep(directory: Path, new_loop: NewLoop, turns: int, act: Callable[[Trial, asyncio.Task[None]], object]) -> None:
    for at in places(turns):
        with asyncio.Runner(loop_factory=new_loop) as runner:
            assert runner.run(interrupted(directory / str(at), at, turns, act)) == ""


@LOOPS
@TURNS
def test_cancellation_ends_the_order_path_wherever_it_is(tmp_path: Path, new_loop: NewLoop, turns: int) -> None:
    sweep(tmp_path, new_loop, turns, lambda _, task: task.cancel())


@LOOPS
@TURNS
def test_drain_ends_the_order_path_wherever_it_is(tmp_path: Path, new_loop: NewLoop, turns: int) -> None:
    sweep(tmp_path, new_loop, turns, lambda made, _: made.stop.set())


@LOOPS
@TURNS
def test_cancellation_in_a_drain_ends_it(tmp_path: Path, new_loop: NewLoop, turns: int) -> None:
    def act(made: Trial, task: asyncio.Task[None]) -> None:
        made.stop.set()
        asyncio.get_running_loop().call_later(0.01, task.cancel)

    sweep(tmp_path, new_loop, turns, act)


@LOOPS
@TURNS
def test_account_that_is_lost_anywhere_is_taken_again(tmp_path: Path, new_loop: NewLoop, turns: int) -> None:
    for at in places(turns):
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(_lost_and_taken_again(tmp_path / str(at), at, turns))


async def _lost_and_taken_again(directory: Path, at: int, turns: int) -> None:
    async with trial(directory) as made:
        lease = made.service.leadership.lease
        epochs = [0]

        def lose() -> None:
            epochs.append(lease.epoch)
            # A rival's file that nobody renews.
            (directory / "ownership" / ACCOUNT / f"lease.{max(1, lease.epoch) + 1}").write_text("{}")

        interruption = Interruption(at=at, turns=turns, block_s=1.5 * DEADLINE_S, act=lose)
        interruption.install()
        task = asyncio.create_task(made.run())
        await wait_until(lambda: interruption.is_over)
        await wait_until(lambda: lease.epoch > epochs[-1] + 1 and not blocked(made.service))
        assert made.service.leadership.has_place()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_term_that_does_not_end_leaves_the_broker_without_a_place(tmp_path: Path) -> None:
    async with trial(tmp_path) as made:
        leadership, deaf = made.service.leadership, asyncio.Event()
        task = asyncio.create_task(made.run())
        await wait_until(lambda: not blocked(made.service))
        assert leadership.has_place()
        engine = leadership.engine
        assert engine is not None
        journal_close = engine.store.journal.close

        async def hang() -> None:
            await deaf.wait()
            await journal_close()

        engine.store.journal.close = hang  # type: ignore[method-assign] # a disk that does not answer
        (tmp_path / "ownership" / ACCOUNT / "lease.2").write_text("{}")
        await wait_until(lambda: not leadership.held.is_set())
        await made.service.leadership.lease.release()
        assert not leadership.has_place()
        deaf.set()
        await wait_until(leadership.has_place)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
