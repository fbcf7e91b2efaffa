from __future__ import annotations

import asyncio
import errno
import gc
import resource
import subprocess
import sys
import weakref
from collections.abc import Iterator

import pytest

from pod_runtime.run import (
    NO_THREAD,
    is_full_due,
    is_passing,
    keep_short,
    lack_of,
    leaves,
    persist,
    raise_descriptor_limit,
    settle,
)


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    threshold = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*threshold)


class Knot:
    def __init__(self) -> None:
        self.itself = self


def test_what_is_alive_is_out_of_the_collectors_sight() -> None:
    kept = [[number] for number in range(1000)]
    settle()
    assert gc.get_freeze_count() >= len(kept)
    assert len(gc.get_objects()) < gc.get_freeze_count() / 10


def test_cycles_that_were_frozen_are_found_by_the_next_settling() -> None:
    knot = Knot()
    seen = weakref.ref(knot)
    settle()
    del knot
    gc.collect()
    assert seen() is not None
    settle()
    assert seen() is None


async def test_it_begins_by_itself_on_a_loop() -> None:
    gc.unfreeze()
    keep_short(asyncio.get_running_loop(), 0.0)
    await asyncio.sleep(0.01)
    assert gc.get_freeze_count() > 0
    assert gc.get_threshold()[2] == 1_000_000


@pytest.mark.parametrize(
    ("number", "resident", "is_due"),
    [(0, 0, True), (1, 100, False), (1, 109, False), (1, 112, True), (359, 90, False), (360, 90, True)],
)
def test_a_full_collection_comes_each_hour_and_when_the_process_has_grown(
    number: int, resident: int, *, is_due: bool
) -> None:
    assert is_full_due(number, resident, 100) == is_due


async def test_what_was_frozen_alive_is_collected_once_the_process_has_grown(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = iter([0, 100, *[105] * 3])
    monkeypatch.setattr("pod_runtime.run.resident_bytes", lambda: next(sizes, 112))
    monkeypatch.setattr("pod_runtime.run.FREEZE_INTERVAL_S", 0.001)
    knot = Knot()
    seen = weakref.ref(knot)
    keep_short(asyncio.get_running_loop(), 0.0)
    await asyncio.sleep(0.002)
    del knot
    async with asyncio.timeout(30):
        while seen() is not None:
            await asyncio.sleep(0.01)


def test_the_errors_of_nested_groups_come_out_one_by_one() -> None:
    first, second, third = OSError("a"), KeyError("b"), ValueError("c")
    group = ExceptionGroup("outer", [ExceptionGroup("inner", [first, second]), third])
    assert list(leaves(group)) == [first, second, third]


def test_an_error_that_is_no_group_is_alone() -> None:
    error = OSError("a")
    assert list(leaves(error)) == [error]


def test_a_process_leaves_no_core_file_and_closes_its_files_to_others() -> None:
    program = (
        "import os, resource\n"
        "from pod_runtime.run import run\n"
        "async def serve(stop):\n"
        "    print(*resource.getrlimit(resource.RLIMIT_CORE), oct(os.umask(0)))\n"
        "    return 42\n"
        "raise SystemExit(run(serve))\n"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, umask=0)
    assert (found.returncode, found.stdout) == (42, "0 0 0o77\n")


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
    ("error", "word"),
    [
        (OSError(errno.EMFILE, ""), "NoDescriptors"),
        (OSError(errno.ENOSPC, ""), "VolumeFull"),
        (OSError(errno.EIO, ""), "VolumeFailing"),
        (OSError(errno.ENOMEM, ""), "NoMemory"),
        (MemoryError(), "NoMemory"),
        (RuntimeError(NO_THREAD), "NoThreads"),
        (ExceptionGroup("a task group", [OSError(errno.EMFILE, ""), MemoryError()]), "NoDescriptors"),
        (ExceptionGroup("a task group", [OSError(errno.EMFILE, ""), ValueError()]), None),
        (OSError("without a number"), None),
    ],
    ids=["EMFILE", "ENOSPC", "EIO", "ENOMEM", "memory", "thread", "group", "mixed group", "no number"],
)
def test_what_a_system_lacks_has_a_word(error: Exception, word: str | None) -> None:
    assert lack_of(error) == word


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


def test_soft_limit_becomes_the_hard_one(monkeypatch: pytest.MonkeyPatch) -> None:
    set_: list[tuple[int, tuple[int, int]]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    monkeypatch.setattr(resource, "setrlimit", lambda which, limits: set_.append((which, limits)))

    assert raise_descriptor_limit() == 4096
    assert set_ == [(resource.RLIMIT_NOFILE, (4096, 4096))]


def test_no_limit_is_a_number_to_compare_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, resource.RLIM_INFINITY))
    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)

    assert raise_descriptor_limit() > 10**9
