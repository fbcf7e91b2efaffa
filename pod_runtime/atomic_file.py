"""Replacement of a file in one step, for leases, tokens and other small state that must never be read half written.

The new content goes to a file of its own in the same directory, and rename(2) puts it in the old one's place. A crash
leaves, by the step that it comes after:

    open, write      the old file, and beside it `.NAME.XXXXXXXX.new`, which nobody reads
    fsync of data    the same; from here on the content is safe
    rename           the new file, or after a loss of power either of the two, each of them whole
    fsync of names   the new file

Without the first fsync a file system may write the rename before the data, and a loss of power leaves an empty file.

The scratch file's name is random, and it must not exist: whoever may write to the directory cannot plant a link there
that turns the write to another file (CWE-59), and two processes that replace one file cannot write into one scratch
file. `make_private_directory` removes what crashes left.
"""

from __future__ import annotations

import os
import secrets
import time
from contextlib import suppress
from pathlib import Path

_SCRATCH = ".new"
# Longer than any write takes: a process that lives must find its scratch file at the rename.
LEFT_BEHIND_S = 3600.0


def make_private_directory(path: Path) -> None:
    """Make a directory that only its owner may enter, and its parents; remove scratch files that crashes left in it.

    Of a directory that exists and is ours, other users lose their rights; a group's rights are the operator's choice.

    Raises:
        OSError: the directory cannot be made.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.stat()
    # The root of a mounted volume may be another user's: its mode is for whoever mounts it.
    if found.st_mode & 0o007 and found.st_uid == os.geteuid():
        path.chmod(found.st_mode & 0o7770)
    oldest = time.time() - LEFT_BEHIND_S
    for entry in list(os.scandir(path)):
        is_scratch = entry.name.startswith(".") and entry.name.endswith(_SCRATCH)
        # Its writer may rename it between two calls.
        with suppress(FileNotFoundError):
            if is_scratch and entry.stat(follow_symlinks=False).st_mtime < oldest:
                Path(entry.path).unlink()


def fsync_directory(path: Path) -> None:
    """Make the names in a directory durable: fsync(2) of a file does not cover the entry that names it."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def create_file(path: Path, data: bytes, *, mode: int = 0o600) -> int:
    """Create a file with exactly `mode` and write `data` to it; its descriptor, which appends and the caller closes.

    Raises:
        FileExistsError: there is a file or a link of that name.
        OSError: the volume is full or read-only; no file is left.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_APPEND | os.O_CLOEXEC
    handle = os.open(path, flags, mode)
    try:
        os.fchmod(handle, mode)  # `open` lets the umask take bits away
        view = memoryview(data)
        while view:
            view = view[os.write(handle, view) :]
    except OSError:
        os.close(handle)
        path.unlink(missing_ok=True)
        raise
    return handle


def replace_file(path: Path, data: bytes, *, mode: int = 0o600, durable: bool = True) -> None:
    """Replace the content of `path` by `data`: a reader sees the old file or the new one, with exactly `mode`.

    With `durable` the data and the name survive a loss of power; without it only a crash of the process.

    Raises:
        OSError: the volume is full or read-only; the old file is untouched.
    """
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}{_SCRATCH}")
    handle = create_file(scratch, data, mode=mode)
    try:
        if durable:
            os.fsync(handle)
        scratch.replace(path)
    except OSError:
        scratch.unlink(missing_ok=True)
        raise
    finally:
        os.close(handle)
    if durable:
        fsync_directory(path.parent)
