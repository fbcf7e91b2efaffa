from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time

from broker.watchdog import Watchdog, watch_place

STALLED = """
import asyncio, time
from broker.watchdog import Watchdog, watch_place
async def main():
    task = asyncio.create_task(Watchdog(0.2).run())
    await asyncio.sleep(0.1)
    time.sleep(60)
asyncio.run(main())
"""


async def test_loop_that_turns_is_left_alone() -> None:
    ended = threading.Event()
    task = asyncio.create_task(Watchdog(0.1, end=ended.set).run())
    await asyncio.sleep(0.3)
    task.cancel()

    assert not ended.is_set()


async def test_loop_that_stands_still_ends_the_process() -> None:
    ended = threading.Event()
    task = asyncio.create_task(Watchdog(0.05, end=ended.set).run())
    await asyncio.sleep(0)
    deadline = time.monotonic() + 120
    while not ended.is_set() and time.monotonic() < deadline:
        time.sleep(0.01)  # the loop does not turn meanwhile
    task.cancel()

    assert ended.is_set()


async def test_nothing_is_watched_where_it_is_off() -> None:
    before = threading.active_count()
    await Watchdog(0).run()

    assert threading.active_count() == before


def test_stalled_process_says_where_and_exits_70() -> None:
    ended = subprocess.run([sys.executable, "-c", STALLED], capture_output=True, text=True, timeout=30, check=False)

    assert ended.returncode == 70
    assert "the event loop has stalled" in ended.stderr
    assert "time.sleep" in ended.stderr or "in main" in ended.stderr


async def test_broker_that_has_lost_its_place_ends() -> None:
    reasons: list[str] = []
    over = asyncio.Event()

    def end(reason: str) -> None:
        reasons.append(reason)
        over.set()

    task = asyncio.create_task(watch_place(lambda: False, 0.05, account="101-1", end=end))
    await over.wait()
    task.cancel()

    assert "account 101-1" in reasons[0]


async def test_broker_that_finds_its_place_again_goes_on() -> None:
    reasons: list[str] = []
    looks = iter([False] * 10 + [True] + [False] * 10)
    seen = asyncio.Event()

    def has_place() -> bool:
        if (found := next(looks, None)) is None:
            seen.set()
            return True
        return found

    task = asyncio.create_task(watch_place(has_place, 0.01, account="101-1", end=reasons.append))
    await seen.wait()
    task.cancel()

    assert reasons == []
