"""A process that trades through a service and can be killed anywhere; what it did is in a file that outlives it.

`python -m tests.integration.orders.trader URL DIRECTORY LEDGER COUNT KILL_AT`: makes the writes that the ledger has
started and not done, under the same keys as a caller that tries again, then new ones up to COUNT in all. KILL_AT is the
number of the step at which it kills itself, 0 for never: a step is an event, or either side of a journal record.
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
from unittest.mock import patch

import msgspec

from broker.domain import OrderStatus
from broker.order_wiring import build_order_service
from broker.orders.errors import NotReadyError, UnknownOrderError, UnknownPositionError
from broker.orders.mass_actions import Outcome
from broker.orders.model.trading_state import TradingState
from broker.orders.service import OrderService
from broker.orders.settings import OrderSettings
from broker.orders.store.journal import OrderJournal
from broker.venue.errors import VenueError
from broker.venue.settings import VenueSettings
from pod_runtime.secret import Secret
from tests.integration.orders.writes import ACCOUNT, CLIENT, KILL, WRITES, prepared
from tests.venue_client import open_rest

TOKEN = "sweep-token"
STEPS = (*WRITES, KILL)


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


def answers(path: Path) -> list[dict[str, Any]]:
    """Words that the callers of a ledger were told."""
    return [json.loads(line.split(" ", 2)[2]) for line in path.read_text().splitlines() if line.startswith("done ")]


class Killer:
    """Takes the events, and ends the process at one of them."""

    def __init__(self, at: int) -> None:
        self._left = at

    def __call__(self, _: tuple[Any, ...]) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def follow_journal(killer: Killer) -> None:
    """Let the killer count both sides of each record, too."""
    append = OrderJournal.append

    def counted(journal: OrderJournal, payload: bytes) -> int:
        killer(())
        position = append(journal, payload)
        killer(())
        return position

    patch.object(OrderJournal, "append", counted).start()


async def kill(service: OrderService, key: str) -> str:
    """Use the kill switch under one key until nothing is left to do, and resume trading."""
    while any(map(may_change, (found := await service.mass_actions.kill(CLIENT, key, "sweep")).outcomes)):
        await asyncio.sleep(0.05)
    service.set_state(TradingState.ACTIVE, CLIENT, "sweep")
    return "complete" if found.complete else "incomplete"


def may_change(found: Outcome) -> bool:
    """True if the same key may yet end with another outcome; a close that is refused or absent stays so."""
    is_absent = found.order is not None and found.order.status is OrderStatus.PRESUMED_ABSENT
    return found.outcome in {"failed", "unknown"} and not is_absent


async def act(service: OrderService, ledger: Ledger, name: str) -> None:
    ledger.start(name)
    number = int(name)
    # A position first: there are writes that need one.
    kind = "market" if number == 0 else STEPS[number % len(STEPS)]
    result = {"status": "gone"}
    while True:
        try:
            if kind == KILL:
                result = {"status": await kill(service, f"{KILL}-{number}")}
            else:
                order = await (await prepared(service, kind, number)).send(service)
                result = {"status": order.status, "order": order.id}
            break
        except NotReadyError as error:
            await asyncio.sleep(min(0.05, error.retry_after_s))
        except VenueError:
            await asyncio.sleep(0.05)
        except (UnknownOrderError, UnknownPositionError):  # it has ended meanwhile: by its price, or by this very write
            break
    ledger.end(name, result)


async def trade(url: str, directory: Path, ledger: Ledger, count: int, killer: Killer) -> None:
    token_file = directory.parent / "token"

    def token() -> Secret:
        return Secret(token_file.read_text() if token_file.exists() else TOKEN)

    follow_journal(killer)
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
                    group.create_task(act(service, ledger, name))
        while any(item.status == "unknown" for item in service.open_orders()):
            await asyncio.sleep(0.05)
        mismatches = await service.reconcile()
        engine = service.leadership.engine
        assert engine is not None
        words = {
            "records": [msgspec.to_builtins(record) for record in engine.store.index],
            "mismatches": [str(item) for item in mismatches],
            "balance": str((await service.account()).balance),
            "held": {name: str(units) for name, units in engine.store.positions.items() if units},
            "positions": {item.instrument: str(item.units) for item in await service.positions()},
        }
        print(json.dumps(words), flush=True)
        stop.set()
        await running


if __name__ == "__main__":
    where, folder, book, total, kill_at = sys.argv[1:]
    asyncio.run(trade(where, Path(folder), Ledger(Path(book)), int(total), Killer(int(kill_at))))
