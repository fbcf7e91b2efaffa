"""Waiting by the boot clock."""

from __future__ import annotations

import asyncio

from sidecar.secrets.clock import wait_until
from tests.unit.sidecar.secrets.fake_clock import FakeClock


async def test_a_wait_ends_at_its_time_though_the_machine_slept_through_it() -> None:
    clock = FakeClock()
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(wait_until(clock, asyncio.Event(), clock.now + 3600.0))
        await clock.settle()
        clock.suspend(3600.0)
        await clock.advance(1.0)
        assert waiting.done()


async def test_an_event_ends_a_wait() -> None:
    clock, event = FakeClock(), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(wait_until(clock, event, clock.now + 3600.0))
        await clock.settle()
        event.set()
        await clock.settle()
        assert waiting.done()
