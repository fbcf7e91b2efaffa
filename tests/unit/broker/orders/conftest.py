from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from broker.domain import OrderRequest, OrderType, Side
from tests.unit.broker.orders.boot_clock import BootClock
from tests.unit.broker.orders.fake_venue import ACCOUNT, FakeVenue, serving
from tests.unit.broker.orders.order_service_fixture import MakeRequest, OrderServiceHarness


@pytest.fixture
def make_request() -> MakeRequest:
    def make(client_order_id: str = "first", **fields: Any) -> OrderRequest:
        plain: dict[str, Any] = {
            "client": "flow",
            "account": ACCOUNT,
            "instrument": "EUR_USD",
            "type": OrderType.MARKET,
            "side": Side.BUY,
            "units": Decimal(100),
        }
        return OrderRequest(client_order_id=client_order_id, **(plain | fields))

    return make


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> BootClock:
    made = BootClock()
    for module in ("cluster_lease", "file_lease", "policies"):
        monkeypatch.setattr(f"broker.orders.ownership.{module}.boot_time_s", made)
    return made


@pytest.fixture
async def venue() -> AsyncIterator[FakeVenue]:
    async with serving(FakeVenue()) as fake:
        yield fake


@pytest.fixture
def harness(venue: FakeVenue, tmp_path: Path) -> OrderServiceHarness:
    return OrderServiceHarness(venue, tmp_path)
