"""The directory of a journal, which one process has at a time."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class JournalInUseError(OSError):
    """Another process has the journal's directory."""


def lock_directory(directory: Path) -> int:
    """Takes the directory for this process, for as long as the returned descriptor is open.

    Raises:
        JournalInUseError: another process has it.
    """
    handle = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        text = f"{directory} is in use by another process: give each sidecar a journal_directory of its own"
        raise JournalInUseError(error.errno, text) from error
    return handle
