"""Ends a process whose event loop stands still, so that it is started anew."""

from __future__ import annotations

import asyncio
import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable


class Watchdog:
    """A thread that looks at a beat of the event loop. `run` beats until it is cancelled.

    `end` is called from the thread when the loop has not turned for `stall_s` seconds of the process's own time:
    a process that was stopped as a whole (SIGSTOP, a suspended machine) is not stalled.
    """

    def __init__(self, stall_s: float, *, end: Callable[[], None] | None = None) -> None:
        self._stall_s = stall_s
        self._end = end or dump_and_exit
        self._beats = 0
        self._stopped = threading.Event()

    async def run(self) -> None:
        """Beats and watches."""
        if not self._stall_s:
            return
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()
        try:
            while True:
                self._beats += 1
                await asyncio.sleep(self._stall_s / 10)
        finally:
            self._stopped.set()

    def _watch(self) -> None:
        seen, missed = -1, 0
        while not self._stopped.wait(self._stall_s / 10):
            seen, missed = (seen, missed + 1) if seen == self._beats else (self._beats, 0)
            if missed >= 10:  # noqa: PLR2004 - tenths of the limit
                self._end()
                return


def dump_and_exit() -> None:
    """Writes every thread's stack to standard error and ends the process at once: a drain needs the loop."""
    sys.stderr.write(f"the event loop has stalled; process {os.getpid()} ends at {time.time():.3f}\n")
    faulthandler.dump_traceback(all_threads=True)
    os._exit(os.EX_SOFTWARE)
