"""Shortages of a process: a volume with little space, few descriptors."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.require import require_user_namespaces


def on_small_volume(place: Path, size: str, *, is_filled: bool = False) -> Sequence[str]:
    """A command that runs another one with a tmpfs of `size` at `place`, in a mount namespace of its own.

    `is_filled`: a file `filler` has all of its space.
    """
    place.mkdir(exist_ok=True)
    fill = f"(cat /dev/zero > {place}/filler 2>/dev/null; true) &&" if is_filled else ""
    script = f'mount -t tmpfs -o size={size} none {place} && {fill} exec "$@"'
    return (require_user_namespaces(), "-Urm", "sh", "-c", script, "sh")


@contextmanager
def filled(pid: int, place: Path) -> Iterator[None]:
    """Fills the process's volume at `place` to the last byte; gives the space back behind the block."""
    filler = Path(f"/proc/{pid}/root{place}/filler")
    descriptor = os.open(filler, os.O_WRONLY | os.O_CREAT, 0o600)
    for size in (1 << 16, 1):
        try:
            while True:
                os.write(descriptor, b"x" * size)
        except OSError:
            continue
    os.close(descriptor)
    try:
        yield
    finally:
        filler.unlink()


@contextmanager
def no_descriptor_left(pid: int) -> Iterator[None]:
    """Lets a running process open nothing more while the block lasts (prlimit(2), RLIMIT_NOFILE)."""
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    # 0 and not the number that it has: a descriptor that it closes must not give it another.
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (0, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
