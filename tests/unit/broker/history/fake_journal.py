"""A change log in memory that waits, as the journal does, for what comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from msgspec.structs import replace

from broker.domain import Fill, Order, OrderRequest, OrderStatus, OrderType, Side
from broker.history.journal_end import JournalEnd
from broker.orders.store.tail import Change

START = datetime(2026, 1, 5, 10, tzinfo=UTC)
ACCOUNT = "101-004-1234567-001"


def make_order(number: int, status: OrderStatus = OrderStatus.FILLED, **changed: Any) -> Order:
    """Order `number`, taken `number` seconds after START."""
    request = OrderRequest(
        client_order_id=f"c-{number}",
        client="flow",
        account=ACCOUNT,
        instrument="USD_JPY" if number % 3 == 0 else "EUR_USD",
        type=OrderType.MARKET,
        side=Side.BUY,
        units=Decimal("100.50"),
    )
    at = START + timedelta(seconds=number)
    fill = Fill(transaction_id=str(1000 + number), units=Decimal("100.50"), price=Decimal("1.10000"), time=at)
    return Order(
        id=f"01JGX5TVK2M4N6P8Q0R2S4{number:04d}",
        request=replace(request, **changed),
        status=status,
        fills=(fill,) if status is OrderStatus.FILLED else (),
        created_at=at,
        updated_at=at,
    )


def make_transaction(number: int) -> dict[str, Any]:
    return {
        "id": str(number),
        "type": "DAILY_FINANCING",
        "time": "2026-01-05T10:00:00.123456789Z",
        "financing": "-0.01",
    }


class FakeJournal(JournalEnd):
    """A journal in memory: its changes, and its end."""

    name = ""

    def __init__(self, name: str = "journal-1") -> None:
        self.name = name
        self.items: list[Change] = []
        self.released = 0
        self._grown = asyncio.Event()

    def add(self, item: Order | dict[str, Any]) -> None:
        position = len(self.items) + 1
        if isinstance(item, Order):
            self.items.append(Change(position=position, order=item))
        else:
            self.items.append(Change(position=position, transaction=item))
        self._grown.set()

    def last(self) -> int:
        return len(self.items)

    async def changes(self, after: int) -> AsyncIterator[Change]:
        while True:
            self._grown.clear()
            for item in self.items[after:]:
                yield item
                after = item.position
            if after == len(self.items):
                await self._grown.wait()

    def release(self, position: int) -> None:
        self.released = position
