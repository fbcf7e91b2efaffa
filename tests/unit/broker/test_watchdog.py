from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time

import pytest

from broker.watchdog import ThreadUse, Watchdog, is_stuck, watch_places

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


async def test_broker_that_has_lost_its_place_says_so_and_then_ends() -> None:
    told: list[str | None] = []
    reasons: list[str] = []
    over = asyncio.Event()

    def end(reason: str) -> None:
        reasons.append(reason)
        over.set()

    places = {"101-1": lambda: False, "101-2": lambda: True}
    task = asyncio.create_task(watch_places(places, 0.05, report=told.append, end=end))
    await over.wait()
    task.cancel()

    assert told[0] is None
    assert told[-1] == "neither owner of account 101-1 nor waiting for it"
    assert 4 <= told.count(told[-1]) <= 6, "it is told from half of the time on"
    assert reasons[0].startswith("neither owner of account 101-1 nor waiting for it for 0.05 s")


async def test_broker_that_finds_its_place_again_goes_on() -> None:
    told: list[str | None] = []
    reasons: list[str] = []
    looks = iter([False] * 10 + [True] + [False] * 5)
    seen = asyncio.Event()

    def has_place() -> bool:
        if (found := next(looks, None)) is None:
            seen.set()
            return True
        return found

    task = asyncio.create_task(watch_places({"101-1": has_place}, 0.01, report=told.append, end=reasons.append))
    await seen.wait()
    task.cancel()

    assert reasons == []
    assert [words is None for words in told[:16]] == [True] * 5 + [False] * 5 + [True] * 6


@pytest.mark.parametrize(
    ("state", "used_s", "stuck"),
    [
        ("S", 0.0, True),  # in a lock, or in a call that blocks
        ("R", 0.9, True),  # it computes and computes
        ("R", 0.1, False),  # it would, and gets no processor
        ("D", 0.0, False),  # the disk does not answer: no end of the process would change that
    ],
)
def test_thread_is_stuck_if_it_has_itself_to_blame(state: str, used_s: float, *, stuck: bool) -> None:
    before = ThreadUse(state="R", cpu_s=5.0)
    assert is_stuck(before, ThreadUse(state=state, cpu_s=5.0 + used_s), 1.0) is stuck


def test_thread_of_which_nothing_is_known_counts_as_stuck() -> None:
    assert is_stuck(None, None, 1.0)


def test_state_of_a_thread_is_read_whatever_its_name() -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    read = ThreadUse.parse(f"17 (a b) S) D 1 2 3 4 5 6 7 8 9 10 {ticks} {2 * ticks} 0 0")
    assert read == ThreadUse(state="D", cpu_s=3.0)
    assert ThreadUse.of(threading.get_native_id()) is not None
