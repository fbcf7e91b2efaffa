"""Faults around real processes: the clock steps, volumes refuse writes, the collector is dead at the end."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from tests.e2e.telemetry.emitter_and_sidecar import TelemetryProcesses
from tests.e2e.telemetry.test_kills import check, settled
from tests.otlp_receiver import OtlpReceiver
from tests.require import missing

pytestmark = [pytest.mark.real, pytest.mark.slow]
FAKETIME = "*/faketime/libfaketimeMT.so.1"


@pytest.fixture
async def processes(tmp_path: Path, receiver: OtlpReceiver) -> AsyncIterator[TelemetryProcesses]:
    async with TelemetryProcesses(tmp_path, endpoint=receiver.endpoint, rate=500) as made:
        yield made


@dataclass
class MountedVolume:
    """A file system of its own at `place`, in the file `image`."""

    image: Path
    place: Path

    def mount(self) -> None:
        """Makes it usable, again after `fail`."""
        _run("mount", "-o", "loop", str(self.image), str(self.place))

    def fail(self) -> None:
        """It turns read-only under whoever writes, as ext4 does after an error of its device."""
        _run("mount", "-o", "remount,abort", str(self.place))

    def unmount(self) -> None:
        """Takes it away."""
        _run("umount", str(self.place))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def volume(place: Path) -> Iterator[MountedVolume]:
    """An ext4 of 64 MiB."""
    made = MountedVolume(place.with_suffix(".img"), place)
    place.mkdir()
    made.image.write_bytes(b"")
    try:
        _run("truncate", "-s", "64M", str(made.image))
        _run(shutil.which("mkfs.ext4", path="/usr/sbin:/sbin") or "mkfs.ext4", "-q", str(made.image))
        made.mount()
    except (OSError, subprocess.CalledProcessError):
        missing("an ext4 of its own for a test", "run as root, with the right to mount loop devices")
    yield made
    subprocess.run(["umount", "--lazy", str(place)], check=False, capture_output=True)


@pytest.fixture
def journal_volume(tmp_path: Path) -> Iterator[MountedVolume]:
    yield from volume(tmp_path / "journal")


@pytest.fixture
def spool_volume(tmp_path: Path) -> Iterator[MountedVolume]:
    yield from volume(tmp_path / "spool")


async def fault_of_journal(processes: TelemetryProcesses) -> str:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{processes.console_address}/api/status") as answer,
    ):
        status = await answer.json()
    return str(status["journal"].get("error") or "")


async def told_at(receiver: OtlpReceiver, step_s: int) -> None:
    """Waits for a record of a clock that is `step_s` off."""
    async with asyncio.timeout(120):
        while not any(abs(int(item["time"]) / 1e9 - time.time() - step_s) < 60 for item in receiver.by_id.values()):
            await asyncio.sleep(0.05)


async def test_a_clock_that_steps_by_an_hour_either_way_costs_no_event(
    processes: TelemetryProcesses, receiver: OtlpReceiver, tmp_path: Path
) -> None:
    library = next(Path("/usr/lib").glob(FAKETIME), None)
    if library is None:
        missing("libfaketime", "make test-deps")
    clock = tmp_path / "clock"
    clock.write_text("+0")
    processes.environ = {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    await processes.start_sidecar()
    await processes.start_load()
    # Back before forward: what was told between the two then lies within the two hours, however long it took.
    for step_s in (-3600, 0, 3600):
        await asyncio.sleep(0.5)
        clock.write_text(f"{step_s:+d}")
        await told_at(receiver, step_s)
    await asyncio.sleep(0.5)
    await processes.kill("sidecar")
    await asyncio.sleep(0.3)
    await check(processes, receiver, await settled(processes, receiver))
    seen = [int(record["time"]) // 1_000_000_000 for record in receiver.by_id.values()]
    assert max(seen) - min(seen) >= 7200, "the clock did not step"


async def test_a_journal_that_turns_read_only_costs_no_event(
    processes: TelemetryProcesses, receiver: OtlpReceiver, journal_volume: MountedVolume
) -> None:
    processes.telemetry = 'durability = "disk"'
    await processes.start_sidecar()
    await processes.start_load()
    await asyncio.sleep(0.5)
    assert processes.sidecar is not None
    # A sync that is under way while ext4 gives up may say that all is well: jbd2_complete_transaction finds the
    # transaction gone and does not ask why. So none is under way.
    processes.sidecar.process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(0.2)
    journal_volume.fail()
    processes.sidecar.process.send_signal(signal.SIGCONT)
    async with asyncio.timeout(120):
        while not await fault_of_journal(processes):
            await asyncio.sleep(0.05)
    await asyncio.sleep(0.5)
    processes.sidecar.process.kill()
    await processes.sidecar.process.wait()
    journal_volume.unmount()
    journal_volume.mount()
    await processes.start_sidecar()
    await check(processes, receiver, await settled(processes, receiver))


async def test_a_spool_that_turns_read_only_costs_no_event(
    processes: TelemetryProcesses, receiver: OtlpReceiver, spool_volume: MountedVolume
) -> None:
    processes.rate = 4000  # more than a segment, so that the next one is asked of the volume
    await processes.start_sidecar()
    await processes.start_load()
    await asyncio.sleep(0.5)
    spool_volume.fail()
    await asyncio.sleep(2.0)
    await check(processes, receiver, await settled(processes, receiver))


async def test_a_sidecar_told_to_stop_with_a_dead_collector_is_out_in_time_and_delivers_after_its_next_start(
    processes: TelemetryProcesses, receiver: OtlpReceiver
) -> None:
    await processes.start_sidecar()
    await processes.start_load()
    await asyncio.sleep(0.3)
    await receiver.die()
    await asyncio.sleep(1.0)
    assert processes.sidecar is not None
    assert await processes.queued() > 0
    began_s = time.monotonic()
    assert await processes.sidecar.stop(30) == 0, processes.sidecar.last_lines()
    assert time.monotonic() - began_s < 5.0  # the promise of a drain, not a figure
    await receiver.revive()
    await processes.start_sidecar()
    await check(processes, receiver, await settled(processes, receiver))
