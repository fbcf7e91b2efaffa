from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal

import pytest

from broker.simulator.http.server import Simulator
from tests.v20_client import V20Client


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    """A venue whose prices stand still: EUR_USD at 1.08493 to 1.08507."""
    async with Simulator(seed=1, ticks_per_s=0, heartbeat_s=0.05) as running:
        running.venue.market.place("EUR_USD", Decimal("1.08500"), running.venue.clock.now_ns())
        yield running


@pytest.fixture
async def client(simulator: Simulator) -> AsyncIterator[V20Client]:
    """Every answer that it gets is checked against the published description when the test ends."""
    async with V20Client(simulator.rest_url, simulator.token) as found:
        yield found
