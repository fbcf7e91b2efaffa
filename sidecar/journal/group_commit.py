"""Waiting until what was appended is on the disk: one fdatasync for all that wait."""

from __future__ import annotations

import asyncio
from typing import Protocol


class Syncs(Protocol):
    """What can be made durable."""

    def sync(self) -> None:
        """Makes durable what was appended before the call. Blocks."""


class GroupSync:
    """Group commit. `run` must be running where it is `enabled`; else `wait` returns at once."""

    def __init__(self, journal: Syncs, *, enabled: bool) -> None:
        self._journal = journal
        self._enabled = enabled
        self._wanted = asyncio.Event()
        self._waiters: list[asyncio.Future[None]] = []

    async def wait(self) -> None:
        """Waits for a sync that begins after this call."""
        if self._enabled:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            self._wanted.set()
            await waiter

    async def run(self) -> None:
        """Syncs while somebody waits."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            waiters, self._waiters = self._waiters, []
            await self._sync_until_done()
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    async def _sync_until_done(self) -> None:
        while True:
            try:
                await asyncio.to_thread(self._journal.sync)
            except OSError:
                # The producers wait: what is not on the disk is not acknowledged.
                await asyncio.sleep(RETRY_S)
            else:
                return


RETRY_S = 0.2
