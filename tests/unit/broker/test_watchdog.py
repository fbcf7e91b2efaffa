from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time

from broker.watchdog import Watchdog

STALLED = """
import asyncio, time
from broker.watchdog import Watchdog
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
