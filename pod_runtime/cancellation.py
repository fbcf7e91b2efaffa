"""Cancellation that is never lost: it is asked for again until the task has ended, with a bound.

Why once is not enough
    `Task.cancel` raises CancelledError once, at the await where the task is. Three things lose it:
      - a task group of which a child failed in the same turn of the loop raises the child's error in its stead, which a
        loop that tries again takes for a fault of the other side (CPython gh-116720, mended in 3.13);
      - a library that meets its own deadline in that turn tells of the deadline, and of nothing else;
      - a task group that is ending already passes no second cancellation on to its children.
    A loop that stands still for a while makes such a turn likely: its deadlines are all due when it goes on.

What is done about it
    `PersistentTaskGroup` cancels its tasks again. Groups stand within groups, and each asks its own tasks, so that the
    innermost is reached. A task that never ends would hold back its owner for ever: the process ends in its stead.
    `check_cancelled` is for loops that try again: they ask before each attempt, and need no second cancellation.

So a cancelled task has a second, and not more, to put in order what it leaves behind.
"""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import sys
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from types import TracebackType
from typing import Any, TypeVar

T = TypeVar("T")
LOOK_S = 0.5
"""Seconds between looks at the tasks that a group waits for; cancelled is again who was so at the look before, too."""
MOST_REPEATS = 20
log = logging.getLogger(__name__)


def dump_and_exit(reason: str) -> None:
    """Write a reason and every thread's stack to standard error, and end the process at once (EX_SOFTWARE)."""
    # Not an exception, not a signal: both need the loop, as a drain does.
    sys.stderr.write(f"{reason}; process {os.getpid()} ends\n")
    faulthandler.dump_traceback(all_threads=True)
    os._exit(os.EX_SOFTWARE)


def check_cancelled() -> None:
    """Raise CancelledError if the calling task was told to end, and something on its way has swallowed that."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


class PersistentTaskGroup(asyncio.TaskGroup):
    """A task group that cancels again, twice a second, those of its tasks that were cancelled and have not ended.

    `give_up` is called with the reason after MOST_REPEATS of that.
    """

    def __init__(self, *, look_s: float = LOOK_S, give_up: Callable[[str], object] = dump_and_exit) -> None:
        super().__init__()
        self._look_s = look_s
        self._give_up = give_up
        self._repeats = 0
        self._seen: set[asyncio.Task[Any]] = set()
        self._parent_cancel_requested: bool  # of the class above
        self.tasks: set[asyncio.Task[Any]] = set()
        """Those that have not ended."""

    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: Context | None = None,
    ) -> asyncio.Task[T]:
        """Start a task of the group."""
        task = super().create_task(coro, name=name, context=context)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._look_again()
        has_interrupted = self._parent_cancel_requested
        try:
            await super().__aexit__(kind, error, traceback)
        finally:
            self._timer.cancel()
            # Before 3.13 a group whose task fails while the group waits here cancels its owner and never takes it back
            # (CPython gh-116720): an owner that has caught the fault and goes on would count as told to end.
            owner = asyncio.current_task()
            if (
                owner is not None
                and self._parent_cancel_requested
                and not has_interrupted
                and sys.version_info < (3, 13)
            ):
                owner.uncancel()

    def _look_again(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._look_s, self._look)

    def _look(self) -> None:
        # A deadline of the task's own cancels it, too, mostly for a turn of the loop, which two looks do not see.
        late = {task for task in self.tasks if task.cancelling()}
        if lost := late & self._seen:
            self._repeats += 1
            names = ", ".join(sorted(f"{task.get_name()} {task.get_coro()!r}" for task in lost))
            if self._repeats == 1:
                log.warning("cancelled again", extra={"tasks": names})
            # Counted, not timed: a loop that stood still has not given them the time.
            if self._repeats == MOST_REPEATS:
                self._give_up(f"cancelled {MOST_REPEATS} times without an end: {names}")
            for task in lost:
                task.cancel()
                # Not counted a second time: a deadline, or a group within, that has cancelled the task for a purpose of
                # its own takes back one, and would leave a task that nobody told to end cancelled for good.
                task.uncancel()
        self._seen = late
        self._look_again()
