from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal

import pytest

from broker.simulator.http.server import Simulator


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    """A venue whose prices stand still: EUR_USD at 1.08493 to 1.08507."""
    async with Simulator(seed=1, ticks_per_s=0, heartbeat_s=0.2) as running:
        running.venue.market.place("EUR_USD", Decimal("1.08500"), running.venue.clock.now_ns())
        yield running
