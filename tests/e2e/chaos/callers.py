"""Traders' services in a storm: each repeats an order under its key until it has a final word, and notes every word."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from decimal import Decimal

from broker_client import BrokerClient, OrderApiError, OrderBody, OrderType, OrderView, RetryPolicy, Side

INSTRUMENTS = ("EUR_USD", "GBP_USD", "USD_JPY")
FINAL = frozenset({"denied", "filled", "partially_filled", "cancelled", "rejected", "presumed_absent"})
"""Words after which a caller asks no more. Of an order presumed absent the venue may still tell later."""
AGAIN = frozenset({0, 409, 429, 502, 503, 504})
"""Answers after which the same key is sent again: nothing was done, the result is open, or another broker has it."""
PAUSE_S = 0.5


@dataclass(slots=True)
class Callers:
    """Orders on an even beat; `words` are the statuses that each key was told, in their order."""

    base_url: str
    api_key: str
    chance: random.Random
    in_flight: int = 300
    """Callers that wait at once; beyond them the beat waits."""
    words: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    ids: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """The orders of each key: more than one if the earlier ones were refused for a while, which leaves a key free."""
    unexpected: list[str] = field(default_factory=list)
    repeats: Counter[str] = field(default_factory=Counter)
    """Answers that made a caller repeat its order, by status and kind."""
    latest: dict[str, str] = field(default_factory=dict)
    """The latest error that each key was answered."""
    sent: int = 0
    done_at: float = 0.0
    """The monotonic time of the latest final word."""

    async def run(self, per_second: float, stop: asyncio.Event) -> None:
        """Sends until `stop`, then waits for the final word of each order."""
        loop = asyncio.get_running_loop()
        slots = asyncio.Semaphore(self.in_flight)
        async with self._client() as broker, asyncio.TaskGroup() as orders:
            due = loop.time()
            while not stop.is_set():
                await slots.acquire()
                self.sent += 1
                orders.create_task(self._guarded(broker, f"chaos-{self.sent}", slots))
                due = max(due + 1 / per_second, loop.time() - 1.0)
                await asyncio.sleep(max(0.0, due - loop.time()))

    @property
    def open(self) -> list[str]:
        """Keys without a final word."""
        keys = [f"chaos-{number}" for number in range(1, self.sent + 1)]
        return [key for key in keys if not self.words.get(key) or self.words[key][-1] not in FINAL]

    def _client(self) -> BrokerClient:
        return BrokerClient(
            self.base_url, api_key=self.api_key, attempt_s=15.0, retry=RetryPolicy(attempts=1), connections=0
        )

    async def _guarded(self, broker: BrokerClient, key: str, slots: asyncio.Semaphore) -> None:
        try:
            await self._place(broker, key)
        finally:
            slots.release()

    async def _place(self, broker: BrokerClient, key: str) -> None:
        body = OrderBody(
            instrument=self.chance.choice(INSTRUMENTS),
            side=self.chance.choice((Side.BUY, Side.SELL)),
            type=OrderType.MARKET,
            units=Decimal(self.chance.randrange(1, 20) * 100),
        )
        while True:
            try:
                order = await broker.place_order(body, idempotency_key=key)
                if not self._is_done(key, order):
                    await asyncio.sleep(PAUSE_S)
                    continue
            except OrderApiError as error:
                self.latest[key] = f"{error} ({error.reason})"
                if error.order is not None and self._is_done(key, error.order):
                    return
                if error.status not in AGAIN:
                    self.unexpected.append(f"{key}: {error.status} {error.kind} {error}")
                    return
                self.repeats[f"{error.status} {error.kind}"] += 1
                await asyncio.sleep(error.retry_after_s or PAUSE_S)
                continue
            return

    def _is_done(self, key: str, order: OrderView) -> bool:
        words = self.words[key]
        if not words or words[-1] != order.status:
            words.append(str(order.status))
        if order.id not in self.ids[key]:
            self.ids[key].append(order.id)
            words[:] = [str(order.status)]
        if order.status in FINAL:
            self.done_at = time.monotonic()
        return order.status in FINAL
