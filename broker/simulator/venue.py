"""The simulated venue: its market, accounts, tokens and clock, and the one place where time passes."""

from __future__ import annotations

import asyncio
import itertools
import random
from bisect import bisect_right
from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from decimal import Decimal

from broker.simulator.account.book import AccountBook, TransactionPayload
from broker.simulator.account.matching import Matching
from broker.simulator.clock import NANOS, SimulatedClock
from broker.simulator.faults import FaultRules
from broker.simulator.market.hours import trading_day
from broker.simulator.market.instruments import LISTINGS
from broker.simulator.market.market import Price, Scenario, SimulatedMarket

WAITING_TRANSACTIONS = 10_000
REQUESTS_KEPT = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Settings of a simulator."""

    seed: int = 1
    tokens: Collection[str] = ("simulator-token",)
    accounts: tuple[str, ...] = ("101-004-1234567-001",)
    instruments: tuple[str, ...] = tuple(LISTINGS)
    balance: Decimal = Decimal(100_000)
    scenario: Scenario = Scenario.CALM
    ticks_per_s: float = 4.0
    """Price steps a second: the venue conflates to four for each instrument. 0 moves nothing by itself."""
    speed: float = 1.0
    """Seconds of the venue's clock that pass in one of ours."""
    heartbeat_s: float = 5.0
    requests_per_s: float = 0.0
    """More are answered 429; the venue allows 120. 0 counts nothing."""
    connections_per_s: float = 0.0
    """More new connections are cut; the venue allows 2. 0 counts nothing."""
    latency_s: float = 0.0
    """Least time that an answer takes."""


@dataclass(slots=True)
class Subscription:
    """Queue of one stream: the latest price of each instrument, every transaction.

    A reader that is too slow misses prices, as at the venue; one that has 10,000 transactions waiting is cut off.
    """

    account: str
    kind: str
    instruments: frozenset[str] = frozenset()
    prices: dict[str, Price] = field(default_factory=dict)
    entries: deque[TransactionPayload] = field(default_factory=deque)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    ended: bool = False

    def offer_prices(self, changed: Iterable[Price]) -> None:
        """Keep the latest price of each instrument."""
        wanted = [price for price in changed if price.instrument in self.instruments]
        if wanted:
            # A newer price replaces one that still waits: a slow reader gets the latest, as at the venue.
            self.prices.update((price.instrument, price) for price in wanted)
            self.wake.set()

    def offer_entries(self, new: Iterable[TransactionPayload]) -> None:
        """Queue transactions."""
        self.entries.extend(new)
        if len(self.entries) > WAITING_TRANSACTIONS:
            self.end()
        self.wake.set()

    def end(self) -> None:
        """Close the stream."""
        self.ended = True
        self.wake.set()

    def take(self) -> tuple[list[Price], list[TransactionPayload]]:
        """Empty the queue."""
        found = list(self.prices.values()), list(self.entries)
        self.prices.clear()
        self.entries.clear()
        self.wake.clear()
        return found


@dataclass(frozen=True, slots=True)
class SeenRequest:
    """One request that came: for tests that count them."""

    time_ns: int
    method: str
    path: str
    status: int
    fault: str | None


class SimulatedVenue:
    """State that a server shows. One event loop only."""

    def __init__(self, options: Options, clock: SimulatedClock) -> None:
        self.options = options
        self.clock = clock
        now_ns = clock.now_ns()
        self.market = SimulatedMarket(options.seed, now_ns, options.instruments)
        # After the first prices: they are quoted calm, and the first step shows the scenario.
        self.market.scenario = options.scenario
        self.tokens = set(options.tokens)
        self.faults = FaultRules(random.Random(options.seed), lambda: (clock.now_ns() - now_ns) / NANOS)
        prices = self.market.prices
        self.accounts = {name: AccountBook(name, options.balance, now_ns, prices) for name in options.accounts}
        self.subscriptions: list[Subscription] = []
        self.requests: deque[SeenRequest] = deque(maxlen=REQUESTS_KEPT)
        self.connections = 0
        """Number of connections that were opened."""
        # Far from the ids of transactions: a test that takes one for the other fails.
        self._request_ids = itertools.count(42_000_000)
        self._published = {name: len(book.log) for name, book in self.accounts.items()}
        self._day = trading_day(now_ns)

    def request_id(self) -> str:
        """Make an id for a request."""
        return str(next(self._request_ids))

    def matching(self, account: AccountBook, request_id: str | None = None) -> Matching:
        """Rules at this moment."""
        return Matching(account, self.clock.now_ns(), request_id)

    def visible(self, account: AccountBook, lag_s: float) -> int:
        """Number of transactions that a reader sees that lags behind."""
        if not lag_s:
            return len(account.log)
        # The clock never runs backwards (`POST /simulator/clock` refuses it), so the log is sorted by time.
        return bisect_right(account.times_ns, self.clock.now_ns() - int(lag_s * NANOS))

    def step(self) -> None:
        """Move the prices once, with all effects on orders and trades."""
        self.apply(self.market.step(self.clock.now_ns()))

    def apply(self, changed: list[Price]) -> None:
        """Show changed prices to resting orders and to the streams."""
        day = trading_day(self.clock.now_ns())
        # Orders before streams: a client that sees a price finds in the log what it has triggered.
        for account in self.accounts.values():
            rules = self.matching(account)
            # A jump of the clock may have passed several ends of a day.
            for _ in range(day - self._day):
                rules.finance()
            rules.tick()
            self.publish(account)
        self._day = max(day, self._day)
        for subscription in self.subscriptions:
            if subscription.kind == "pricing":
                subscription.offer_prices(changed)

    def publish(self, account: AccountBook) -> None:
        """Hand new transactions to the transaction streams."""
        # By position, not by event: requests and market steps write to the same log, and each is streamed once.
        new = account.log[self._published[account.id] :]
        self._published[account.id] = len(account.log)
        for subscription in self.subscriptions if new else ():
            if subscription.kind == "transactions" and subscription.account == account.id:
                subscription.offer_entries(new)

    async def run(self) -> None:
        """Move the market until cancelled."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while self.options.ticks_per_s:
            self.step()
            # A step that was missed is not made up for: a busy machine must not get a burst of them on top.
            due = max(due + 1 / self.options.ticks_per_s, loop.time())
            await asyncio.sleep(due - loop.time())
