"""A sidecar's container that is told to stop while its collector is dead: out in time, and nothing is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import pytest

from devstack.process import Child, wait_event
from tests.deployment.containers import built, call, require_tool
from tests.e2e.telemetry.emitter_and_sidecar import TelemetryProcesses
from tests.e2e.telemetry.test_kills import check, settled
from tests.otlp_receiver import OtlpReceiver

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(900)]
OUT_S = 5.0
"""The promise of the sidecar's drain, not a figure."""


@dataclass
class ContainedProcesses(TelemetryProcesses):
    """The sidecar in its image, as its user, on a read-only root; the load beside it on the host."""

    @property
    def container(self) -> str:
        """The name of the sidecar's container."""
        return f"sidecar-{self.place.name}-{self.starts['sidecar']}"

    async def start_sidecar(self) -> None:
        """Starts the container and waits until the sidecar in it listens."""
        self.place.chmod(0o777)
        self.write_config()
        self.starts["sidecar"] += 1
        options = ["--rm", f"--name={self.container}", "--network=host", "--read-only", "--cap-drop=ALL"]
        options += ["--security-opt=no-new-privileges", f"--volume={self.place}:{self.place}"]
        command = [require_tool(), "run", *options, built("sidecar"), "--config", str(self.config)]
        log = self.place / f"{self.container}.log"
        with log.open("wb") as out:
            process = await asyncio.create_subprocess_exec(*command, stdout=out, stderr=out, start_new_session=True)
        self.sidecar = Child(log.stem, process, log)
        said = await wait_event(self.sidecar, "listening", 30)
        self.metrics_address, self.console_address = said["metrics"], said["console"]

    async def stop(self) -> None:
        """Ends what still runs."""
        await call("rm", "--force", "--ignore", self.container, check=False)
        await super().stop()


@pytest.fixture
async def processes(tmp_path: Path, receiver: OtlpReceiver) -> AsyncIterator[ContainedProcesses]:
    async with ContainedProcesses(tmp_path, endpoint=receiver.endpoint, rate=500) as made:
        yield made


async def test_a_container_told_to_stop_with_a_dead_collector_is_out_in_time_and_delivers_after_its_next_start(
    processes: ContainedProcesses, receiver: OtlpReceiver
) -> None:
    await processes.start_sidecar()
    await processes.start_load()
    await asyncio.sleep(0.3)
    await receiver.die()
    await asyncio.sleep(1.0)
    assert await processes.queued() > 0
    assert processes.sidecar is not None
    began_s = monotonic()
    await call("stop", "--time=30", processes.container)
    assert await processes.sidecar.process.wait() == 0, processes.sidecar.last_lines()
    assert monotonic() - began_s < OUT_S
    await receiver.revive()
    await processes.start_sidecar()
    await check(processes, receiver, await settled(processes, receiver))
