"""CPU for each event beside the Go collector: `python -m bench.collector_cpu [seconds]`.

Ours takes order events on its stream, keeps them so that a kill loses none, counts them, and exports a log record
each by OTLP. The baseline is the real collector (otel-collector/build.sh makes it), which receives the very requests
that ours sent, and exports them to the same sink by OTLP. It is measured three times: as it comes (a queue in memory
and no metrics, which is less than ours does), with the queue that survives a kill, and with both metrics made too.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import uvloop
from grpc import aio

from bench.ingest import BATCH_EVENTS, BOUNDS, run_once, sink

COLLECTOR = Path(__file__).parents[1] / ".cache" / "otelcol" / "otelcol-broker"
EXPORT = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
IN_FLIGHT = 4
VARIANTS = (
    ("sidecar_cpu_per_event", False, False),
    ("sidecar_cpu_per_event_queue_survives_a_kill", True, False),
    ("sidecar_cpu_per_event_same_work", True, True),
)


METRICS = {
    "logs": [
        {
            "name": "broker.orders",
            "description": "Orders by status",
            "attributes": [{"key": "status"}],
            "sum": {"value": "1"},
        },
        {
            "name": "broker.order.duration",
            "description": "Seconds to a status",
            "unit": "s",
            "attributes": [{"key": "status"}, {"key": "order_type"}],
            "histogram": {"buckets": BOUNDS, "count": "1", "value": 'attributes["duration_s"]'},
        },
    ]
}


def configuration(port: int, endpoint: str, storage: Path | None, *, metrics: bool) -> dict[str, Any]:
    """OTLP in, OTLP out."""
    queue: dict[str, Any] = {"enabled": True, "queue_size": 10_000, "block_on_overflow": True}
    if storage is not None:
        queue["storage"] = "file_storage"
    exporter = {
        "endpoint": endpoint.removeprefix("http://"),
        "tls": {"insecure": True},
        "compression": "none",
        "sending_queue": queue,
    }
    pipelines: dict[str, Any] = {"logs": {"receivers": ["otlp"], "exporters": ["otlp_grpc"]}}
    made: dict[str, Any] = {
        "receivers": {"otlp": {"protocols": {"grpc": {"endpoint": f"127.0.0.1:{port}"}}}},
        "exporters": {"otlp_grpc": exporter},
        "service": {"telemetry": {"metrics": {"level": "none"}, "logs": {"level": "error"}}, "pipelines": pipelines},
    }
    if storage is not None:
        made["extensions"] = {"file_storage": {"directory": str(storage)}}
        made["service"]["extensions"] = ["file_storage"]
    if metrics:
        made["connectors"] = {"signaltometrics": METRICS}
        made["exporters"]["prometheus"] = {"endpoint": "127.0.0.1:0"}
        pipelines["logs"]["exporters"].append("signaltometrics")
        pipelines["metrics"] = {"receivers": ["signaltometrics"], "exporters": ["prometheus"]}
    return made


@asynccontextmanager
async def collector(
    directory: Path, endpoint: str, *, persistent: bool, metrics: bool
) -> AsyncIterator[tuple[str, psutil.Process]]:
    """A running collector on the first core: its address and process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    storage = directory / "queue" if persistent else None
    if storage is not None:
        storage.mkdir()
    file = directory / "config.json"  # JSON is YAML
    file.write_text(json.dumps(configuration(port, endpoint, storage, metrics=metrics)))
    command = ["taskset", "-c", "0", str(COLLECTOR), "--config", str(file)]
    child = await asyncio.create_subprocess_exec(*command, env={"GOMAXPROCS": "1"})
    try:
        async with aio.insecure_channel(f"127.0.0.1:{port}") as channel, asyncio.timeout(20):
            await channel.channel_ready()
        yield f"127.0.0.1:{port}", psutil.Process(child.pid)
    finally:
        child.terminate()
        await child.wait()


async def collector_cpu_us(requests: Sequence[bytes], batches: int, *, persistent: bool, metrics: bool) -> float:
    """Microseconds of the collector's CPU for each record."""
    taken: list[int] = [0]
    with tempfile.TemporaryDirectory() as place:
        async with (
            sink(taken=taken) as endpoint,
            collector(Path(place), endpoint, persistent=persistent, metrics=metrics) as (address, process),
        ):
            before = sum(process.cpu_times()[:2])
            await feed(address, requests, batches)
            wanted = sum(len(requests[number % len(requests)]) for number in range(batches))
            while taken[0] < wanted * 0.98:  # noqa: ASYNC110 - what it sends may be a little shorter than what it got
                await asyncio.sleep(0.01)
            return (sum(process.cpu_times()[:2]) - before) / (batches * BATCH_EVENTS) * 1e6


async def feed(address: str, requests: Sequence[bytes], batches: int) -> None:
    """Sends the requests over and over, a few at a time."""
    async with aio.insecure_channel(address) as channel:
        export: Any = channel.unary_unary(EXPORT)
        numbers = iter(range(batches))

        async def some() -> None:
            for number in numbers:
                await export(requests[number % len(requests)])

        async with asyncio.TaskGroup() as tasks:
            for _ in range(IN_FLIGHT):
                tasks.create_task(some())


async def measure(seconds: float) -> list[dict[str, Any]]:
    """The rows of the table."""
    batches = int(seconds * 50_000 / BATCH_EVENTS)
    requests: list[bytes] = []
    ours = await run_once(batches, log=True, kept=requests)
    ours_us = ours["cpu_s"] / (batches * BATCH_EVENTS) * 1e6
    found = []
    for name, persistent, metrics in VARIANTS:
        baseline = await collector_cpu_us(requests, batches, persistent=persistent, metrics=metrics)
        ratio = ours_us / baseline
        found.append(
            {
                "name": name, "ours": round(ours_us, 2), "baseline": round(baseline, 2), "unit": "us/event",
                "ratio": round(ratio, 3), "goal": 0.5, "holds": ratio <= 0.5,
            }
        )  # fmt: skip
    return found


def rows(seconds: float = 10.0) -> list[dict[str, Any]]:
    """CPU for each event, ours and the collector's."""
    if not COLLECTOR.exists():
        raise FileNotFoundError(f"{COLLECTOR}: make otelcol builds it")
    return uvloop.run(measure(seconds))


if __name__ == "__main__":
    for line in rows(*map(float, sys.argv[1:])):
        print(json.dumps(line))
