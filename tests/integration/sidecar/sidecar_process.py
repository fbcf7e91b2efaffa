"""A real sidecar process for a test, and a producer that speaks the contract to it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import tomli_w

from telemetry_contract.v1 import telemetry_pb2 as pb
from telemetry_contract.v1 import telemetry_pb2_grpc

START_S = 30.0
END_S = 30.0


def settings(directory: Path) -> dict[str, Any]:
    """The least that a sidecar on a busy machine needs to be told: free ports, its own directories, no secrets."""
    return {
        "telemetry": {"socket": str(directory / "t" / "s"), "journal_directory": str(directory / "j")},
        # A producer of a test sends one heartbeat and no more, on a machine that may have other things to do.
        "health": {"address": "127.0.0.1:0", "interval_s": 0.05, "stale_s": 60.0, "heartbeat_budget_s": 600.0},
        "metrics": {"address": "127.0.0.1:0"},
        "console": {"address": "127.0.0.1:0", "interval_s": 0.1},
    }


@dataclass
class Process:
    """A sidecar; `said` are its log lines, `complaints` what it wrote to standard error."""

    child: asyncio.subprocess.Process
    config: Path
    said: list[dict[str, Any]] = field(default_factory=list)
    complaints: str = ""

    @property
    def listening(self) -> dict[str, Any]:
        return next(line for line in self.said if line["event"] == "listening")

    def url(self, name: str, path: str = "") -> str:
        return f"http://{self.listening[name]}{path}"

    async def get(self, name: str, path: str) -> tuple[int, str]:
        async with aiohttp.ClientSession() as session, session.get(self.url(name, path)) as answer:
            return answer.status, await answer.text()

    async def status(self) -> dict[str, Any]:
        return dict(json.loads((await self.get("console", "/api/status"))[1]))

    async def until(self, event: str) -> dict[str, Any]:
        """The first log line of that event."""
        end = asyncio.get_running_loop().time() + START_S
        while not (found := [line for line in self.said if line["event"] == event]):
            assert not self.complaints, self.complaints
            assert asyncio.get_running_loop().time() < end, f"no {event} after {START_S} s: {self.said}"
            await asyncio.sleep(0.01)
        return found[0]

    async def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Signals it and waits; its exit code."""
        if self.child.returncode is None:
            self.child.send_signal(number)
        return await asyncio.wait_for(self.child.wait(), END_S)


@asynccontextmanager
async def short_directory() -> AsyncIterator[Path]:
    """A directory with a short name: a Unix socket's path has at most 107 bytes (unix(7))."""
    directory = Path(tempfile.mkdtemp(prefix="sc-"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def write(path: Path, table: Mapping[str, Any]) -> Path:
    path.write_text(tomli_w.dumps(table))
    return path


@asynccontextmanager
async def running(
    table: Mapping[str, Any],
    directory: Path,
    *,
    environ: Mapping[str, str] | None = None,
    wait: bool = True,
    by: Sequence[str] = (),
) -> AsyncIterator[Process]:
    """Starts a sidecar, by the command `by` where one is given; with `wait` it listens when the block begins.

    It is ended with the block.
    """
    config = write(directory / "sidecar.toml", table)
    child = await asyncio.create_subprocess_exec(
        *by,
        sys.executable,
        "-m",
        "sidecar",
        "--config",
        str(config),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"], **(environ or {})},
        limit=8 << 20,
    )
    process = Process(child, config)
    readers = [asyncio.create_task(_hear(process)), asyncio.create_task(_complain(process))]
    try:
        if wait:
            await process.until("listening")
        yield process
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
        await asyncio.gather(*readers)


async def command(*arguments: str, environ: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    """Exit code, output and complaints of one run of the command."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "sidecar",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"], **(environ or {})},
    )
    out, complaint = await asyncio.wait_for(child.communicate(), 120)
    return child.returncode or 0, out.decode(), complaint.decode()


async def _hear(process: Process) -> None:
    assert process.child.stdout is not None
    async for line in process.child.stdout:
        process.said.append(json.loads(line))


async def _complain(process: Process) -> None:
    assert process.child.stderr is not None
    process.complaints = (await process.child.stderr.read()).decode()


@dataclass
class Producer:
    """One stream that says Hello, then what the test wants."""

    call: Any
    sequence: int = 1

    async def say(self, **message: Any) -> None:
        await self.call.write(pb.PublishRequest(**message))

    async def heartbeat(self, *conditions: pb.Condition) -> None:
        await self.say(heartbeat=pb.Heartbeat(conditions=conditions, ledger=pb.ProducerLedger()))

    async def define(self) -> None:
        """An event type with one label, one counter and a log record."""
        label = pb.Field(name="kind", type=pb.FIELD_TYPE_STRING, role=pb.FIELD_ROLE_LABEL)
        counter = pb.Instrument(name="test.events", kind=pb.INSTRUMENT_KIND_COUNTER, unit="{event}", labels=["kind"])
        log = pb.LogTemplate(severity=pb.SEVERITY_INFO, body="it happened")
        await self.say(define=pb.Define(event_id=1, name="test.event", fields=[label], instruments=[counter], log=log))

    async def emit(self, count: int) -> int:
        """Sends events and waits until they are durable; the sequence reached."""
        group = pb.Group(
            event_id=1,
            count=count,
            base_time_unix_nano=1_700_000_000_000_000_000,
            time_offsets_nano=[0] * count,
            columns=[pb.Column(values=["x"], indexes=[0] * count)],
        )
        await self.say(batch=pb.Batch(first_sequence=self.sequence, count=count, groups=[group]))
        self.sequence += count
        while (answer := await self.call.read()).ack.durable_through < self.sequence - 1:
            assert not answer.ack.rejected, answer
        return self.sequence - 1


@asynccontextmanager
async def producer(directory: Path, producer_id: str = "broker") -> AsyncIterator[Producer]:
    async with grpc.aio.insecure_channel(f"unix:{directory / 't' / 's'}") as channel:
        call = telemetry_pb2_grpc.TelemetryServiceStub(channel).Publish()
        hello = pb.Hello(protocol_version=1, producer_id=producer_id, session_id="s1", first_sequence=1)
        await call.write(pb.PublishRequest(hello=hello))
        answer = await call.read()
        assert isinstance(answer, pb.PublishResponse)
        assert answer.HasField("welcome")
        yield Producer(call)
        call.cancel()
