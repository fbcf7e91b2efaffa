"""Group commit: one fdatasync serves every stream that waits for durability.

An fdatasync takes milliseconds on a disk, a batch takes microseconds. So a stream does not sync; it waits. While
one sync runs in a thread, streams append more batches and queue up; the next sync serves all of them at once. A
sync covers a waiter only if it *begins* after the waiter's append, thus the list of waiters is taken before each
sync.

Only `durability = "disk"` waits. With `"process"` a write to the page cache is enough: it outlives the process, not
the machine.
"""

from __future__ import annotations

import asyncio

from pod_runtime.cancellation import check_cancelled
from sidecar.journal.journal import EventJournal

RETRY_S = 0.2
"""Pause after a sync that failed; short beside a producer's window, long beside a disk's answer."""


class GroupCommit:
    """Waits until appended records are on the disk. `run` must be running where it is `enabled`."""

    def __init__(self, journal: EventJournal, *, enabled: bool) -> None:
        self._journal = journal
        self._enabled = enabled
        self._wanted = asyncio.Event()
        self._waiters: list[asyncio.Future[None]] = []

    async def wait(self) -> None:
        """Wait for a sync that begins after this call; return at once where group commit is not enabled."""
        if self._enabled:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            self._wanted.set()
            await waiter

    async def run(self) -> None:
        """Sync while a stream waits, until cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            waiters, self._waiters = self._waiters, []
            await self._sync_until_done()
            for waiter in waiters:
                if not waiter.done():  # its stream may have ended meanwhile
                    waiter.set_result(None)

    async def _sync_until_done(self) -> None:
        while True:
            check_cancelled()
            try:
                await asyncio.to_thread(self._journal.sync)
            except OSError:
                # No deadline and no error to the waiters: an event that is not on the disk is not acknowledged, and
                # `EventJournal.sync_error` tells health and console why.
                await asyncio.sleep(RETRY_S)
            else:
                return
