"""Watchdogs: end a process whose event loop has stalled, or that has no place, so that the kubelet starts it anew."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from pod_runtime.cancellation import dump_and_exit

LOOKS = 10
"""Short waits that make a limit, each of which must see no progress: one clock would count the time of a SIGSTOP."""
STALLED = "the event loop has stalled"


class Watchdog:
    """A thread that watches a counter of the event loop. `run` counts until it is cancelled.

    The thread calls `end` when the loop has not turned for `stall_s` seconds of the process's own time:
    a process that was stopped as a whole (SIGSTOP, a suspended machine) is not stalled.
    """

    def __init__(self, stall_s: float, *, end: Callable[[], None] | None = None) -> None:
        self._stall_s = stall_s
        self._end = end or (lambda: dump_and_exit(STALLED))
        self._turns = 0
        self._stopped = threading.Event()

    async def run(self) -> None:
        """Count the loop's turns and watch them; returns at once if the watchdog is off."""
        if not self._stall_s:
            return
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()
        try:
            while True:
                self._turns += 1
                await asyncio.sleep(self._stall_s / LOOKS)
        finally:
            self._stopped.set()

    def _watch(self) -> None:
        seen, missed = -1, 0
        # After a SIGSTOP of the whole process the loop gets its turn before the last wait is over.
        while not self._stopped.wait(self._stall_s / LOOKS):
            seen, missed = (seen, missed + 1) if seen == self._turns else (self._turns, 0)
            if missed >= LOOKS:
                self._end()
                return


async def watch_place(
    has_place: Callable[[], bool], limit_s: float, *, account: str, end: Callable[[str], object] = dump_and_exit
) -> None:
    """Call `end` once `has_place` was False for `limit_s`; until cancelled.

    A broker has its place while it owns the account, or waits for its turn.
    """
    missed = 0
    while True:
        missed = 0 if has_place() else missed + 1
        if missed > LOOKS:
            end(f"neither owner of account {account} nor waiting for it for {limit_s:g} s")
        await asyncio.sleep(limit_s / LOOKS)
