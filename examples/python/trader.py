#!/usr/bin/env python3
"""Buys, guards and closes: `python examples/python/trader.py URL FILE_WITH_API_KEY`."""

from __future__ import annotations

import asyncio
import sys
from decimal import Decimal
from pathlib import Path

from broker_client import (
    BrokerClient,
    OrderBody,
    OrderRefusedError,
    OrderStatus,
    OrderType,
    OrderView,
    ProtectionBody,
    Side,
)

ENTRY = OrderBody(
    instrument="EUR_USD",
    side=Side.BUY,
    type=OrderType.MARKET,
    units=Decimal(100),
    stop_loss=ProtectionBody(distance=Decimal("0.01")),
)


async def main(url: str, key_file: str) -> None:
    """Opens a position with a stop loss, and closes it."""
    # A function: the key is read again for each request, and may be rotated under the program.
    async with BrokerClient(url, api_key=lambda: Path(key_file).read_text().strip()) as broker:
        try:
            # Name it after what makes you place it: a restart of your program then finds this order, not a second one.
            order = await broker.place_order(ENTRY, idempotency_key="example-entry-1")
        except OrderRefusedError as error:
            sys.exit(f"refused: {error.reason}")
        order = await broker.wait_settled(order)
        print(f"{order.status}: {order.filled_units} at {order.average_price}")

        async with broker.stream_events(types="order", instruments="EUR_USD") as events:
            async for event in events:
                match event.data:
                    case OrderView(status=OrderStatus.FILLED) as closed:
                        print(f"{closed.status}: {closed.filled_units} at {closed.average_price}")
                        break
                    case _ if event.kind == "connected":  # from here on no change is missed
                        await broker.close_position("EUR_USD", idempotency_key="example-exit-1")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
