"""The whole stack on one machine: starts in order, says where to look, drains in order."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from devstack import configuration, vault
from devstack.process import Child, ProcessError, start, wait_event
from devstack.settings import Place, write

Say = Callable[[str], None]
START_DEADLINE_S = 30.0
DRAIN_S = {"broker": 20.0, "sidecar": 15.0, "collector": 5.0, "simulator": 5.0, "vault": 5.0}
"""In the order of the drain: who still has something to say goes first."""


@dataclass(slots=True)
class Stack:
    """The processes of a stack. `start` brings all up or raises; `stop` always ends what runs."""

    place: Place
    say: Say
    seed: int = 1
    preferred: Mapping[str, int] = field(default_factory=lambda: dict(configuration.PORTS))
    otlp_endpoint: str = ""
    """Receiver of the sidecar's exports; empty starts a receiver that writes to `records_file`."""
    api_key: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    children: dict[str, Child] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)
    vault: vault.Vault | None = None
    ready_after_s: float = 0.0

    @property
    def records_file(self) -> Path:
        """File to which the stack's own receiver writes log records."""
        return self.place.state / "otlp-logs.jsonl"

    async def start(self) -> None:
        """Starts vault, simulator, sidecar and broker, and waits until the pod is ready.

        Raises:
            ProcessError: one of them did not come up; its log's end is in the text.
        """
        began = time.monotonic()
        await self.start_surroundings()
        await self.start_sidecar()
        await self._start_broker()
        self.say("next       /readyz passes")
        await self.wait_ready(START_DEADLINE_S)
        self.ready_after_s = time.monotonic() - began

    async def start_surroundings(self) -> None:
        """Starts vault, simulator and the receiver only.

        Raises:
            ProcessError: one of them did not come up; its log's end is in the text.
        """
        self.place.make()
        token = secrets.token_urlsafe(24)
        await asyncio.gather(self._start_vault(token), self._start_simulator(token), self._start_collector())

    async def stop(self) -> dict[str, int]:
        """Drains broker, then sidecar, then the rest; the exit status of each."""
        ended = {}
        for name, grace_s in DRAIN_S.items():
            if (child := self.children.get(name)) is not None:
                began = time.monotonic()
                ended[name] = await child.stop(grace_s)
                self.say(f"{name} ended with {ended[name]} after {time.monotonic() - began:.1f} s")
        return ended

    async def restart_broker(self, grace_s: float = START_DEADLINE_S) -> int:
        """Drains the broker and starts it again; the exit status of the old one.

        Raises:
            ProcessError: it did not come up; its log's end is in the text.
        """
        status = await self.children["broker"].stop(grace_s)
        await self._start_broker()
        await self.wait_ready(START_DEADLINE_S)
        return status

    def check(self) -> None:
        """Raises ProcessError where a process has exited by itself."""
        for child in self.children.values():
            child.check()

    async def wait_ready(self, deadline_s: float) -> None:
        """Waits until `/readyz` answers 200.

        Raises:
            ProcessError: it does not in time; the text has the probe's reasons.
        """
        end = time.monotonic() + deadline_s
        reason = ""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session:
            while time.monotonic() < end:
                self.check()
                try:
                    async with session.get(f"{self.addresses['probes']}/readyz?verbose") as answer:
                        if answer.status == 200:  # noqa: PLR2004 - HTTP's OK
                            return
                        reason = await answer.text()
                except aiohttp.ClientError as error:
                    reason = str(error)
                await asyncio.sleep(0.05)
        raise ProcessError(f"not ready after {deadline_s:.0f} s: {reason}\n{self.children['broker'].last_lines()}")

    async def _start_vault(self, token: str) -> None:
        began = time.monotonic()
        port = self.port("vault")
        self.children["vault"], self.vault = await vault.start_vault(port, self.place.state, self.environ())
        await vault.set_up(self.vault, self.place.vault, self._secrets(token))
        self.addresses["vault"] = self.vault.address
        self.say(f"vault      {self.vault.address}  ({time.monotonic() - began:.1f} s)")

    def _secrets(self, token: str) -> dict[str, dict[str, Any]]:
        return {
            "venue": {"token": token, "account_id": configuration.ACCOUNT},
            "api-keys": vault.api_keys({"flow": (self.api_key, ["read", "trade", "admin"])}),
        }

    async def _start_simulator(self, token: str) -> None:
        token_file = self.place.state / "simulator-token"
        token_file.touch(mode=0o600)
        token_file.write_text(token)
        command = configuration.simulator_command(self.port("simulator"), self.seed, token_file)
        found = await self._start("simulator", command, {})
        self.addresses["simulator"] = f"http://{found['rest']}"
        self.addresses["simulator_stream"] = f"http://{found['stream']}"

    async def _start_collector(self) -> None:
        if not self.otlp_endpoint:
            found = await self._start("collector", ["-m", "devstack.collector", str(self.records_file)], {})
            self.otlp_endpoint = f"http://{found['otlp']}"

    async def start_sidecar(self) -> None:
        """Starts the sidecar, again where it ended.

        Raises:
            ProcessError: it did not come up; its log's end is in the text.
        """
        table = configuration.sidecar(self.place, self.addresses, self.otlp_endpoint, self.port)
        path = write(self.place.state / "sidecar.toml", table)
        found = await self._start("sidecar", ["-m", "sidecar", "--config", str(path)], {})
        self.addresses.update({name: f"http://{found[name]}" for name in ("probes", "metrics", "console")})

    async def _start_broker(self) -> None:
        table = configuration.broker(self.place, self.addresses, self.port)
        path = write(self.place.state / "broker.toml", table)
        found = await self._start("broker", ["-m", "broker", "--config", str(path)], {})
        self.addresses["api"] = f"http://{found['api']}"

    async def _start(self, name: str, arguments: list[str], environ: Mapping[str, str]) -> dict[str, Any]:
        began = time.monotonic()
        child = await start(
            name, [sys.executable, *arguments], directory=self.place.state, environ={**self.environ(), **environ}
        )
        self.children[name] = child
        found = await wait_event(child, "listening", START_DEADLINE_S)
        self.say(f"{name:<10} pid {child.process.pid}  ({time.monotonic() - began:.1f} s)")
        return found

    def environ(self) -> dict[str, str]:
        """The part of our environment that a process of the stack gets."""
        kept = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV")
        return {name: os.environ[name] for name in kept if name in os.environ}

    def port(self, name: str) -> int:
        """The port that `name` is known by, or a free one where somebody else holds it."""
        wanted = self.preferred.get(name, 0)
        if wanted and not _is_free(wanted):
            self.say(f"port {wanted} is taken: {name} gets another one")
            wanted = 0
        return wanted or _free_port()


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
