"""The venue's rate limits, kept on our side: GCRA buckets, and an order of precedence.

GCRA (ITU-T I.371, as used for rate limits since): one instant per bucket, the theoretical arrival time,
says when the next request conforms. `rate` is sustained, `burst` may go at once, so that any window of one
second sees at most `rate + burst`.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from enum import IntEnum
from itertools import count
from typing import Any, Protocol

from msgspec import Struct

from broker.events.venue import ThrottleWait


class Precedence(IntEnum):
    """Who goes first when requests must wait: what reduces risk before what adds it."""

    CANCEL = 0
    OPEN = 1
    READ = 2


class Bucket(Struct, frozen=True):
    """The state of one limit; `arrival_s` is GCRA's theoretical arrival time on the caller's clock."""

    rate: float
    burst: float
    arrival_s: float = 0.0

    def wait_s(self, now_s: float, reserve: float = 0.0) -> float:
        """Seconds until a request conforms, leaving `reserve` of the burst to others; 0 is at once."""
        allowance = max(self.burst - reserve, 1.0) - 1.0
        return max(0.0, self.arrival_s - now_s - allowance / self.rate)

    def taken(self, now_s: float) -> Bucket:
        """The bucket after one request at `now_s`."""
        return Bucket(self.rate, self.burst, max(self.arrival_s, now_s) + 1.0 / self.rate)

    def given_back(self) -> Bucket:
        """The bucket as if one request had not been taken."""
        return Bucket(self.rate, self.burst, self.arrival_s - 1.0 / self.rate)

    def closed_until(self, at_s: float) -> Bucket:
        """The bucket after the venue said to stop: nothing conforms before `at_s`."""
        return Bucket(self.rate, self.burst, max(self.arrival_s, at_s + (self.burst - 1.0) / self.rate))

    def tokens(self, now_s: float) -> float:
        """How many requests could go at once."""
        return max(0.0, min(self.burst, self.burst - (self.arrival_s - now_s) * self.rate))


class Gate(Protocol):
    """What else a request needs besides its turn."""

    def admit(self) -> bool:
        """Whether one more can go now; if so its place is kept."""

    def retreat(self) -> None:
        """The one that was admitted does not come."""


class Throttle:
    """Lets requests through one bucket, the highest precedence first, in order within it.

    Waiters are bounded by the callers' own deadlines; one that is cancelled leaves its place. Reads leave a
    fifth of the burst to orders, and opens a tenth to cancels. With a `gate` a turn and a place behind it are given
    together, so that precedence holds for both.
    """

    def __init__(
        self,
        name: str,
        *,
        rate: float,
        burst: float,
        now_s: Callable[[], float],
        emit: Callable[[tuple[Any, ...]], None],
    ) -> None:
        self.name = name
        self._bucket = Bucket(rate, burst)
        self._now_s = now_s
        self._emit = emit
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._ticket = count()
        self.gate: Gate | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def tokens(self) -> float:
        """How many requests could go at once."""
        return self._bucket.tokens(self._now_s())

    @property
    def depth(self) -> int:
        """How many wait."""
        return sum(not future.done() for _, _, future in self._waiting)

    async def enter(self, precedence: Precedence) -> float:
        """Waits for a turn; how long that took in seconds.

        Raises:
            Exception: what `refuse` says.
        """
        if self.try_enter(precedence):
            return 0.0
        now_s = self._now_s()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (precedence, next(self._ticket), turn))
        self.pump()
        await self._await(turn)
        waited_s = self._now_s() - now_s
        self._emit(ThrottleWait(bucket=self.name, wait_s=waited_s))
        return waited_s

    def try_enter(self, precedence: Precedence) -> bool:
        """Takes a turn where it need not be waited for."""
        now_s = self._now_s()
        if self._waiting or self._bucket.wait_s(now_s, self._reserve(precedence)) > 0.0 or not self._admits():
            return False
        self._bucket = self._bucket.taken(now_s)
        return True

    async def _await(self, turn: asyncio.Future[None]) -> None:
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None and self.gate is not None:
                self.gate.retreat()
            raise

    def _admits(self) -> bool:
        return self.gate is None or self.gate.admit()

    def refuse(self, error: Callable[[], Exception]) -> None:
        """Nobody can go: all who wait get an error."""
        waiting, self._waiting = self._waiting, []
        for _, _, turn in waiting:
            if not turn.done():
                turn.set_exception(error())

    def obey(self, seconds: float) -> None:
        """The venue answered 429: nothing goes for `seconds`."""
        self._bucket = self._bucket.closed_until(self._now_s() + seconds)
        self.pump()

    def open(self) -> None:
        """The venue's refusal is over: the bucket is full again."""
        self._bucket = Bucket(self._bucket.rate, self._bucket.burst)
        self.pump()

    def _reserve(self, precedence: Precedence) -> float:
        return self._bucket.burst * (0.0, 0.1, 0.2)[precedence]

    def pump(self) -> None:
        """Lets through who can go now; to be called when the gate has a place again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting:
            precedence, _, turn = self._waiting[0]
            if turn.done():
                heapq.heappop(self._waiting)
                continue
            now_s = self._now_s()
            wait_s = self._bucket.wait_s(now_s, self._reserve(Precedence(precedence)))
            if wait_s > 0.0:
                self._timer = asyncio.get_running_loop().call_later(wait_s, self.pump)
                return
            if not self._admits():
                return
            heapq.heappop(self._waiting)
            self._bucket = self._bucket.taken(now_s)
            turn.set_result(None)
