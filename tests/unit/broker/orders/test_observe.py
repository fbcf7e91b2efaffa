from __future__ import annotations

from decimal import Decimal

from broker.domain import OrderType
from tests.unit.broker.orders.order_service_fixture import MakeRequest, OrderServiceHarness, wait_until


async def test_gauges_are_sampled(harness: OrderServiceHarness, make_request: MakeRequest) -> None:
    async with harness.service(sample_s=0.1) as service:
        await service.place(make_request())
        await service.place(make_request("resting", type=OrderType.LIMIT, price=Decimal("1.09")))
        await wait_until(lambda: any(event.units == 100 for event in harness.of("PositionSample")))
        await wait_until(lambda: harness.of("OrderSample")[-1].open_orders == 1)
        await wait_until(lambda: bool(harness.of("ReconcileRun")))

    names = {type(event).__name__ for event in harness.events}
    assert names >= {
        "OrderSample",
        "AccountSample",
        "ThrottleSample",
        "StreamSample",
        "TransactionLag",
        "TradingStateSample",
    }
    assert names >= {"PriceSample", "RiskUtilisation", "QueueSample", "ReconcileRun", "ConnectionStatus", "JournalSync"}
