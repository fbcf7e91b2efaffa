from __future__ import annotations

from decimal import Decimal

from tests.unit.broker.orders.fake_venue import FakeVenue
from tests.unit.broker.orders.order_service_fixture import OrderServiceHarness, wait_until


async def test_reconcile_finds_and_adopts_what_was_missed(harness: OrderServiceHarness, venue: FakeVenue) -> None:
    async with harness.service() as service:
        await wait_until(lambda: bool(harness.of("ReconcileRun")))
        venue.pending["99"] = {
            "id": "99",
            "type": "LIMIT_ORDER",
            "instrument": "EUR_USD",
            "units": "5",
            "createTime": "0",
        }
        venue.position = Decimal(7)
        found = await service.reconcile()
        again = await service.reconcile()

    assert [(item.kind, item.subject, item.ours, item.theirs) for item in found] == [
        ("order", "99", "absent", "pending"),
        ("position", "EUR_USD", "0", "7"),
    ]
    assert list(again) == []
