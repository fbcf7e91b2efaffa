"""A little order flow through the order API: what a trader's service would send."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal

from broker_client import (
    BrokerClient,
    ConflictError,
    OrderApiError,
    OrderBody,
    OrderType,
    OrderView,
    RetryPolicy,
    Side,
    UnavailableError,
)

INSTRUMENTS = ("EUR_USD", "GBP_USD", "USD_JPY")
REQUEST_DEADLINE_S = 10.0
OPEN_ORDERS_KEPT = 20


@dataclass(slots=True)
class Tally:
    """Answers of the order API, counted by order status or by the fault's name."""

    sent: int = 0
    results: Counter[str] = field(default_factory=Counter)
    placed: dict[str, OrderView] = field(default_factory=dict)
    latest_s: float = 0.0
    """Time from its beat until the latest order went out."""
    most_in_flight: int = 0


@dataclass(slots=True)
class Flow:
    """Sends market orders, and one limit order in five of which half are cancelled later."""

    base_url: str
    api_key: str
    chance: random.Random
    in_flight: int = 64
    """Most orders that are waited for at once; beyond them the beat waits, and `latest_s` tells."""
    tally: Tally = field(default_factory=Tally)
    _open: list[str] = field(default_factory=list)
    _waiting: int = 0

    async def run(self, per_second: float, stop: asyncio.Event) -> None:
        """Sends `per_second` orders on an even beat until `stop`, each in its own task: answers set no pace."""
        loop = asyncio.get_running_loop()
        slots = asyncio.Semaphore(self.in_flight)
        async with self._client() as broker, asyncio.TaskGroup() as orders:
            due = loop.time()
            while not stop.is_set():
                await slots.acquire()
                self.tally.latest_s = max(self.tally.latest_s, loop.time() - due)
                self._waiting += 1
                self.tally.most_in_flight = max(self.tally.most_in_flight, self._waiting)
                orders.create_task(self._guarded(broker, slots))
                due += 1 / per_second
                await _pause(stop, due - loop.time())

    async def send(self, count: int) -> None:
        """Sends `count` orders, eight at a time."""
        slots = asyncio.Semaphore(8)
        async with self._client() as broker, asyncio.TaskGroup() as orders:
            for _ in range(count):
                await slots.acquire()
                self._waiting += 1
                orders.create_task(self._guarded(broker, slots))

    def _client(self) -> BrokerClient:
        return BrokerClient(
            self.base_url,
            api_key=self.api_key,
            deadline_s=REQUEST_DEADLINE_S,
            retry=RetryPolicy(attempts=1),  # each failure is counted: none is mended by a second attempt
            connections=0,  # `in_flight` is the limit
        )

    async def _guarded(self, broker: BrokerClient, slots: asyncio.Semaphore) -> None:
        try:
            await self._one(broker)
        except OrderApiError as error:
            self.tally.results[str(error.order.status if error.order else error.status or type(error).__name__)] += 1
        finally:
            self._waiting -= 1
            slots.release()

    async def _one(self, broker: BrokerClient) -> None:
        self.tally.sent += 1
        number = self.tally.sent
        body = await self._order(broker, number)
        order = await broker.place_order(body, idempotency_key=f"flow-{number}")
        self.tally.results[order.status] += 1
        self.tally.placed[order.id] = order
        if order.status == "pending":
            self._open.append(order.id)
        if len(self._open) > OPEN_ORDERS_KEPT:
            await self._cancel(broker)

    async def _order(self, broker: BrokerClient, number: int) -> OrderBody:
        instrument, side = self.chance.choice(INSTRUMENTS), self.chance.choice((Side.BUY, Side.SELL))
        units = Decimal(self.chance.randrange(1, 20) * 100)
        if number % 5 == 0 and (price := await self._far_below(broker, instrument)):
            return OrderBody(instrument=instrument, side=Side.BUY, type=OrderType.LIMIT, units=units, price=price)
        return OrderBody(instrument=instrument, side=side, type=OrderType.MARKET, units=units)

    async def _far_below(self, broker: BrokerClient, instrument: str) -> Decimal | None:
        """A price that rests; None while there is no quote."""
        try:
            quotes = (await broker.list_prices(instruments=instrument)).prices
        except UnavailableError:  # between two owners
            return None
        return (quotes[0].bid * Decimal("0.99")).quantize(quotes[0].bid) if quotes else None

    async def _cancel(self, broker: BrokerClient) -> None:
        order_id = self._open.pop(0)
        try:
            self.tally.placed[order_id] = await broker.cancel_order(order_id)
        except ConflictError as error:  # it has ended otherwise
            if error.order is not None:
                self.tally.placed[order_id] = error.order


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    if seconds > 0:
        try:
            await asyncio.wait_for(stop.wait(), seconds)
        except TimeoutError:
            return
