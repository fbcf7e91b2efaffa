from __future__ import annotations

import errno
import os
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sidecar.journal.segment import segment_name
from sidecar.journal.volume import DirectoryVolume, JournalInUseError
from tests.require import missing


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "tiny"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        missing("a tmpfs of our own", "run as root where mounting is allowed")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.real
def test_a_write_that_a_full_disk_cuts_short_is_taken_back(tiny_disk: Path) -> None:
    volume = DirectoryVolume(tiny_disk)
    name = segment_name(1)
    volume.append(name, b"a" * 40_000)
    with pytest.raises(OSError, match="No space left"):
        volume.append(name, b"b" * 40_000)
    assert volume.read(name) == b"a" * 40_000
    volume.append(name, b"c" * 100)
    assert volume.sizes()[name] == 40_100
    volume.close()


def test_a_second_sync_waits_for_the_first_whose_files_it_would_miss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = DirectoryVolume(tmp_path)
    volume.append(segment_name(1), b"a")
    volume.append(segment_name(2), b"b")
    flushing, released = threading.Event(), threading.Event()

    def held_back(_handle: int) -> None:
        flushing.set()
        assert released.wait(5)

    monkeypatch.setattr("sidecar.journal.volume.os.fdatasync", held_back)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(volume.sync)
        assert flushing.wait(5)
        second = threads.submit(volume.sync)
        with pytest.raises(TimeoutError):
            second.result(timeout=0.1)
        released.set()
        first.result(timeout=5)
        second.result(timeout=5)
    volume.close()


def test_a_directory_is_held_by_one_volume_until_it_is_closed(tmp_path: Path) -> None:
    first = DirectoryVolume(tmp_path)
    with pytest.raises(JournalInUseError, match="in use by another process"):
        DirectoryVolume(tmp_path)
    first.close()
    DirectoryVolume(tmp_path).close()


def test_a_part_that_could_not_be_cut_off_at_once_is_cut_off_before_the_next_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume, name, write = DirectoryVolume(tmp_path), segment_name(1), os.write
    volume.append(name, b"a" * 10)
    parts = iter([4])

    def takes_a_part(handle: int, data: bytes) -> int:
        if (part := next(parts, 0)) == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(handle, data[:part])

    def fails(_handle: int, _size: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as sick:
        sick.setattr("sidecar.journal.volume.os.write", takes_a_part)
        sick.setattr("sidecar.journal.volume.os.ftruncate", fails)
        with pytest.raises(OSError, match="Input/output error"):
            volume.append(name, b"b" * 10)
    volume.append(name, b"c" * 3)
    assert volume.read(name) == b"a" * 10 + b"c" * 3
    volume.close()
