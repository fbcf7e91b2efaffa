"""The simulated venue: its market, accounts, tokens and clock, and the one place where time passes."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal

from broker.simulator.account import AccountBook, Transaction
from broker.simulator.clock import NANOS
from broker.simulator.faults import Faults
from broker.simulator.market import Market, Price
from broker.simulator.matching import Matching


@dataclass(slots=True, kw_only=True)
class Options:
    """How a simulator is set up."""

    seed: int = 1
    tokens: frozenset[str] = frozenset({"simulator-token"})
    accounts: tuple[str, ...] = ("101-004-1234567-001",)
    balance: Decimal = Decimal(100_000)
    ticks_per_s: float = 4.0
    """The venue conflates prices to four a second for each instrument."""
    speed: float = 1.0
    """Seconds of the venue's clock that pass in one of ours."""
    heartbeat_s: float = 5.0
    requests_per_s: float = 120.0
    """More are answered 429; the venue counts by IP. 0 counts nothing."""
    latency_s: float = 0.0
    """How long an answer takes at least."""


class SimulatedClock:
    """Unix nanoseconds that can run faster than ours and be moved."""

    def __init__(self, speed: float, source: Callable[[], int] = time.time_ns) -> None:
        self._source = source
        self._anchor = self._shown = source()
        self._speed = speed

    def now_ns(self) -> int:
        """The venue's time."""
        return self._shown + int((self._source() - self._anchor) * self._speed)

    def move(self, seconds: float = 0.0, speed: float | None = None) -> None:
        """Jumps, and sets the speed from here on."""
        self._shown = self.now_ns() + int(seconds * NANOS)
        self._anchor = self._source()
        self._speed = self._speed if speed is None else speed


@dataclass(slots=True)
class Subscription:
    """What waits for one stream; a reader that is too slow loses the oldest prices, never transactions."""

    account: str
    kind: str
    instruments: frozenset[str] = frozenset()
    lines: asyncio.Queue[Price | Transaction] = field(default_factory=lambda: asyncio.Queue(maxsize=10_000))

    def offer(self, item: Price | Transaction) -> None:
        """Queues an item without waiting."""
        if self.lines.full():
            self.lines.get_nowait()
        self.lines.put_nowait(item)


class Venue:
    """Everything that a server shows. One event loop only."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.clock = SimulatedClock(options.speed)
        self.market = Market(options.seed, self.clock.now_ns())
        self.tokens = set(options.tokens)
        self.faults = Faults(random.Random(options.seed))
        self.accounts = {name: AccountBook(name, options.balance) for name in options.accounts}
        self.subscriptions: list[Subscription] = []
        self._request_ids = itertools.count(42_000_000)
        self._published = dict.fromkeys(self.accounts, 0)

    def request_id(self) -> str:
        """A new one for each request."""
        return str(next(self._request_ids))

    def matching(self, account: AccountBook, request_id: str) -> Matching:
        """The rules at this moment."""
        return Matching(account, self.market.prices, self.clock.now_ns(), request_id)

    def step(self) -> None:
        """Moves the prices once and lets what they trigger happen."""
        changed = self.market.step(self.clock.now_ns())
        self.apply(changed)

    def apply(self, changed: Iterable[Price]) -> None:
        """Shows changed prices to the streams and to resting orders."""
        for account in self.accounts.values():
            self.matching(account, "0").tick()
        for price in changed:
            for subscription in self.subscriptions:
                if subscription.kind == "pricing" and price.instrument in subscription.instruments:
                    subscription.offer(price)
        self.publish()

    def publish(self) -> None:
        """Hands new transactions to the transaction streams."""
        for name, account in self.accounts.items():
            new: list[Transaction] = account.log[self._published[name] :]
            self._published[name] = len(account.log)
            for subscription in self.subscriptions:
                if subscription.kind == "transactions" and subscription.account == name:
                    for entry in new:
                        subscription.offer(entry)

    async def run(self) -> None:
        """Moves the market until it is cancelled."""
        while True:
            await asyncio.sleep(1 / self.options.ticks_per_s)
            self.step()
