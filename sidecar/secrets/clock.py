"""Clock of the agent: boot time, which goes on while the machine is suspended, as Vault's leases do."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from datetime import UTC, datetime

from pod_runtime.cancellation import check_cancelled

TICK_S = 1.0


class Clock:
    """The machine's time and chance; a test's fake overrides every method."""

    def boot(self) -> float:
        """Seconds since boot, suspended time included (CLOCK_BOOTTIME)."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def wall(self) -> datetime:
        """Wall-clock time, for people and files; the agent decides nothing by it, for it can be set."""
        return datetime.now(UTC)

    def chance(self) -> float:
        """Random number in [0, 1)."""
        return random.random()  # noqa: S311 - spreads load, guards nothing

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        """Wait until the event is set, at most `seconds`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await event.wait()
        check_cancelled()  # here, for all loops of the agent that try again


async def wait_until(clock: Clock, event: asyncio.Event, due: float) -> None:
    """Wait until `due` on the boot clock, or the event."""
    # Event loops sleep by CLOCK_MONOTONIC, which stands still while the machine is suspended (clock_gettime(2)).
    # Short waits bound the delay after which a lease that ran out meanwhile is noticed.
    while not event.is_set() and (left := due - clock.boot()) > 0:
        await clock.wait(event, min(TICK_S, left))
