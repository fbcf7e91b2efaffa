"""The agent's time: a clock that goes on while the machine sleeps."""

from __future__ import annotations

import asyncio
import random
import time
from datetime import UTC, datetime
from typing import Protocol

TICK_S = 1.0


class Clock(Protocol):
    """Time and chance, as the agent's tasks take them."""

    def boot(self) -> float:
        """Seconds since boot, sleep included (CLOCK_BOOTTIME)."""
        ...

    def wall(self) -> datetime:
        """The date, for people and files; nothing is decided by it."""
        ...

    def chance(self) -> float:
        """A number in [0, 1)."""
        ...

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        """Until the event is set, at most `seconds`."""
        ...


class SystemClock:
    """The machine's own."""

    def boot(self) -> float:
        """See `Clock`."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def wall(self) -> datetime:
        """See `Clock`."""
        return datetime.now(UTC)

    def chance(self) -> float:
        """See `Clock`."""
        return random.random()  # noqa: S311 - spreads load, guards nothing

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        """See `Clock`."""
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            return


async def wait_until(clock: Clock, event: asyncio.Event, due: float) -> None:
    """Until `due` on the boot clock or the event; looks every second.

    Event loops sleep by CLOCK_MONOTONIC, which stands still while the machine is suspended (clock_gettime(2)).
    """
    while not event.is_set() and (left := due - clock.boot()) > 0:
        await clock.wait(event, min(TICK_S, left))
