"""A control group that leaves a process little more memory: the kernel refuses it pages, and may end it for that.

Version 1 (a hierarchy `memory` of its own) and version 2 (cgroups(7)). The memory that a process has stays charged to
the group that it came from, so the limit is on what it takes from now on.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.require import is_all_required, missing

ROOT = Path("/sys/fs/cgroup")


def has_memory_groups() -> bool:
    """True if we may limit memory by a control group; fails the test that asks where all is required."""
    try:
        with _group("probe") as (_, limit):
            limit.write_text(str(1 << 30))
    except OSError as error:
        if is_all_required():
            missing(f"a control group for memory ({error.strerror})", "run as root, with its controller `memory`")
        return False
    return True


@contextmanager
def little_memory(pid: int, spare_bytes: int) -> Iterator[None]:
    """Lets a process take so much more memory, and no more, while the block lasts; it may end in it."""
    with _group(str(pid)) as (group, limit):
        before = _place_of(pid)
        limit.write_text(str(spare_bytes))
        with suppress(OSError):  # it has ended
            (group / "cgroup.procs").write_text(str(pid))
        try:
            yield
        finally:
            with suppress(OSError):
                (before / "cgroup.procs").write_text(str(pid))


@contextmanager
def _group(name: str) -> Iterator[tuple[Path, Path]]:
    """A new group, and the file of its limit."""
    is_first_version = (ROOT / "memory").is_dir()
    parent = ROOT / "memory" if is_first_version else ROOT
    if not is_first_version:
        # Of the root group alone: any other may not have both processes and controllers for its children.
        (parent / "cgroup.subtree_control").write_text("+memory")
    group = parent / f"storm-{os.getpid()}-{name}"
    group.mkdir()
    try:
        yield group, group / ("memory.limit_in_bytes" if is_first_version else "memory.max")
    finally:
        group.rmdir()


def _place_of(pid: int) -> Path:
    """The group that a process is in."""
    with suppress(FileNotFoundError):  # the process has ended
        for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if "memory" in controllers.split(","):
                return ROOT / "memory" / path.lstrip("/")
            if not controllers and not (ROOT / "memory").is_dir():
                return ROOT / path.lstrip("/")
    return ROOT


def is_alive(pid: int) -> bool:
    """False of a process that has ended, also while nobody has asked for its status yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except FileNotFoundError:
        return False
