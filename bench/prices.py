"""Cost of the price stream: CPU of the reader at 100 instruments of 50 ticks a second each: `python -m bench.prices`.

The ticks come from a process of its own, as the venue writes them; the reader is the broker's stream and quote book.
"""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from time import perf_counter, process_time
from typing import Any

import uvloop
from aiohttp import web

from broker.orders.checks.prices import QuoteBook, price_lines
from broker.venue.settings import VenueSettings
from broker.venue.streams.line_stream import LineStream
from pod_runtime.secret import Secret
from tests.venue_client import new_rest

INSTRUMENTS, TICKS_PER_S, BEAT_S = 100, 50, 0.02
GOAL_CORES = 0.5


def line(number: int) -> bytes:
    """A price as the venue writes it."""
    price = {
        "type": "PRICE",
        "time": "2026-01-05T12:00:00.123456789Z",
        "bids": [{"price": "1.08497", "liquidity": 10000000}],
        "asks": [{"price": "1.08511", "liquidity": 10000000}],
        "closeoutBid": "1.08497",
        "closeoutAsk": "1.08511",
        "status": "tradeable",
        "tradeable": True,
        "instrument": f"AAA_{number:03d}",
    }
    return json.dumps(price).encode() + b"\n"


async def feed(request: web.Request) -> web.StreamResponse:
    """One tick of every instrument, 50 times a second."""
    response = web.StreamResponse()
    await response.prepare(request)
    lines = [line(number) for number in range(INSTRUMENTS)]
    started, beat = perf_counter(), 0
    while True:
        for one in lines:
            await response.write(one)
        beat += 1
        await asyncio.sleep(max(0.0, started + beat * BEAT_S - perf_counter()))


class _Reader:
    """Fills a quote book and counts the ticks."""

    def __init__(self) -> None:
        self.taken = 0
        self._book = QuoteBook(lambda: datetime.now(UTC))

    def parameters(self) -> dict[str, str]:
        return {}

    async def opened(self) -> None:
        return

    async def take(self, texts: Sequence[bytes]) -> None:
        self.taken += len(texts)
        self._book.take(*price_lines(texts))


def serve() -> None:
    """The server process: prints its port, then serves until it is killed."""
    app = web.Application()
    app.router.add_get("/{path:.*}", feed)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        print(listening.getsockname()[1], flush=True)
        web.run_app(app, sock=listening, print=None, access_log=None, loop=uvloop.new_event_loop())


async def measure(seconds: float, port: int) -> dict[str, Any]:
    """CPU seconds a second of the reader."""
    url, secret = f"http://127.0.0.1:{port}", Secret("bench")
    settings = VenueSettings(account="101", rest_url=url, stream_url=url)
    reader = _Reader()
    stream = LineStream("prices", "/pricing/stream", new_rest(settings, lambda: secret), reader)
    running = asyncio.create_task(stream.run())
    await asyncio.sleep(0.5)
    before, cpu, started = reader.taken, process_time(), perf_counter()
    await asyncio.sleep(seconds)
    cores = (process_time() - cpu) / (perf_counter() - started)
    rate = (reader.taken - before) / (perf_counter() - started)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    wanted = INSTRUMENTS * TICKS_PER_S
    return {
        "name": f"price_stream_cpu_at_{rate:.0f}_ticks_per_s",
        "ours": cores,
        "baseline": None,
        "unit": "cores",
        "ratio": None,
        "goal": GOAL_CORES,
        "holds": cores <= GOAL_CORES and rate >= 0.95 * wanted,
    }


def rows(seconds: float = 5.0) -> list[dict[str, Any]]:
    """The row of the price stream."""
    with subprocess.Popen([sys.executable, "-m", "bench.prices", "serve"], stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        try:
            return [uvloop.run(measure(seconds, port))]
        finally:
            server.kill()


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        serve()
    else:
        for item in rows():
            print(json.dumps(item))
