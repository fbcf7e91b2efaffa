"""A pod in a storm: broker and sidecar with faults of their machine, started again when they end, and watched."""

from __future__ import annotations

import asyncio
import resource
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import aiohttp

from devstack import configuration
from devstack.process import ProcessError
from devstack.settings import Place, write
from devstack.stack import Stack
from tests.e2e.chaos.libc_faults import LibcFaults, compile_library
from tests.e2e.chaos.memory_group import is_alive, little_memory
from tests.ports import free_port

RESTART_PAUSE_S = 0.5
LIVEZ_PAUSE_S = 0.25
OURS = ("broker", "sidecar")


class StormStack(Stack):
    """The local stack, with the fault library in broker and sidecar, and limits that a storm does not meet."""

    faults: Mapping[str, LibcFaults]

    async def start_broker(self) -> None:
        """Starts the broker, again where it ended.

        Raises:
            ProcessError: it did not come up; its log's end is in the text.
        """
        table = configuration.broker(self.place, self.addresses, self.port)
        table["api"] |= {"requests_per_s": 1000, "request_burst": 2000}
        # Memory that does not depend on the length of the run: the history has what is older.
        table["orders"] |= {"remember_s": 120, "remember_orders": 5000, "absence_horizon_s": 20, "margin_check": False}
        path = write(self.place.state / "broker.toml", table)
        found = await self._start("broker", ["-m", "broker", "--config", str(path)], {})
        self.addresses["api"] = f"http://{found['api']}"

    async def _start(self, name: str, arguments: list[str], environ: Mapping[str, str]) -> dict[str, Any]:
        faults = self.faults.get(name)
        return await Stack._start(self, name, arguments, {**environ, **(faults.environ if faults else {})})


@dataclass(slots=True)
class Sample:
    """A process at one moment."""

    age_s: float
    resident_bytes: int
    descriptors: int


@dataclass
class Pod:
    """Broker and sidecar under supervision. `async with` starts the stack and ends what runs."""

    place: Place
    seed: int
    otlp_endpoint: str
    stack: StormStack = field(init=False)
    faults: dict[str, LibcFaults] = field(init=False)
    unexpected_ends: list[str] = field(default_factory=list)
    refused_starts: Counter[str] = field(default_factory=Counter)
    samples: dict[str, list[Sample]] = field(default_factory=lambda: defaultdict(list))
    livez_s: list[float] = field(default_factory=list)
    """Answer times of the sidecar's `/livez`, of moments when it ran and was not stopped."""
    blind: Counter[str] = field(default_factory=Counter)
    """Faults under way for which a process of ours cannot answer."""
    _killed: set[str] = field(default_factory=set)
    _short_of_memory: set[str] = field(default_factory=set)
    _began: dict[str, float] = field(default_factory=dict)
    _files: ExitStack = field(default_factory=ExitStack)

    async def __aenter__(self) -> Self:
        library = compile_library(self.place.state)
        volumes = {name: self.place.state / name for name in OURS}
        self.faults = {
            name: self._files.enter_context(LibcFaults(library, self.place.state / f"{name}.faults", volumes[name]))
            for name in OURS
        }
        fixed = {name: free_port() for name in ("api", "probes", "metrics", "console")}
        self.stack = StormStack(self.place, print, self.seed, preferred=fixed, otlp_endpoint=self.otlp_endpoint)
        self.stack.faults = self.faults
        await self.stack.start_surroundings()
        for name in ("sidecar", "broker"):
            await self._start(name)
        await self.stack.wait_ready(60)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stack.stop()
        self._files.close()

    async def supervise(self, name: str) -> None:
        """Starts a process again when it has ended, as the kubelet does; what nobody killed is an end of its own."""
        while True:
            child = self.stack.children[name]
            await child.process.wait()
            # The kernel's own kill for want of memory is part of the storm.
            is_short = name in self._short_of_memory and child.process.returncode == -signal.SIGKILL
            self._short_of_memory.discard(name)
            if name not in self._killed and not is_short:
                self.unexpected_ends.append(f"{name} ended with {child.process.returncode}: {child.last_lines(3)}")
            self._killed.discard(name)
            await asyncio.sleep(RESTART_PAUSE_S)
            try:
                await self._start(name)
            except ProcessError as error:
                # Before it listened: a start may be refused while its volume is full, or was killed.
                self.refused_starts[f"{name}: {str(error).splitlines()[0]}"] += 1
                self.kill(name)

    def kill(self, name: str) -> None:
        """Ends a process at once, as by the kernel."""
        self._killed.add(name)
        child = self.stack.children[name]
        if not child.ended:
            child.process.kill()

    def signal(self, name: str, number: signal.Signals) -> None:
        """Sends a signal to a process of the stack that runs."""
        child = self.stack.children[name]
        if not child.ended:
            child.process.send_signal(number)

    def limit_descriptors(self, name: str, spare: int | None) -> None:
        """Leaves a process `spare` descriptors above those that it has; None gives it all again."""
        child = self.stack.children[name]
        if child.ended:
            return
        with suppress(OSError):  # it has ended meanwhile
            _, hard = resource.prlimit(child.process.pid, resource.RLIMIT_NOFILE)
            soft = hard if spare is None else min(hard, _descriptors(child.process.pid) + spare)
            resource.prlimit(child.process.pid, resource.RLIMIT_NOFILE, (soft, hard))

    @contextmanager
    def little_memory(self, name: str, spare_bytes: int) -> Iterator[None]:
        """Leaves a process so much more memory while the block lasts."""
        self._short_of_memory.add(name)
        self.blind[name] += 1
        try:
            with little_memory(self.stack.children[name].process.pid, spare_bytes):
                yield
        finally:
            self.blind[name] -= 1
            # Else its supervisor has still to learn of its end.
            if not self.stack.children[name].ended and is_alive(self.stack.children[name].process.pid):
                self._short_of_memory.discard(name)

    async def watch(self) -> None:
        """Samples memory and descriptors, and times `/livez`."""
        next_sample = 0.0
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
            while True:
                await asyncio.sleep(LIVEZ_PAUSE_S)
                if not self.blind["sidecar"] and not self.stack.children["sidecar"].ended:
                    await self._time_livez(session)
                if time.monotonic() >= next_sample:
                    next_sample = time.monotonic() + 5.0
                    self._sample()

    async def _time_livez(self, session: aiohttp.ClientSession) -> None:
        began, before = time.monotonic(), self.blind["sidecar"]
        try:
            async with session.get(f"{self.stack.addresses['probes']}/livez") as answer:
                await answer.read()
        except (aiohttp.ClientError, TimeoutError):
            if self.stack.children["sidecar"].ended or self.blind["sidecar"] != before:
                return
        if self.blind["sidecar"] == before:
            self.livez_s.append(time.monotonic() - began)

    def _sample(self) -> None:
        for name in OURS:
            child = self.stack.children[name]
            if child.ended or name not in self._began:
                continue
            pid, age_s = child.process.pid, time.monotonic() - self._began[name]
            with suppress(OSError):  # it has ended meanwhile
                pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
                self.samples[name].append(Sample(age_s, pages * resource.getpagesize(), _descriptors(pid)))

    async def _start(self, name: str) -> None:
        self.blind[name] += 1
        try:
            await (self.stack.start_broker() if name == "broker" else self.stack.start_sidecar())
            self._began[name] = time.monotonic()
        finally:
            self.blind[name] -= 1


def _descriptors(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
