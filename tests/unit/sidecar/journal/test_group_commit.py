from __future__ import annotations

import asyncio
import errno

import pytest

from sidecar.journal import group_commit
from sidecar.journal.group_commit import GroupCommit
from sidecar.journal.journal import EventJournal
from tests.unit.sidecar.sick_volume import SickVolume


class CountingVolume(SickVolume):
    """Counts its syncs."""

    def __init__(self) -> None:
        super().__init__()
        self.syncs = 0

    def sync(self) -> None:
        self.syncs += 1
        super().sync()


async def test_one_sync_serves_all_who_wait() -> None:
    volume = CountingVolume()
    commit = GroupCommit(EventJournal(volume, segment_bytes=1 << 20), enabled=True)
    async with asyncio.timeout(120), asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(commit.wait()) for _ in range(5)]
        await asyncio.sleep(0)
        running = tasks.create_task(commit.run())
        await asyncio.gather(*waiting)
        running.cancel()
    assert volume.syncs == 1


async def test_who_waits_is_served_by_the_first_sync_that_succeeds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "RETRY_S", 0.0)
    volume = CountingVolume()
    volume.sync_error = errno.EIO
    commit = GroupCommit(EventJournal(volume, segment_bytes=1 << 20), enabled=True)
    async with asyncio.timeout(120), asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(commit.wait())
        running = tasks.create_task(commit.run())
        while volume.syncs < 2:
            await asyncio.sleep(0)
        assert not waiting.done()
        volume.sync_error = 0
        await waiting
        running.cancel()


async def test_nobody_waits_where_it_is_not_enabled() -> None:
    await GroupCommit(EventJournal(CountingVolume(), segment_bytes=1 << 20), enabled=False).wait()
