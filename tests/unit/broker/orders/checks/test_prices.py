from __future__ import annotations

from decimal import Decimal

from tests.unit.broker.orders.order_service_fixture import OrderServiceHarness


async def test_quotes_come_from_memory(harness: OrderServiceHarness) -> None:
    async with harness.service() as service:
        quotes = service.quotes(["EUR_USD", "XXX_YYY"])

    assert [(quote.instrument, quote.bid, quote.ask) for quote in quotes] == [
        ("EUR_USD", Decimal("1.09990"), Decimal("1.10010"))
    ]
