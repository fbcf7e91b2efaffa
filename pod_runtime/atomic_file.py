"""Replacing a file in one step."""

from __future__ import annotations

import os
from pathlib import Path


def fsync_directory(path: Path) -> None:
    """Makes the names in a directory durable (fsync(2): the entry needs its own sync)."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def replace_file(path: Path, data: bytes, *, mode: int = 0o600, durable: bool = True) -> None:
    """Writes `data` beside `path` and renames it over: a reader sees the old file or the new one.

    With `durable` the data and the name survive a loss of power. `mode` holds whatever the umask is.

    Raises:
        OSError: the volume is full or read-only; the old file is untouched.
    """
    scratch = path.with_name(f".{path.name}.new")
    handle = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        os.fchmod(handle, mode)
        view = memoryview(data)
        while view:
            view = view[os.write(handle, view) :]
        if durable:
            os.fsync(handle)
    except OSError:
        os.unlink(scratch)  # noqa: PTH108 - the handle's own name
        raise
    finally:
        os.close(handle)
    scratch.replace(path)
    if durable:
        fsync_directory(path.parent)
