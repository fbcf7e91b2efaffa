"""A process that places an order whenever it may: `python -m competing_broker URL DIRECTORY NAME`."""

from __future__ import annotations

import asyncio
import json
import sys
from decimal import Decimal
from itertools import count
from pathlib import Path

from broker.domain import OrderRequest, OrderType, Side
from broker.order_wiring import build_order_service
from broker.orders.errors import NotReadyError
from broker.orders.settings import OrderSettings
from broker.venue.settings import VenueSettings
from pod_runtime.secret import Secret
from tests.integration.orders.trader import ACCOUNT, TOKEN
from tests.venue_client import open_rest


def order(name: str) -> OrderRequest:
    return OrderRequest(
        client_order_id=name,
        client="rival",
        account=ACCOUNT,
        instrument="EUR_USD",
        type=OrderType.MARKET,
        side=Side.BUY,
        units=Decimal(10),
    )


async def compete(url: str, directory: Path, name: str) -> None:
    secret = Secret(TOKEN)
    settings = VenueSettings(
        account=ACCOUNT,
        rest_url=url,
        stream_url=url,
        connections_per_s=100,
        instruments=("EUR_USD",),
        request_deadline_s=1,
    )
    # Seconds, not less: on a loaded machine a process can wait for a core as long as a short lease lasts.
    orders = OrderSettings(directory=directory, lease_s=4.0, answer_wait_s=0.2)
    async with open_rest(settings, lambda: secret, emit=lambda _: None) as rest:
        service = build_order_service(orders, rest)
        async with asyncio.TaskGroup() as group:
            group.create_task(service.run(asyncio.Event()))
            for number in count():
                try:
                    placed = (await service.place(order(f"{name}-{number}"))).order
                    line = {"id": placed.id, "status": placed.status, "reason": placed.reason}
                except NotReadyError as error:
                    line = {"refused": error.reason}
                print(json.dumps(line), flush=True)
                await asyncio.sleep(0.02)


if __name__ == "__main__":
    where, folder, who = sys.argv[1:]
    asyncio.run(compete(where, Path(folder), who))
