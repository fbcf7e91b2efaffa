"""Replacement of a file in one step, for leases, tokens and other small state that must never be read half written.

The new content goes to a file of its own in the same directory, and rename(2) puts it in the old one's place. A crash
leaves, by the step that it comes after:

    open, write      the old file, and beside it `.NAME.new`, which the next replacement truncates
    fsync of data    the same; from here on the content is safe
    rename           the new file, or after a loss of power either of the two, each of them whole
    fsync of names   the new file

Without the first fsync a file system may write the rename before the data, and a loss of power leaves an empty file.
"""

from __future__ import annotations

import os
from pathlib import Path


def fsync_directory(path: Path) -> None:
    """Make the names in a directory durable: fsync(2) of a file does not cover the entry that names it."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def replace_file(path: Path, data: bytes, *, mode: int = 0o600, durable: bool = True) -> None:
    """Replace the content of `path` by `data`: a reader sees the old file or the new one.

    With `durable` the data and the name survive a loss of power; without it only a crash of the process.
    The file has exactly `mode`, because `open` would let the umask take bits away.

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
        os.unlink(scratch)  # noqa: PTH108 - beside `os.open`
        raise
    finally:
        os.close(handle)
    scratch.replace(path)
    if durable:
        fsync_directory(path.parent)
