from __future__ import annotations

import errno
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.config import BrokerTelemetrySettings
from broker.events import CATALOGUE
from producer.emitter import Emitter
from tests.e2e.telemetry.load import event
from tests.require import missing

pytestmark = pytest.mark.real


@pytest.fixture
def small_volume(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    place = tmp_path / "volume"
    place.mkdir()
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if mount is None or subprocess.run(command, capture_output=True, check=False).returncode:
        missing("a file system of its own for a test", "run as root, with the right to mount")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_full_volume_costs_no_event_and_is_used_again_when_it_has_room(small_volume: Path) -> None:
    settings = BrokerTelemetrySettings(
        spool_directory=small_volume / "spool", segment_bytes=1 << 18, memory_bytes=4 << 20
    )
    emitter = Emitter(settings, catalogue=CATALOGUE, constant_labels=settings.constant_labels)
    emitter.spool.maintain(0.0)
    for number in range(10_000):
        emitter.emit(event(number))
    assert emitter.spool.writer.fault is not None
    assert emitter.spool.writer.fault.errno == errno.ENOSPC
    ledger = emitter.ledger()
    assert (ledger.held, ledger.dropped) == (10_000, {})
    told: list[str] = []
    while rows := emitter.spool.queue.after(len(told), 500).rows:
        told += [row[9] for row in rows]
    assert told == [f"{number:012d}" for number in range(10_000)]

    emitter.spool.queue.acknowledge(10_000)
    emitter.spool.maintain(100.0)
    emitter.emit(event(10_000))
    assert emitter.spool.writer.fault is None
    (row,) = emitter.spool.queue.after(10_000, 10).rows
    assert row[9] == "000000010000"
    emitter.close()
