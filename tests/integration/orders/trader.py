"""A process that trades through a service and can be killed anywhere; what it did is in a file that outlives it.

`python -m tests.integration.orders.trader URL DIRECTORY LEDGER COUNT KILL_AT`: places the orders that the ledger has
started and not done, with the same client ids as a caller that tries again, then new ones up to COUNT in all.
KILL_AT is the number of the event at whose emission it kills itself, 0 for never.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

from broker.domain import OrderRequest, OrderType, Side
from broker.order_wiring import build_order_service
from broker.orders.errors import NotReadyError
from broker.orders.service import OrderService
from broker.orders.settings import OrderSettings
from broker.venue.settings import VenueSettings
from pod_runtime.secret import Secret
from tests.venue_client import open_rest

ACCOUNT = "101-004-1234567-001"
TOKEN = "sweep-token"


class Ledger:
    """Lines `start ID` and `done ID RESULT`, each on its way to the file before the next step."""

    def __init__(self, path: Path) -> None:
        self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.started: list[str] = []
        self.done: dict[str, dict[str, Any]] = {}
        for line in path.read_text().splitlines():
            kind, name, *rest = line.split(" ", 2)
            if kind == "start":
                self.started.append(name)
            else:
                self.done[name] = json.loads(rest[0])

    def start(self, name: str) -> None:
        if name not in self.started:
            self.started.append(name)
            os.write(self._handle, f"start {name}\n".encode())

    def end(self, name: str, result: dict[str, Any]) -> None:
        os.write(self._handle, f"done {name} {json.dumps(result)}\n".encode())


class Killer:
    """Takes the events, and ends the process at one of them."""

    def __init__(self, at: int) -> None:
        self._left = at

    def __call__(self, _: tuple[Any, ...]) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def order(name: str) -> OrderRequest:
    number = int(name)
    kind = OrderType.LIMIT if number % 5 == 0 else OrderType.MARKET
    side = Side.BUY if number % 2 else Side.SELL
    return OrderRequest(
        client_order_id=name,
        client="sweep",
        account=ACCOUNT,
        instrument="EUR_USD",
        type=kind,
        side=side,
        # Buys outweigh sells, so that a position is open whenever a day ends.
        units=Decimal(number + (150 if side is Side.BUY else 100)),
        price=Decimal("1.05000")
        if kind is OrderType.LIMIT and number % 2
        else Decimal("1.12000")
        if kind is OrderType.LIMIT
        else None,
    )


async def place(service: OrderService, ledger: Ledger, name: str) -> None:
    ledger.start(name)
    while True:
        try:
            placed = (await service.place(order(name))).order
            break
        except NotReadyError as error:
            await asyncio.sleep(min(0.05, error.retry_after_s))
    result = {"id": placed.id, "status": placed.status, "reason": placed.reason, "message": placed.message}
    ledger.end(name, result)


async def trade(url: str, directory: Path, ledger: Ledger, count: int, killer: Killer) -> None:
    token_file = directory.parent / "token"

    def token() -> Secret:
        return Secret(token_file.read_text() if token_file.exists() else TOKEN)

    settings = VenueSettings(
        account=ACCOUNT,
        rest_url=url,
        stream_url=url,
        connections_per_s=100,
        instruments=("EUR_USD",),
        request_deadline_s=2,
    )
    orders = OrderSettings(
        directory=directory, absence_horizon_s=3.0, price_collar_ratio=Decimal("0.5"), answer_wait_s=10.0, sample_s=0.5
    )
    async with open_rest(settings, token, emit=killer) as rest:
        service = build_order_service(orders, rest)
        stop = asyncio.Event()
        running = asyncio.create_task(service.run(stop))
        while any(not item.ok for item in service.conditions() if not item.advisory):
            await asyncio.sleep(0.01)
        names = [name for name in ledger.started if name not in ledger.done]
        names += [str(number) for number in range(len(ledger.started), count)]
        for start in range(0, len(names), 3):
            async with asyncio.TaskGroup() as group:
                for name in names[start : start + 3]:
                    group.create_task(place(service, ledger, name))
        while any(item.status == "unknown" for item in service.open_orders()):
            await asyncio.sleep(0.05)
        mismatches = await service.reconcile()
        found = {name: held for name in map(str, range(count)) if (held := service.by_client_id("sweep", name))}
        final = {
            name: {"id": held.id, "status": held.status, "fills": [fill.transaction_id for fill in held.fills]}
            for name, held in found.items()
        }
        words = {"orders": final, "mismatches": [str(item) for item in mismatches]}
        print(json.dumps(words | {"balance": str((await service.account()).balance)}), flush=True)
        stop.set()
        await running


if __name__ == "__main__":
    where, folder, book, total, kill_at = sys.argv[1:]
    asyncio.run(trade(where, Path(folder), Ledger(Path(book)), int(total), Killer(int(kill_at))))
