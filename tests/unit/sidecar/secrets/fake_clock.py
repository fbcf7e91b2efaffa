"""Time that a test moves."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
from datetime import UTC, datetime, timedelta

from sidecar.secrets.clock import Clock


class FakeClock(Clock):
    """See `sidecar.secrets.clock.Clock`; `advance` lets time pass, `suspend` lets it pass while all sleeps."""

    def __init__(self, seed: int = 1) -> None:
        self.now = 1000.0
        self.wall_offset = timedelta(0)
        self._random = random.Random(seed)
        self._order = itertools.count()
        self._timers: list[tuple[float, int, asyncio.Future[None]]] = []

    def boot(self) -> float:
        return self.now

    def wall(self) -> datetime:
        return datetime(2026, 11, 2, 12, 0, tzinfo=UTC) + timedelta(seconds=self.now - 1000.0) + self.wall_offset

    def chance(self) -> float:
        return self._random.random()

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        if event.is_set() or seconds <= 0:
            await asyncio.sleep(0)
            return
        timer = asyncio.get_running_loop().create_future()
        heapq.heappush(self._timers, (self.now + seconds, next(self._order), timer))
        waiter = asyncio.ensure_future(event.wait())
        try:
            await asyncio.wait({timer, waiter}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiter.cancel()
            timer.cancel()

    async def settle(self) -> None:
        """Lets everything happen that needs no time."""
        for _ in range(16):
            await asyncio.sleep(0)

    async def advance(self, seconds: float) -> None:
        """Lets time pass, waking what waits, in order."""
        end = self.now + seconds
        await self.settle()
        while (due := self._next()) is not None and due <= end:
            self.now = max(self.now, due)
            self._fire()
            await self.settle()
        self.now = end

    def suspend(self, seconds: float) -> None:
        """The boot clock goes on; timers, which go by the monotonic clock, stand still meanwhile."""
        self.now += seconds
        self._timers = [(due + seconds, order, timer) for due, order, timer in self._timers]
        heapq.heapify(self._timers)

    def _next(self) -> float | None:
        while self._timers and self._timers[0][2].done():
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def _fire(self) -> None:
        while self._timers and self._timers[0][0] <= self.now:
            _, _, timer = heapq.heappop(self._timers)
            if not timer.done():
                timer.set_result(None)
