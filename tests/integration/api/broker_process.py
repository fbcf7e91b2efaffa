"""A broker and a simulated venue as processes of their own, with a secret volume that the test publishes to."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import tomli_w

from tests.unit.broker.secret_volume import ACCOUNT, KEYS, publish, usual_files

ROOT = Path(__file__).resolve().parents[3]
DEADLINE_S = 30.0


@dataclass(slots=True)
class Process:
    """A child with its JSON lines."""

    child: asyncio.subprocess.Process
    lines: list[dict[str, Any]] = field(default_factory=list)
    other: list[str] = field(default_factory=list)
    reading: asyncio.Task[None] | None = None

    async def read(self) -> None:
        assert self.child.stdout is not None
        async for line in self.child.stdout:
            try:
                self.lines.append(json.loads(line))
            except ValueError:
                self.other.append(line.decode())

    async def event(self, name: str) -> dict[str, Any]:
        end = time.monotonic() + DEADLINE_S
        while time.monotonic() < end:
            for line in self.lines:
                if line.get("event") == name:
                    return line
            assert self.child.returncode is None, (self.other, self.lines[-5:])
            await asyncio.sleep(0.01)
        raise AssertionError(f"no {name}: {self.other} {self.lines[-5:]}")

    async def end(self, number: int = signal.SIGTERM) -> int:
        if self.child.returncode is None:
            self.child.send_signal(number)
        async with asyncio.timeout(DEADLINE_S):
            await self.child.wait()
            if self.reading is not None:
                await self.reading
        return int(self.child.returncode or 0)


async def start(*arguments: str, by: Sequence[str] = ()) -> Process:
    """Starts Python with `arguments`, as the last words of the command `by` where it is given."""
    child = await asyncio.create_subprocess_exec(
        *by,
        sys.executable,
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}:{ROOT / 'proto'}"},
        limit=1 << 22,
    )
    process = Process(child)
    process.reading = asyncio.create_task(process.read())
    return process


@dataclass(slots=True)
class Stand:
    """Simulator, broker, volume. The venue's token is `token-1`."""

    place: Path
    simulator: Process
    venue: dict[str, Any]
    session: aiohttp.ClientSession
    broker: Process | None = None
    url: str = ""
    changed: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Sections of the configuration to lay over the usual one."""
    by: Sequence[str] = ()
    """Command that starts the broker."""

    @property
    def secrets(self) -> Path:
        return self.place / "secrets"

    @property
    def rest(self) -> str:
        return f"http://{self.venue['rest']}"

    def configuration(self) -> Path:
        table: dict[str, Any] = {
            "api": {"host": "127.0.0.1", "port": 0, "tls": "off"},
            "venue": {"account": ACCOUNT, "rest_url": self.rest, "stream_url": f"http://{self.venue['stream']}"},
            "orders": {"directory": str(self.place / "orders")},
            "telemetry": {
                "socket": str(self.place / "telemetry.sock"),
                "spool_directory": str(self.place / "spool"),
                "drain_s": 0.2,
            },
            "history": {"url": f"sqlite+aiosqlite:///{self.place / 'history.sqlite'}"},
            "credentials": {"directory": str(self.secrets), "poll_s": 0.1, "retry_s": 0.2},
        }
        for section, keys in self.changed.items():
            table[section] = table.get(section, {}) | keys
        path = self.place / "broker.toml"
        path.write_text(tomli_w.dumps(table))
        return path

    async def start_broker(self) -> Process:
        self.broker = await start("-m", "broker", "--config", str(self.configuration()), by=self.by)
        listening = await self.broker.event("listening")
        scheme = "https" if listening["tls"] == "required" else "http"
        self.url = f"{scheme}://{listening['api']}"
        return self.broker

    async def start_ready(self) -> Process:
        publish(self.secrets, 1, usual_files())
        broker = await self.start_broker()
        await broker.event("ready")
        return broker

    async def call(self, method: str, path: str, *, key: str = "boss", **options: Any) -> tuple[int, Any]:
        headers = {"X-API-Key": KEYS[key], **options.pop("headers", {})}
        async with self.session.request(method, self.url + path, headers=headers, **options) as answer:
            return answer.status, await answer.json(content_type=None)

    async def place_order(self, **changed: Any) -> tuple[int, Any]:
        body = {"instrument": "EUR_USD", "side": "buy", "type": "market", "units": "100", **changed}
        return await self.call("POST", "/v1/orders", json=body)

    async def fault(self, **rule: Any) -> None:
        async with self.session.post(f"{self.rest}/simulator/faults", json=rule) as answer:
            assert answer.status == 200, await answer.text()

    async def condition(self, name: str) -> dict[str, Any]:
        _, body = await self.call("GET", "/v1/admin/conditions")
        return next(item for item in body["conditions"] if item["name"] == name)

    async def until(self, name: str, *, ok: bool) -> dict[str, Any]:
        """Waits until a condition is so."""
        async with asyncio.timeout(DEADLINE_S):
            while (found := await self.condition(name))["ok"] is not ok:
                await asyncio.sleep(0.02)
        return found


@asynccontextmanager
async def standing(place: Path, *further: str) -> AsyncIterator[Stand]:
    """Starts the venue, with further accounts; the broker is the test's to start. Ends both."""
    token = place / "token"
    token.write_text("token-1")
    accounts = [word for account in (ACCOUNT, *further) for word in ("--account", account)]
    simulator = await start(
        "-m", "broker.simulator", "--port", "0", "--seed", "1", "--token-file", str(token), *accounts
    )
    (place / "secrets").mkdir()
    timeout = aiohttp.ClientTimeout(total=DEADLINE_S)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        stand = Stand(place, simulator, await simulator.event("listening"), session)
        try:
            yield stand
        finally:
            if stand.broker is not None:
                await stand.broker.end(signal.SIGKILL)
            await simulator.end()
