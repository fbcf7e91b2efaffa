from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import weakref
from collections.abc import Iterator

import pytest

from pod_runtime.run import keep_short, leaves, settle


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
