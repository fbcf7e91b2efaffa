"""Watchdogs: end a process whose event loop has stalled, or that has no place, so that the kubelet starts it anew."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Self

from pod_runtime.cancellation import dump_and_exit

LOOKS = 10
"""Short waits that make a limit, each of which must see no progress: one clock would count the time of a SIGSTOP."""
LEAST_SHARE = 0.25
"""Share of a processor below which a thread that wants one is held up by others, and not by itself."""
STALLED = "the event loop has stalled"
_STATE, _USER_TICKS, _SYSTEM_TICKS = 0, 11, 12  # behind the name in parentheses, which may have blanks
_TICKS_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadUse:
    """State of a thread (a letter of proc_pid_stat(5)), and the processor time that it has used."""

    state: str
    cpu_s: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the thread's file `stat`."""
        words = text.rpartition(")")[2].split()
        return cls(state=words[_STATE], cpu_s=(int(words[_USER_TICKS]) + int(words[_SYSTEM_TICKS])) / _TICKS_S)

    @classmethod
    def of(cls, thread: int) -> Self | None:
        """Return the state of a thread of this process; None where the system does not tell."""
        try:
            return cls.parse(Path(f"/proc/self/task/{thread}/stat").read_text(encoding="utf-8"))
        except (OSError, ValueError, IndexError):
            return None


def is_stuck(before: ThreadUse | None, now: ThreadUse | None, seconds: float) -> bool:
    """True if a thread that made no progress for so long has itself to blame."""
    if before is None or now is None:
        return True
    # In the kernel, until a disk answers: the end of the process would wait for that as well, and a new one, too.
    if now.state == "D":
        return False
    return now.state != "R" or now.cpu_s - before.cpu_s >= LEAST_SHARE * seconds


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
        threading.Thread(target=self._watch, args=(threading.get_native_id(),), name="watchdog", daemon=True).start()
        try:
            while True:
                self._turns += 1
                await asyncio.sleep(self._stall_s / LOOKS)
        finally:
            self._stopped.set()

    def _watch(self, loop_thread: int) -> None:
        seen, missed, before, before_s = -1, 0, None, monotonic()
        # After a SIGSTOP of the whole process the loop gets its turn before the last wait is over.
        while not self._stopped.wait(self._stall_s / LOOKS):
            now, now_s = ThreadUse.of(loop_thread), monotonic()
            if seen != self._turns:
                seen, missed = self._turns, 0
            elif is_stuck(before, now, now_s - before_s):
                missed += 1
            before, before_s = now, now_s
            if missed >= LOOKS:
                self._end()
                return


async def watch_places(
    places: Mapping[str, Callable[[], bool]],
    limit_s: float,
    *,
    report: Callable[[str | None], object],
    end: Callable[[str], object] = dump_and_exit,
) -> None:
    """Watch that a process has its place at each account: it owns the account, or waits for its turn. Until cancelled.

    `places` has a question by account. `report` gets None while all is well, and from half of `limit_s` on the fault,
    with which `end` is called after `limit_s`.
    """
    missed = dict.fromkeys(places, 0)
    while True:
        for account, has_place in places.items():
            missed[account] = 0 if has_place() else missed[account] + 1
        late = sorted(account for account, count in missed.items() if count > LOOKS / 2)
        words = f"neither owner of account {' and '.join(late)} nor waiting for it" if late else None
        report(words)
        if words is not None and max(missed.values()) > LOOKS:
            end(f"{words} for {limit_s:g} s")
        await asyncio.sleep(limit_s / LOOKS)
