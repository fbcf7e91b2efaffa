"""Cancellation at any await of the product's own code, in the turn in which the deadlines are due, too.

A task that is cancelled where nothing else happens ends without more ado. So `interrupted` stops the event loop for
longer than every deadline at the n-th await, as a busy machine or SIGSTOP does, and acts a few turns of the loop later:
before the deadlines' own callbacks, between these and the tasks that they wake up, or behind both.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass
from types import CoroutineType, TracebackType
from typing import Any

import pytest
import uvloop

LOOPS = pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
TURNS = pytest.mark.parametrize("turns", [-1, 0, 1, 2, 3])


@dataclass(slots=True, kw_only=True)
class Interruption:
    """Stops the loop for `block_s` at await number `at` of code below `packages`, and acts `turns` turns later.

    -1 acts before the loop stops.
    """

    at: int
    turns: int
    block_s: float
    act: Callable[[], object]
    packages: tuple[str, ...] = ("/broker/", "/producer/", "/sidecar/")
    steps: int = 0
    place: str = ""
    """File and line of the await."""
    is_over: bool = False

    def install(self) -> None:
        """Count the awaits of tasks that the running loop makes from now on."""
        asyncio.get_running_loop().set_task_factory(self._make_task)

    def _make_task(
        self,
        loop: asyncio.AbstractEventLoop,
        coro: Coroutine[Any, Any, Any] | Generator[Any, None, Any],
        **options: Any,
    ) -> asyncio.Task[Any]:
        file = coro.cr_code.co_filename if isinstance(coro, CoroutineType) else ""
        if isinstance(coro, Coroutine) and "/tests/" not in file and any(name in file for name in self.packages):
            return asyncio.Task(_Counted(coro, self), loop=loop, **options)
        return asyncio.Task(coro, loop=loop, **options)

    def count(self, coro: Coroutine[Any, Any, Any]) -> None:
        """Count an await of `coro`, and interrupt if it is the one."""
        self.steps += 1
        if self.steps != self.at:
            return
        self.place = _place_of(coro)
        asyncio.get_running_loop().call_soon(self._block)

    def _block(self) -> None:
        if self.turns < 0:
            self._after(0)
        time.sleep(self.block_s)
        if self.turns >= 0:
            self._after(self.turns)

    def _after(self, turns: int) -> None:
        if turns:
            asyncio.get_running_loop().call_soon(self._after, turns - 1)
            return
        self.is_over = True
        self.act()


class _Counted(Coroutine[Any, Any, Any]):
    """A coroutine whose awaits are counted."""

    def __init__(self, coro: Coroutine[Any, Any, Any], interruption: Interruption) -> None:
        self._coro = coro
        self._interruption = interruption
        self.__qualname__ = self.__name__ = getattr(coro, "__qualname__", "coroutine")

    def send(self, value: Any) -> Any:
        found = self._coro.send(value)
        self._interruption.count(self._coro)
        return found

    def throw(self, kind: Any, value: BaseException | object = None, traceback: TracebackType | None = None) -> Any:
        found = self._coro.throw(kind if value is None else value)  # type: ignore[arg-type] # either way of the protocol
        self._interruption.count(self._coro)
        return found

    def close(self) -> None:
        self._coro.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._coro.__await__()


def _place_of(coro: Any) -> str:
    """File and line of the product's innermost await."""
    place = ""
    while coro is not None and getattr(coro, "cr_frame", None) is not None:
        if "site-packages" not in coro.cr_code.co_filename and "/lib/python" not in coro.cr_code.co_filename:
            place = f"{coro.cr_code.co_filename.rpartition('/main/')[2]}:{coro.cr_frame.f_lineno}"
        coro = coro.cr_await
    return place


async def ends(task: asyncio.Task[Any], within_s: float) -> bool:
    """True if a task ends by itself in that time."""
    done, _ = await asyncio.wait([task], timeout=within_s)
    return bool(done)
