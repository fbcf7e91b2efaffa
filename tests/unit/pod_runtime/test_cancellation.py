from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import suppress

import pytest

from pod_runtime.cancellation import PersistentTaskGroup, check_cancelled

NEVER_ENDS = """
import asyncio
from pod_runtime.cancellation import PersistentTaskGroup
async def deaf():
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass
async def main():
    async with PersistentTaskGroup(look_s=0.01) as tasks:
        task = tasks.create_task(deaf(), name="deaf")
        await asyncio.sleep(0)
        task.cancel()
asyncio.run(main())
"""


async def lose(cancellations: int, heard: list[int]) -> None:
    """Takes so many cancellations for something else, as a library does that meets its own deadline."""
    for _ in range(cancellations):
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            heard.append(len(heard))
    await asyncio.sleep(60)


async def test_cancellation_that_is_lost_is_asked_for_again() -> None:
    heard: list[int] = []
    async with PersistentTaskGroup(look_s=0.01) as tasks:
        task = tasks.create_task(lose(3, heard))
        await asyncio.sleep(0)
        task.cancel()

    assert task.cancelled()
    assert heard == [0, 1, 2]


async def test_cancellation_reaches_the_tasks_of_a_group_within_a_group() -> None:
    heard: list[int] = []

    async def inner() -> None:
        async with PersistentTaskGroup(look_s=0.01) as tasks:
            tasks.create_task(lose(2, heard))

    async with PersistentTaskGroup(look_s=0.01) as tasks:
        task = tasks.create_task(inner())
        await asyncio.sleep(0.01)
        task.cancel()

    assert task.cancelled()
    assert heard == [0, 1]


async def test_fault_of_one_task_ends_one_that_loses_its_cancellation() -> None:
    heard: list[int] = []

    async def fail() -> None:
        await asyncio.sleep(0)
        raise ValueError("a fault")

    async def both() -> None:
        async with PersistentTaskGroup(look_s=0.01) as tasks:
            tasks.create_task(lose(1, heard))
            tasks.create_task(fail())

    with pytest.raises(ExceptionGroup):
        await both()

    assert heard == [0]


async def test_tasks_that_were_not_cancelled_run_to_their_end() -> None:
    async def work() -> str:
        with suppress(TimeoutError):
            async with asyncio.timeout(0.02):
                await asyncio.sleep(60)
        await asyncio.sleep(0.05)
        return "done"

    async with PersistentTaskGroup(look_s=0.005) as tasks:
        task = tasks.create_task(work())

    assert task.result() == "done"


async def test_deadline_that_takes_long_to_put_in_order_ends_nothing_else() -> None:
    async def work() -> str:
        with suppress(TimeoutError):
            async with asyncio.timeout(0.005):
                try:
                    await asyncio.sleep(60)
                finally:
                    await asyncio.sleep(0.1)
        check_cancelled()
        return "done"

    async with PersistentTaskGroup(look_s=0.005) as tasks:
        task = tasks.create_task(work())

    assert task.result() == "done"


async def test_group_within_that_takes_long_to_fail_leaves_its_owner_free_to_go_on() -> None:
    async def fail() -> None:
        raise ValueError("a fault")

    async def linger() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.shield(asyncio.sleep(0.05))

    async def work() -> str:
        with suppress(ExceptionGroup):
            async with PersistentTaskGroup() as within:
                within.create_task(linger())
                await asyncio.sleep(0)
                within.create_task(fail())
        check_cancelled()
        return "done"

    async with PersistentTaskGroup(look_s=0.005) as tasks:
        task = tasks.create_task(work())

    assert task.result() == "done"


async def test_group_gives_up_with_the_name_of_the_task() -> None:
    given_up: list[str] = []
    heard: list[int] = []
    async with PersistentTaskGroup(look_s=0.001, give_up=given_up.append) as tasks:
        task = tasks.create_task(lose(40, heard), name="deaf")
        await asyncio.sleep(0)
        task.cancel()

    assert len(given_up) == 1
    assert "deaf" in given_up[0]


def test_task_that_never_ends_ends_the_process_with_70() -> None:
    ended = subprocess.run([sys.executable, "-c", NEVER_ENDS], capture_output=True, text=True, timeout=120, check=False)

    assert ended.returncode == 70
    assert "cancelled 20 times without an end: deaf" in ended.stderr


async def test_loop_that_tries_again_ends_where_its_cancellation_was_swallowed() -> None:
    tries = 0

    async def retry() -> None:
        nonlocal tries
        while True:
            check_cancelled()
            tries += 1
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(60)

    task = asyncio.create_task(retry())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])

    assert task.cancelled()
    assert tries == 1


async def test_deadline_that_has_passed_is_no_cancellation() -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(0):
            await asyncio.sleep(60)
    check_cancelled()
