"""A real sidecar and a load of events, which a test may kill and start again."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from devstack.process import Child, wait_event

ROOT = Path(__file__).parents[3]
LOAD = Path(__file__).with_name("load.py")
SIDECAR = """
[telemetry]
socket = "{place}/run/telemetry.sock"
journal_directory = "{place}/journal"
checkpoint_interval_s = 0.3
segment_bytes = 262144
{telemetry}
[otlp]
endpoint = "{endpoint}"
metrics = false
[health]
address = "127.0.0.1:0"
[metrics]
address = "127.0.0.1:0"
[console]
address = "127.0.0.1:0"
"""


@dataclass
class LoadNotes:
    """Record of the load: numbers begun, numbers done."""

    begun: set[int]
    done: set[int]


@dataclass
class TelemetryProcesses:
    """Processes and files of one test, under `place`. `async with` ends what still runs."""

    place: Path
    endpoint: str = ""
    rate: float = 2000.0
    telemetry: str = ""
    environ: dict[str, str] = field(default_factory=dict)
    """Variables in the environment of both processes beside ours."""
    starts: Counter[str] = field(default_factory=Counter)
    sidecar: Child | None = None
    load: Child | None = None
    metrics_address: str = ""
    console_address: str = ""

    @property
    def _environ(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'proto'}", **self.environ}

    async def _start(self, name: str, arguments: list[str]) -> tuple[Child, dict[str, Any]]:
        self.starts[name] += 1
        log = self.place / f"{name}-{self.starts[name]}.log"
        with log.open("wb") as out:
            # Without preexec_fn the interpreter uses vfork(2): gRPC's handlers of fork(2) crash a child now and then.
            process = await asyncio.create_subprocess_exec(
                sys.executable, *arguments, stdout=out, stderr=out, env=self._environ, start_new_session=True
            )
        child = Child(log.stem, process, log)
        return child, await wait_event(child, "listening", 20)

    @property
    def config(self) -> Path:
        """The sidecar's configuration."""
        return self.place / "sidecar.toml"

    def write_config(self) -> None:
        """Writes the sidecar's configuration."""
        self.config.write_text(SIDECAR.format(place=self.place, endpoint=self.endpoint, telemetry=self.telemetry))

    async def start_sidecar(self) -> None:
        """Starts the sidecar and waits until it listens."""
        self.write_config()
        self.sidecar, said = await self._start("sidecar", ["-m", "sidecar", "--config", str(self.config)])
        self.metrics_address, self.console_address = said["metrics"], said["console"]

    async def start_load(self) -> None:
        """Starts the load, with numbers that nobody had before."""
        first = (self.starts["load"] + 1) * 10_000_000
        arguments = [str(LOAD), "--socket", f"{self.place}/run/telemetry.sock", "--spool", f"{self.place}/spool"]
        arguments += ["--notes", f"{self.place}/notes", "--first", str(first), "--rate", str(self.rate)]
        self.load, _ = await self._start("load", arguments)

    async def kill(self, name: str) -> None:
        """SIGKILL, then the same again."""
        child: Child = getattr(self, name)
        child.check()
        child.process.kill()
        await child.process.wait()
        await getattr(self, f"start_{name}")()

    def notes(self) -> LoadNotes:
        """Numbers begun and done so far."""
        lines = (self.place / "notes").read_text().split()
        numbers = {mark: {int(line[1:]) for line in lines if line[0] == mark} for mark in "sd"}
        return LoadNotes(numbers["s"], numbers["d"])

    async def queued(self) -> int:
        """Log records that the sidecar has not exported."""
        url = f"http://{self.console_address}/api/status"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            status = await answer.json()
        return int(status["ledger"]["logs"]["queued"])

    async def samples(self) -> dict[tuple[str, str], float]:
        """Samples of the load on /metrics: (name, status, and bound of a bucket behind a slash) → value."""
        async with aiohttp.ClientSession() as session, session.get(f"http://{self.metrics_address}/metrics") as answer:
            text = await answer.text()
        return {
            (sample.name, "/".join(filter(None, (sample.labels["status"], sample.labels.get("le"))))): sample.value
            for family in text_string_to_metric_families(text)
            if family.name in {"broker_orders", "broker_order_duration_seconds"}
            for sample in family.samples
            if sample.labels.get("producer") == "load"
        }

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Ends what still runs."""
        for child in (self.load, self.sidecar):
            if child is not None and not child.ended:
                child.process.kill()
                await child.process.wait()
