"""The faults of a storm, drawn by a seed: four lanes, so that faults of different kinds meet."""

from __future__ import annotations

import asyncio
import errno
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from devstack.process import start
from tests.e2e.chaos.callers import Callers
from tests.e2e.chaos.pod import OURS, Pod
from tests.integration.api.strangers import strangers
from tests.otlp_receiver import OtlpReceiver

VENUE_FAULTS = (
    "hang",
    "reset_before",
    "reset_after",
    "half_body",
    "error_before",
    "error_after",
    "html",
    "rate_limited",
)
VOLUME_FAULTS = (errno.ENOSPC, errno.ENOSPC, errno.EIO, errno.ENOMEM, errno.EDQUOT)
CLOCK_JUMPS_S = (-600, -3, 3, 600)
BAKERY = Path(__file__).with_name("bakery.py")
Cause = Callable[[], Awaitable[str]]


@dataclass(slots=True)
class Storm:
    """Faults on a pod, one after another in each lane, each with an end. `longest_s` is the longest at full size."""

    pod: Pod
    receiver: OtlpReceiver
    callers: Callers
    chance: random.Random
    longest_s: float
    strangers: int
    limits_memory: bool
    scratch: Path
    counts: Counter[str] = field(default_factory=Counter)
    recoveries_s: list[tuple[float, str]] = field(default_factory=list)
    """Seconds from the end of each fault to the next final word, where no other fault was under way."""
    _under_way: int = 0

    @property
    def deadly(self) -> Sequence[Cause]:
        """Faults that end processes; not for the whole storm."""
        return (self.kill, self.kill, self.memory) if self.limits_memory else (self.kill,)

    @property
    def lanes(self) -> Sequence[Sequence[Cause]]:
        """Faults that last the whole storm: of processes, of their machine, and of what is around the pod."""
        return (
            (self.stop,),
            (self.volume, self.slow_disk, self.clock, self.descriptors),
            (self.venue, self.collector, self.connections, self.producers),
        )

    async def lane(self, faults: Sequence[Cause], end: float) -> None:
        """Draws faults until the monotonic time `end`."""
        while time.monotonic() < end:
            await asyncio.sleep(self.chance.uniform(0.2, 1.0) * self.longest_s / 2)
            fault = self.chance.choice(faults)
            self._under_way += 1
            try:
                name = await fault()
            finally:
                self._under_way -= 1
            self.counts[name] += 1
            await self._recovered(name)

    async def _recovered(self, name: str) -> None:
        began = time.monotonic()
        while self.callers.done_at < began:
            if self._under_way or time.monotonic() - began > 60:
                return
            await asyncio.sleep(0.05)
        self.recoveries_s.append((self.callers.done_at - began, name))

    def _for_s(self) -> float:
        return self.chance.uniform(0.1, 1.0) * self.longest_s

    async def kill(self) -> str:
        """Kills one process of ours, or both."""
        names = self.chance.choice((("broker",), ("sidecar",), OURS))
        for name in names:
            self.pod.kill(name)
        return f"kill {' and '.join(names)}"

    async def stop(self) -> str:
        """Stops one process in its tracks, and lets it go on."""
        name = self.chance.choice((*OURS, "vault", "simulator"))
        self.pod.blind[name] += 1
        self.pod.signal(name, signal.SIGSTOP)
        await asyncio.sleep(self._for_s())
        self.pod.signal(name, signal.SIGCONT)
        await asyncio.sleep(0.1)
        self.pod.blind[name] -= 1
        return f"stop {name}"

    async def volume(self) -> str:
        """Makes the volume of one process full or broken."""
        name, code = self.chance.choice(OURS), self.chance.choice(VOLUME_FAULTS)
        self.pod.faults[name].set(volume_errno=code)
        await asyncio.sleep(self._for_s())
        self.pod.faults[name].set(volume_errno=0)
        return f"volume {errno.errorcode[code]} {name}"

    async def slow_disk(self) -> str:
        """Makes each sync of one process's volume slow."""
        name = self.chance.choice(OURS)
        self.pod.faults[name].set(sync_delay_ms=self.chance.choice((20, 100, 400)))
        await asyncio.sleep(self._for_s())
        self.pod.faults[name].set(sync_delay_ms=0)
        return f"slow disk {name}"

    async def clock(self) -> str:
        """Sets the wall clock of one process wrong, and right again."""
        name, jump_s = self.chance.choice(OURS), self.chance.choice(CLOCK_JUMPS_S)
        self.pod.faults[name].set(clock_offset_ns=jump_s * 10**9)
        await asyncio.sleep(self._for_s())
        self.pod.faults[name].set(clock_offset_ns=0)
        return f"clock {jump_s:+} s {name}"

    async def descriptors(self) -> str:
        """Leaves one process no descriptor, or few."""
        name = self.chance.choice(OURS)
        self.pod.limit_descriptors(name, self.chance.choice((0, 0, 3)))
        await asyncio.sleep(self._for_s())
        self.pod.limit_descriptors(name, None)
        return f"EMFILE {name}"

    async def memory(self) -> str:
        """Leaves one process little more memory than it has; the kernel may end it for that."""
        name, spare = self.chance.choice(OURS), self.chance.choice((4, 16, 64))
        with self.pod.little_memory(name, spare << 20):
            await asyncio.sleep(self._for_s())
        return f"ENOMEM {name}"

    async def venue(self) -> str:
        """Makes one in five requests at the venue fail."""
        kind = self.chance.choice(VENUE_FAULTS)
        address = f"{self.pod.stack.addresses['simulator']}/simulator/faults"
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
            rule = {"kind": kind, "count": -1, "chance": 0.2, "seconds": 1.0}
            async with session.post(address, json=rule) as answer:
                answer.raise_for_status()
            await asyncio.sleep(self._for_s())
            async with session.delete(address) as answer:
                answer.raise_for_status()
        return f"venue {kind}"

    async def collector(self) -> str:
        """Takes the collector away."""
        await self.receiver.die()
        await asyncio.sleep(self._for_s())
        await self.receiver.revive()
        return "collector gone"

    async def connections(self) -> str:
        """Lets strangers hold connections without a request to the API and the probes."""
        name = self.chance.choice(("api", "probes"))
        # Not of the callers' own address: that is known by their keys, and its new connections have no rate.
        async with strangers(self.pod.stack.addresses[name], self.strangers, all_open=False, of="127.0.0.2"):
            await asyncio.sleep(self._for_s())
        return f"strangers at {name}"

    async def producers(self) -> str:
        """Lets another program speak on the socket: under a name of its own, or as the broker."""
        identity = self.chance.choice(("bakery", "broker"))
        spool = self.scratch / f"spool-{self.counts.total()}-{identity}"
        command = [sys.executable, str(BAKERY), str(self.pod.stack.place.socket), str(spool), identity]
        child = await start("bakery", command, directory=self.scratch, environ=self.pod.stack.environ())
        await asyncio.sleep(self._for_s())
        await child.stop(10)
        return f"stranger as {identity}"
