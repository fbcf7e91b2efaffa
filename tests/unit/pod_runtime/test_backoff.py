from __future__ import annotations

import asyncio
import errno

import pytest

from pod_runtime.backoff import NO_THREAD, Backoff, is_passing, persist


def test_delays_grow_to_the_cap() -> None:
    policy = Backoff(base_s=1, cap_s=8)
    assert [policy.delay_s(attempt, 1.0) for attempt in range(5)] == [1, 2, 4, 8, 8]


def test_jitter_keeps_half_of_the_delay() -> None:
    assert Backoff(base_s=2, cap_s=2).delay_s(3, 0.0) == 1


def test_an_outage_of_any_length_has_a_delay() -> None:
    assert Backoff(base_s=1, cap_s=8).delay_s(1_000_000, 1.0) == 8


@pytest.mark.parametrize("wrong", [{"base_s": 0.0}, {"base_s": 9.0, "cap_s": 8.0}, {"factor": 0.5}])
def test_delays_that_would_not_grow_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="backoff needs"):
        Backoff(**wrong)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EMFILE, "Too many open files"),
        OSError(errno.ENOSPC, "No space left on device"),
        MemoryError(),
        RuntimeError(NO_THREAD),
        ExceptionGroup("a task group", [OSError(errno.EIO, "Input/output error"), MemoryError()]),
    ],
    ids=["EMFILE", "ENOSPC", "memory", "thread", "group"],
)
def test_what_a_system_lacks_for_a_while_passes(error: Exception) -> None:
    assert is_passing(error)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EROFS, "Read-only file system"),
        PermissionError(errno.EACCES, "Permission denied"),
        TimeoutError(),
        RuntimeError("another"),
        ExceptionGroup("a task group", [MemoryError(), ValueError()]),
    ],
    ids=["EROFS", "EACCES", "timeout", "runtime", "group"],
)
def test_what_somebody_has_to_mend_does_not_pass(error: Exception) -> None:
    assert not is_passing(error)


async def test_a_task_goes_on_behind_passing_faults_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    faults = [OSError(errno.ENOSPC, "No space left on device"), MemoryError()]

    async def work() -> str:
        if faults:
            raise faults.pop(0)
        return "done"

    assert await persist("tidying", work) == "done"
    assert [(record.message, vars(record)["task"]) for record in caplog.records] == [("task held up", "tidying")]


async def test_a_task_ends_with_any_other_fault() -> None:
    async def work() -> None:
        raise ValueError("ours")

    with pytest.raises(ValueError, match="ours"):
        await persist("tidying", work)


async def test_a_task_that_is_told_to_stop_ends_with_the_fault() -> None:
    stop = asyncio.Event()

    async def work() -> None:
        stop.set()
        raise OSError(errno.EMFILE, "Too many open files")

    with pytest.raises(OSError, match="Too many"):
        await persist("tidying", work, stop)
