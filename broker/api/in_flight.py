"""Writes in flight: each runs to its end, also if its caller disconnects or its request's deadline passes."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Self, TypeVar

from pod_runtime.cancellation import PersistentTaskGroup

T = TypeVar("T")
END_S = 5.0


class InFlight:
    """Runs each write as a task of its own. `async with` it: leaving waits for all of them, and then cancels the rest.

    Orders decide within their own deadlines; a write that is left after `end_s` waits for something that never comes.
    """

    def __init__(self, end_s: float = END_S) -> None:
        self._end_s = end_s
        self._tasks = PersistentTaskGroup()
        self._count = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        try:
            if self._tasks.tasks:
                await asyncio.wait(self._tasks.tasks, timeout=self._end_s)
        finally:
            for task in self._tasks.tasks:
                task.cancel()
            # Not the error itself: a task group would cancel its tasks on it, and orders would end half done.
            await self._tasks.__aexit__(None, None, None)

    def __len__(self) -> int:
        return self._count

    async def run(self, write: Coroutine[Any, Any, T]) -> T:
        """The result of `write`. A caller that is cancelled leaves it running."""
        outcome: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._tasks.create_task(self._settle(write, outcome))
        return await asyncio.shield(outcome)

    async def wait_idle(self, deadline_s: float) -> bool:
        """Wait until no write runs; False if the deadline passes first."""
        try:
            async with asyncio.timeout(deadline_s):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    async def _settle(self, write: Coroutine[Any, Any, T], outcome: asyncio.Future[T]) -> None:
        self._count += 1
        self._idle.clear()
        try:
            outcome.set_result(await write)
        except Exception as error:  # noqa: BLE001 - the caller's to handle; raised here it would cancel all other writes
            outcome.set_exception(error)
            outcome.exception()  # marks it as retrieved: asyncio would log it if the caller has left
        except BaseException:
            outcome.cancel()
            raise
        finally:
            self._count -= 1
            if not self._count:
                self._idle.set()
