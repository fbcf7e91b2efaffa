"""From `emit()` to visible on /metrics, at 5,000 events a second: `python -m bench.freshness`.

The broker's own emitter and stream in this process, the whole sidecar in another. An event is visible when an answer
of /metrics that counts it has been read; the page is asked again as soon as it has answered.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp
import uvloop

from bench.emit import event
from bench.process import row, sidecar
from broker.config import BrokerTelemetrySettings
from broker.events import CATALOGUE
from producer.emitter import Emitter
from producer.stream.client import TelemetryStream

EVENTS_PER_S = 5_000
SECONDS = 8.0
BEAT_S = 0.002
COUNTED = re.compile(rb"^broker_orders_total\{[^}]*\} (\d+)", re.MULTILINE)


async def pace(emitter: Emitter, emitted: list[float], stop: asyncio.Event) -> None:
    """Emits at the rate, and notes when each event was."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while (now := loop.time()) - began < SECONDS:
        while len(emitted) < (now - began) * EVENTS_PER_S:
            emitter.emit(event(len(emitted)))
            emitted.append(time.perf_counter())
        await asyncio.sleep(BEAT_S)
    stop.set()


async def watch(session: aiohttp.ClientSession, url: str, emitted: list[float], stop: asyncio.Event) -> list[float]:
    """Seconds from emit to visible, of every event."""
    found: list[float] = []
    while not stop.is_set() or len(found) < len(emitted):
        async with session.get(url) as answer:
            page = await answer.read()
        seen = time.perf_counter()
        count = sum(map(int, COUNTED.findall(page)))
        found.extend(seen - moment for moment in emitted[len(found) : count])
    return found


async def measure(place: Path, metrics: str) -> float:
    """The 99th percentile, seconds."""
    settings = BrokerTelemetrySettings(socket=place / "run" / "telemetry.sock", spool_directory=place / "spool")
    emitter = Emitter(settings, catalogue=CATALOGUE)
    stream = TelemetryStream(emitter, settings, tuple)
    stop, done = asyncio.Event(), asyncio.Event()
    emitted: list[float] = []
    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as tasks:
        tasks.create_task(stream.run(done))
        await asyncio.sleep(1.0)
        watching = tasks.create_task(watch(session, f"http://{metrics}/metrics", emitted, stop))
        await pace(emitter, emitted, stop)
        found = sorted(await watching)
        done.set()
    emitter.close()
    return found[int(len(found) * 0.99)]


def rows() -> list[dict[str, Any]]:
    """One row."""
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
    with tempfile.TemporaryDirectory() as text:
        place = Path(text)
        with sidecar(place) as (_, found, _began):
            p99 = uvloop.run(measure(place, found["metrics"]))
    return [row("freshness_on_metrics_p99", p99 * 1000, None, "ms", 100)]


if __name__ == "__main__":
    print(json.dumps(rows(), indent=1))
