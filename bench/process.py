"""The sidecar as a process: start to ready, memory at rest and at 50,000 events a second: `python -m bench.process`.

The baseline of the memory is what people run today for the same: `bao agent` and the OpenTelemetry Collector, both
idle, both configured as their benches do. Resident bytes as the kernel counts them (RSS).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import uvloop

from bench.ingest import BATCH_EVENTS, define, group, message
from telemetry_contract.v1 import telemetry_pb2 as pb

SIDECAR = """\
[telemetry]
socket = "{place}/run/telemetry.sock"
journal_directory = "{place}/journal"
[otlp]
endpoint = ""
[health]
address = "127.0.0.1:0"
[metrics]
address = "127.0.0.1:0"
[console]
address = "127.0.0.1:0"
"""
EVENTS_PER_S = 50_000
LOAD_S = 8.0
MIB = 1 << 20
COLLECTOR = Path(".cache/otelcol/otelcol-broker")


@contextlib.contextmanager
def sidecar(place: Path) -> Iterator[tuple[psutil.Process, dict[str, Any], float]]:
    """A running sidecar: its process, where it listens, when it was started (monotonic seconds)."""
    config = place / "sidecar.toml"
    config.write_text(SIDECAR.format(place=place))
    began = time.monotonic()
    command = [sys.executable, "-m", "sidecar", "--config", str(config)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert child.stdout is not None
        found = next(line for line in map(json.loads, child.stdout) if line.get("event") == "listening")
        yield psutil.Process(child.pid), found, began
    finally:
        child.kill()
        child.wait()


def ready_after_s(address: str, began: float) -> float:
    """Seconds from the start to the first `/startupz` that passes."""
    while True:
        with (
            contextlib.suppress(urllib.error.URLError, OSError),
            urllib.request.urlopen(f"http://{address}/startupz", timeout=1),
        ):
            return time.monotonic() - began
        time.sleep(0.005)


async def load(socket: Path, process: psutil.Process) -> int:
    """Sends at the rate, whatever is acknowledged; the most resident bytes that were seen."""
    from grpc import aio  # noqa: PLC0415 - after the children: gRPC and fork do not mix

    bodies = [pb.Batch(count=BATCH_EVENTS, groups=[group(number)]).SerializeToString() for number in range(8)]
    most = 0
    async with aio.insecure_channel(f"unix:{socket}") as channel:
        call: Any = channel.stream_stream("/telemetry.v1.TelemetryService/Publish")()
        hello = pb.Hello(protocol_version=1, producer_id="bench", session_id="s", first_sequence=1)
        await call.write(pb.PublishRequest(hello=hello).SerializeToString())
        await call.read()
        await call.write(pb.PublishRequest(define=define(log=False)).SerializeToString())

        async def drain() -> None:
            while await call.read():
                continue

        reader = asyncio.ensure_future(drain())
        loop = asyncio.get_running_loop()
        due = end = loop.time()
        end += LOAD_S
        sent = 0
        while due < end:
            await call.write(message(bodies[sent % 8], sent * BATCH_EVENTS + 1))
            sent += 1
            due += BATCH_EVENTS / EVENTS_PER_S
            most = max(most, process.memory_info().rss) if sent % 10 == 0 else most
            await asyncio.sleep(max(0.0, due - loop.time()))
        reader.cancel()
    return most


def collector_rss(place: Path) -> int | None:
    """Resident bytes of an idle collector; None where it is not built (`make otelcol`)."""
    if not COLLECTOR.exists():
        return None
    config = place / "collector.yaml"
    config.write_text(
        "receivers: {otlp: {protocols: {grpc: {endpoint: '127.0.0.1:0'}}}}\n"
        "exporters: {otlp_grpc: {endpoint: '127.0.0.1:1', tls: {insecure: true}}}\n"
        "service: {telemetry: {metrics: {level: none}}, pipelines:"
        " {logs: {receivers: [otlp], exporters: [otlp_grpc]}}}\n"
    )
    return _rss_after([str(COLLECTOR.resolve()), "--config", str(config)], 3.0)


def agent_rss(place: Path) -> int:
    """Resident bytes of a `bao agent` that waits for its server."""
    config = place / "agent.hcl"
    (place / "role-id").write_text("x")
    (place / "secret-id").write_text("x")
    config.write_text(
        'vault { address = "http://127.0.0.1:1" }\nauto_auth {\nmethod "approle" { config = {\n'
        f'role_id_file_path = "{place}/role-id"\nsecret_id_file_path = "{place}/secret-id" }} }}\n'
        f'sink "file" {{ config = {{ path = "{place}/token" }} }}\n}}\n'
    )
    return _rss_after([str(Path(sys.executable).with_name("bao")), "agent", f"-config={config}"], 3.0)


def _rss_after(command: list[str], seconds: float) -> int:
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        time.sleep(seconds)
        if child.poll() is not None:
            raise RuntimeError(f"{command[0]} ended with {child.returncode}")
        return int(psutil.Process(child.pid).memory_info().rss)
    finally:
        child.kill()
        child.wait()


def row(
    name: str, ours: float, baseline: float | None, unit: str, goal: float, *, by_ratio: bool = False
) -> dict[str, Any]:
    """A line of the table."""
    ratio = round(ours / baseline, 3) if baseline else None
    measured = ratio if by_ratio else ours
    return {
        "name": name,
        "ours": round(ours, 3),
        "baseline": round(baseline, 3) if baseline else None,
        "unit": unit,
        "ratio": ratio,
        "goal": goal,
        "holds": None if measured is None else measured <= goal,
    }


def rows() -> list[dict[str, Any]]:
    """Start, and memory at rest and under load."""
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
    with tempfile.TemporaryDirectory() as text:
        place = Path(text)
        collector, agent = collector_rss(place), agent_rss(place)
        with sidecar(place) as (process, found, began):
            ready_s = ready_after_s(found["probes"], began)
            time.sleep(3.0)
            idle = process.memory_info().rss
            loaded = uvloop.run(load(place / "run" / "telemetry.sock", process))
    both = (collector + agent) / MIB if collector is not None else None
    return [
        row("start_to_ready", ready_s, None, "s", 1.0),
        row("rss_idle", idle / MIB, None, "MiB", 64),
        row("rss_at_50k_events_per_s", loaded / MIB, None, "MiB", 128),
        row("rss_against_agent_and_collector", idle / MIB, both, "MiB", 0.6, by_ratio=True),
    ]


if __name__ == "__main__":
    print(json.dumps(rows(), indent=1))
