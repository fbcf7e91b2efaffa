"""Watchdog: ends a process whose event loop has stalled, so that the kubelet starts it anew."""

from __future__ import annotations

import asyncio
import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable


class Watchdog:
    """A thread that watches a counter of the event loop. `run` counts until it is cancelled.

    The thread calls `end` when the loop has not turned for `stall_s` seconds of the process's own time:
    a process that was stopped as a whole (SIGSTOP, a suspended machine) is not stalled.
    """

    def __init__(self, stall_s: float, *, end: Callable[[], None] | None = None) -> None:
        self._stall_s = stall_s
        self._end = end or dump_and_exit
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
                await asyncio.sleep(self._stall_s / 10)
        finally:
            self._stopped.set()

    def _watch(self) -> None:
        seen, missed = -1, 0
        # Ten short waits, each of which must see no turn, not one clock: after a SIGSTOP of the whole process a clock
        # would show a long stall, while here the loop gets its turn before the tenth wait is over.
        while not self._stopped.wait(self._stall_s / 10):
            seen, missed = (seen, missed + 1) if seen == self._turns else (self._turns, 0)
            if missed >= 10:  # noqa: PLR2004 - tenths of the limit
                self._end()
                return


def dump_and_exit() -> None:
    """Write every thread's stack to standard error and end the process at once."""
    # Not an exception, not a signal: both need the loop, as a drain does.
    sys.stderr.write(f"the event loop has stalled; process {os.getpid()} ends at {time.time():.3f}\n")
    faulthandler.dump_traceback(all_threads=True)
    os._exit(os.EX_SOFTWARE)
