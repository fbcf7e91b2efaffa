"""Desks on a directory against a fake venue, with what they emit."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from broker.domain import OrderRequest
from broker.order_wiring import build_order_service
from broker.orders.idempotency import LongMemory
from broker.orders.service import OrderService
from broker.orders.settings import OrderSettings
from broker.venue.settings import VenueSettings
from pod_runtime.secret import Secret
from tests.unit.broker.orders.fake_venue import ACCOUNT, FakeVenue
from tests.venue_client import open_rest

MakeRequest = Callable[..., OrderRequest]


class OrderServiceHarness:
    """Starts services on one directory against one venue, and keeps what they emit."""

    def __init__(self, venue: FakeVenue, directory: Path) -> None:
        self.venue = venue
        self.directory = directory
        self.events: list[Any] = []
        self.token: Secret | None = Secret(venue.token)
        self.memory: LongMemory | None = None
        self.settings: dict[str, Any] = {"answer_wait_s": 30.0, "absence_horizon_s": 0.3, "absence_scans": 2}

    def of(self, name: str) -> list[Any]:
        return [event for event in self.events if type(event).__name__ == name]

    @asynccontextmanager
    async def service(self, *, wait_ready: bool = True, **settings: Any) -> AsyncIterator[OrderService]:
        orders = OrderSettings(directory=self.directory, **(self.settings | settings))
        venue = VenueSettings(
            account=ACCOUNT,
            rest_url=self.venue.url,
            stream_url=self.venue.url,
            request_deadline_s=20,
            connections_per_s=100,
            reconnect_s=0.01,
            healthy_after_s=0.0,
        )
        chance = random.Random(1).random
        async with open_rest(venue, lambda: self.token, emit=self.events.append, chance=chance) as rest:
            self.rest = rest
            service = build_order_service(orders, rest, memory=self.memory)
            self._stop = asyncio.Event()
            self._running = asyncio.create_task(service.run(self._stop))
            try:
                await wait_until(lambda: self._running.done() or not (wait_ready and blocked(service)))
                yield service
            finally:
                await self.stop()

    async def stop(self) -> None:
        """Drains the service that was started last."""
        self._stop.set()
        await self._running


def blocked(service: OrderService) -> list[str]:
    return [item.name for item in service.conditions() if not item.ok and not item.advisory]


async def wait_until(is_so: Callable[[], bool], deadline_s: float = 120.0) -> None:
    async with asyncio.timeout(deadline_s):
        while not is_so():
            await asyncio.sleep(0.005)
