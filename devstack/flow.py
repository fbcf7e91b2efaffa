"""A little order flow through the order API: what a trader's service would send."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from http import HTTPStatus
from typing import Any

import aiohttp

INSTRUMENTS = ("EUR_USD", "GBP_USD", "USD_JPY")
REQUEST_DEADLINE_S = 10.0
OPEN_ORDERS_KEPT = 20


@dataclass(slots=True)
class Tally:
    """What the order API answered, counted by order status or by the fault's name."""

    sent: int = 0
    results: Counter[str] = field(default_factory=Counter)
    placed: dict[str, dict[str, Any]] = field(default_factory=dict)
    latest_s: float = 0.0
    """How long after its beat the latest order went out."""
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
        async with self._session() as session, asyncio.TaskGroup() as orders:
            due = loop.time()
            while not stop.is_set():
                await slots.acquire()
                self.tally.latest_s = max(self.tally.latest_s, loop.time() - due)
                self._waiting += 1
                self.tally.most_in_flight = max(self.tally.most_in_flight, self._waiting)
                orders.create_task(self._guarded(session, slots))
                due += 1 / per_second
                await _pause(stop, due - loop.time())

    async def send(self, count: int) -> None:
        """Sends `count` orders, eight at a time."""
        slots = asyncio.Semaphore(8)
        async with self._session() as session, asyncio.TaskGroup() as orders:
            for _ in range(count):
                await slots.acquire()
                self._waiting += 1
                orders.create_task(self._guarded(session, slots))

    def _session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            base_url=self.base_url,
            headers={"X-API-Key": self.api_key},
            timeout=aiohttp.ClientTimeout(total=REQUEST_DEADLINE_S),
            connector=aiohttp.TCPConnector(limit=0),  # `in_flight` is the limit
        )

    async def _guarded(self, session: aiohttp.ClientSession, slots: asyncio.Semaphore) -> None:
        try:
            await self._one(session)
        except (aiohttp.ClientError, TimeoutError) as error:
            self.tally.results[type(error).__name__] += 1
        finally:
            self._waiting -= 1
            slots.release()

    async def _one(self, session: aiohttp.ClientSession) -> None:
        self.tally.sent += 1
        number = self.tally.sent
        body = await self._order(session, number)
        async with session.post("/v1/orders", json=body, headers={"Idempotency-Key": f"flow-{number}"}) as answer:
            order = _order_of(await answer.text())
        status = str(order.get("status", answer.status))
        self.tally.results[status] += 1
        if "id" in order:
            self.tally.placed[order["id"]] = order
        if status == "pending":
            self._open.append(order["id"])
        if len(self._open) > OPEN_ORDERS_KEPT:
            await self._cancel(session)

    async def _order(self, session: aiohttp.ClientSession, number: int) -> dict[str, Any]:
        body: dict[str, Any] = {
            "instrument": self.chance.choice(INSTRUMENTS),
            "side": self.chance.choice(("buy", "sell")),
            "units": str(self.chance.randrange(1, 20) * 100),
            "type": "market",
        }
        if number % 5 == 0 and (price := await self._far_below(session, body["instrument"])):
            body |= {"type": "limit", "side": "buy", "price": price}
        return body

    async def _far_below(self, session: aiohttp.ClientSession, instrument: str) -> str | None:
        """A price that rests; None while there is no quote."""
        async with session.get("/v1/prices", params={"instruments": instrument}) as answer:
            # Between two owners the proxy answers without a body: there is no quote to rest below.
            quotes = (await answer.json(content_type=None)).get("prices") if answer.status == HTTPStatus.OK else None
        if not quotes:
            return None
        bid = Decimal(quotes[0]["bid"])
        return str((bid * Decimal("0.99")).quantize(bid))

    async def _cancel(self, session: aiohttp.ClientSession) -> None:
        order_id = self._open.pop(0)
        async with session.delete(f"/v1/orders/{order_id}") as answer:
            order = await answer.json(content_type=None)
        self.tally.placed[order_id] = order


def _order_of(text: str) -> dict[str, Any]:
    """The answer's JSON; a proxy's own answer is words, and no order."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    if seconds > 0:
        try:
            await asyncio.wait_for(stop.wait(), seconds)
        except TimeoutError:
            return
