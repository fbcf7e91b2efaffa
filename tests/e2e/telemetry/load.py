"""Emits numbered order events through the broker's own emitter and stream, and writes down each of them.

    python tests/e2e/telemetry/load.py --socket S --spool D --notes F --first N --rate R

Before and after each `emit` a line goes to the notes, by write(2): `s<number>`, then `d<number>`. Whatever was
killed when, every number with a `d` must count once, one with an `s` only at most once, and nothing else ever.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from pathlib import Path

import uvloop

from broker.config import BrokerTelemetrySettings
from broker.events import CATALOGUE
from broker.events.orders import OrderTransition
from producer.emitter import Emitter
from producer.stream.client import TelemetryStream

STATUSES = ("received", "submitted", "filled")


def event(number: int) -> OrderTransition:
    """The event of a number: its fields follow from it. Durations are sixteenths, so that sums are exact."""
    return OrderTransition(
        status=STATUSES[number % 3],
        order_type="market",
        side="buy" if number % 2 else "sell",
        instrument="EUR_USD",
        units=str(number % 1000),
        price=None if number % 5 == 0 else "1.08321",
        order_id=f"{number:012d}",
        client_order_id=f"client-{number}",
        venue_order_id=None,
        reason=None,
        duration_s=None if number % 4 == 0 else (number % 16) / 16,
    )


async def emit_until(stop: asyncio.Event, emitter: Emitter, notes: int, first: int, rate: float) -> None:
    """Emits `rate` events a second."""
    number = first
    loop = asyncio.get_running_loop()
    started = loop.time()
    while not stop.is_set():
        while number - first < (loop.time() - started) * rate:
            os.write(notes, b"s%d\n" % number)
            emitter.emit(event(number))
            os.write(notes, b"d%d\n" % number)
            number += 1
        await asyncio.sleep(0.002)


async def main(options: argparse.Namespace) -> int:
    settings = BrokerTelemetrySettings(
        socket=options.socket, spool_directory=options.spool, producer_id="load", drain_s=20.0
    )
    emitter = Emitter(settings, catalogue=CATALOGUE, constant_labels=settings.constant_labels)
    stream = TelemetryStream(emitter, settings, tuple)
    notes = os.open(options.notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    stop, silent = asyncio.Event(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    print('{"event": "listening"}', flush=True)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(stream.run(silent))
        await emit_until(stop, emitter, notes, options.first, options.rate)
        silent.set()
    ledger = emitter.ledger()
    emitter.close()
    accounted = ledger.acknowledged + ledger.held + sum(ledger.dropped.values())
    return 0 if ledger.emitted == accounted and ledger.held == 0 else 1


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--spool", type=Path, required=True)
    parser.add_argument("--notes", type=Path, required=True)
    parser.add_argument("--first", type=int, required=True)
    parser.add_argument("--rate", type=float, default=2000.0)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(uvloop.run(main(parse())))
