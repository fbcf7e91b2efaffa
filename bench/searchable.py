"""Time until a log record can be found: `python -m bench.searchable [samples]`.

From the moment it is in the sidecar's journal to the moment a search in Elasticsearch finds it, through the exporter
and the collector with the configuration that ships. 200 records a second go along beside the ones that are timed.
Needs what `make test-deps` installs.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter, time_ns
from typing import Any

import uvloop

from sidecar.export.settings import OtlpSettings
from tests.integration.telemetry.servers import Engine, collector, engine, fetch
from tests.unit.sidecar.fake_journal import MemoryJournal, exporter_over, orders

RECORDS_PER_S = 200
GOAL_S = 2.5


class _Journal(MemoryJournal):
    """One that forgets what is exported: a long run must not search it from the start."""

    def advance(self, to: Any, **counts: Any) -> None:
        super().advance(to, **counts)
        self.batches = [batch for batch in self.batches if batch.end > to]


async def until_found(search: Engine, order: int) -> float:
    """Seconds until a search finds the record of an order."""
    began_s = perf_counter()
    url = f"{search.url}/logs-broker.otel-bench/_count?q=attributes.order_id:{order}"
    while not (await asyncio.to_thread(fetch, url) or {"count": 0})["count"]:  # noqa: ASYNC110 - a search has no event
        await asyncio.sleep(0.01)
    return perf_counter() - began_s


async def measure(samples: int, place: Path) -> list[float]:
    """Seconds of each sample."""
    times: list[float] = []
    with engine(place) as search, collector(place, search.url) as pipe:
        search.install_templates()
        journal, stop = _Journal(), asyncio.Event()
        otlp = OtlpSettings(endpoint=pipe.endpoint, namespace="bench", metrics=False)
        exporter = exporter_over(journal, otlp, resource={"service.name": "bench"}, clock=time_ns, chance=random.random)
        last = 0

        async def load() -> None:
            nonlocal last
            while not stop.is_set():
                journal.put(orders(last + 1, RECORDS_PER_S // 20, end=last + 1))
                last += RECORDS_PER_S // 20
                await asyncio.sleep(0.05)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(exporter.run(stop))
            tasks.create_task(load())
            await asyncio.sleep(3)
            for _ in range(samples):
                times.append(await until_found(search, last))
                await asyncio.sleep(random.random() / 2)
            stop.set()
    return times


def rows(samples: int = 50) -> list[dict[str, Any]]:
    """The 99th percentile."""
    with tempfile.TemporaryDirectory() as place:
        ordered = sorted(uvloop.run(measure(samples, Path(place))))
    ours = round(ordered[min(int(len(ordered) * 0.99), len(ordered) - 1)], 2)
    return [
        {
            "name": "freshness_searchable_p99", "ours": ours, "baseline": None, "unit": "s", "ratio": None,
            "goal": GOAL_S, "holds": ours <= GOAL_S,
        }
    ]  # fmt: skip


def main(arguments: Sequence[str]) -> None:
    """Measures."""
    for line in rows(*map(int, arguments)):
        print(json.dumps(line))


if __name__ == "__main__":
    main(sys.argv[1:])
