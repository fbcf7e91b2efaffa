from __future__ import annotations

import asyncio

import pytest

from broker.api.in_flight import InFlight


async def test_result_and_error_reach_the_caller() -> None:
    async def answer() -> int:
        return 7

    async def fail() -> int:
        raise KeyError("order")

    async with InFlight() as in_flight:
        assert await in_flight.run(answer()) == 7
        with pytest.raises(KeyError, match="order"):
            await in_flight.run(fail())
        assert await in_flight.run(answer()) == 7
        assert len(in_flight) == 0


async def test_write_goes_on_when_its_caller_leaves() -> None:
    release, done = asyncio.Event(), []

    async def write() -> None:
        await release.wait()
        done.append("written")

    async with InFlight() as in_flight:
        caller = asyncio.create_task(in_flight.run(write()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        assert not await in_flight.wait_idle(0)
        release.set()
        assert await in_flight.wait_idle(5)
    assert done == ["written"]


async def test_error_after_the_caller_left_harms_nobody() -> None:
    release = asyncio.Event()

    async def write() -> None:
        await release.wait()
        raise ValueError

    async with InFlight() as in_flight:
        caller = asyncio.create_task(in_flight.run(write()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        caller.cancel()
        release.set()
        assert await in_flight.wait_idle(5)
        assert await in_flight.run(_three()) == 3


async def _three() -> int:
    return 3


async def test_leaving_waits_for_what_is_under_way() -> None:
    done = []

    async def write() -> None:
        for _ in range(3):
            await asyncio.sleep(0)
        done.append("written")

    async with InFlight() as in_flight:
        caller = asyncio.create_task(in_flight.run(write()))
        await asyncio.sleep(0)
    assert done == ["written"]
    await caller


async def test_write_that_waits_for_what_never_comes_does_not_hold_up_the_end() -> None:
    async with InFlight(end_s=0.01) as in_flight:
        caller = asyncio.create_task(in_flight.run(asyncio.Event().wait()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await caller
