"""The venue's rate limits, kept on our side: GCRA buckets with an order of precedence.

Limits. The venue allows an address 120 requests and 2 new connections a second, answers more requests with 429 and
rejects more connections (v20, development guide). One `Throttle` stands before each limit.

GCRA (ITU-T I.371). A token bucket keeps two numbers, the tokens and when they were counted. GCRA keeps one, the
theoretical arrival time (TAT): when the next request would come if all of them came exactly at `rate`. A request
conforms while the TAT is at most `(burst - 1) / rate` ahead of now, and moves the TAT on by `1 / rate`:

    TAT <= now                      the bucket is full, `burst` requests may go at once
    TAT == now + (burst - 1)/rate   one more may go
    TAT later                       wait for TAT - now - (burst - 1)/rate

Any window of one second therefore holds at most `rate + burst` requests, whatever came before it. A 429 moves the TAT
so far ahead that nothing conforms before the end of `Retry-After`.

Precedence. Requests that must wait form one heap, ordered by precedence and by arrival within it: cancels reduce risk
and go first, opens next, then the reads that orders are judged by, and last the market data that callers ask for.
Order alone is not enough, for a burst of reads just before a cancel would have emptied the bucket. So market data
leaves half of the burst to all others, reads leave a fifth to orders, and opens leave a tenth to cancels. A request of
low precedence can starve while higher ones keep coming; the caller's own deadline bounds that wait, and with it the
length of the heap.

Admission. A turn without a free connection would be wasted, and would let an open that got the turn first pass a
cancel that came while it waited for the connection. So a throttle with an `admission` grants the turn and the place
together, and `pump` is called again whenever a place comes free.

Everything runs in one event loop: there is no lock, and `try_enter` costs neither a task nor a timer.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from enum import IntEnum
from itertools import count
from typing import Protocol

from msgspec import Struct

from broker.events.venue import ThrottleWait
from producer.emitter import Emit


class Precedence(IntEnum):
    """Order in which waiting requests go: those that reduce risk before those that add it."""

    CANCEL = 0
    OPEN = 1
    READ = 2
    MARKET_DATA = 3


RESERVED_SHARE = (0.0, 0.1, 0.2, 0.5)
"""Share of the burst that each precedence leaves to higher ones."""


class Bucket(Struct, frozen=True):
    """State of one limit; `arrival_s` is GCRA's theoretical arrival time on the caller's clock."""

    rate: float
    burst: float
    arrival_s: float = 0.0

    def wait_s(self, now_s: float, reserve: float = 0.0) -> float:
        """Seconds until a request conforms, leaving `reserve` of the burst to others; 0 is at once."""
        # At least one request of the burst is everybody's: else a burst of 1 would never let a read through.
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
        """Number of requests that could go at once."""
        return max(0.0, min(self.burst, self.burst - (self.arrival_s - now_s) * self.rate))


class Admission(Protocol):
    """Places that a request needs besides its turn."""

    def reserve(self, precedence: int) -> bool:
        """Keep a place for one more request; False where none is free for it."""

    def unreserve(self) -> None:
        """Free the place of a request that left before it came for it."""


class Throttle:
    """Lets requests through one bucket, the highest precedence first, in order within it.

    Waiters are bounded by the callers' own deadlines; one that is cancelled leaves its place.
    """

    def __init__(
        self,
        name: str,
        *,
        rate: float,
        burst: float,
        now_s: Callable[[], float],
        emit: Emit,
        admission: Admission | None = None,
    ) -> None:
        self.name = name
        self._bucket = Bucket(rate, burst)
        self._now_s = now_s
        self._emit = emit
        self._admission = admission
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._ticket = count()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def tokens(self) -> float:
        """Number of requests that could go at once."""
        return self._bucket.tokens(self._now_s())

    @property
    def depth(self) -> int:
        """Number of waiting requests."""
        # One that was cancelled stays in the heap until it reaches the head.
        return sum(not future.done() for _, _, future in self._waiting)

    async def enter(self, precedence: Precedence) -> float:
        """Wait for a turn; returns the seconds that it took.

        Raises Exception: the error that `refuse` was called with.
        """
        if self.try_enter(precedence):
            return 0.0
        now_s = self._now_s()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # The ticket keeps the order of arrival within a precedence, and futures out of the comparison.
        heapq.heappush(self._waiting, (precedence, next(self._ticket), turn))
        self.pump()
        try:
            await turn
        except asyncio.CancelledError:
            # The turn may have been granted in this very iteration of the loop: its place must not leak.
            granted = turn.done() and not turn.cancelled() and turn.exception() is None
            if granted and self._admission is not None:
                self._admission.unreserve()
            raise
        waited_s = self._now_s() - now_s
        self._emit(ThrottleWait(bucket=self.name, wait_s=waited_s))
        return waited_s

    def try_enter(self, precedence: Precedence) -> bool:
        """Take a turn if nobody has to wait for it."""
        now_s = self._now_s()
        if self._waiting or self._wait_s(now_s, precedence) > 0.0 or not self._reserve(precedence):
            return False
        self._bucket = self._bucket.taken(now_s)
        return True

    def _wait_s(self, now_s: float, precedence: int) -> float:
        return self._bucket.wait_s(now_s, self._bucket.burst * RESERVED_SHARE[precedence])

    def _reserve(self, precedence: int) -> bool:
        return self._admission is None or self._admission.reserve(precedence)

    def refuse(self, error: Callable[[], Exception]) -> None:
        """Raise an error in all who wait; each gets one of its own."""
        waiting, self._waiting = self._waiting, []
        for _, _, turn in waiting:
            if not turn.done():
                turn.set_exception(error())

    def obey(self, seconds: float) -> None:
        """Let nothing through for `seconds`: the venue answered 429."""
        self._bucket = self._bucket.closed_until(self._now_s() + seconds)
        self.pump()

    def open(self) -> None:
        """Fill the bucket again: the venue's refusal is over."""
        self._bucket = Bucket(self._bucket.rate, self._bucket.burst)
        self.pump()

    def pump(self) -> None:
        """Let through whoever can go now; also called when the admission has a place again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting:
            precedence, _, turn = self._waiting[0]
            if turn.done():
                heapq.heappop(self._waiting)
                continue
            now_s = self._now_s()
            wait_s = self._wait_s(now_s, precedence)
            if wait_s > 0.0:
                self._timer = asyncio.get_running_loop().call_later(wait_s, self.pump)
                return
            # Only the head is asked: letting a lower precedence pass because a place suits it would invert the order.
            if not self._reserve(precedence):
                return
            heapq.heappop(self._waiting)
            self._bucket = self._bucket.taken(now_s)
            turn.set_result(None)
