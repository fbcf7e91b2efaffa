"""Storage of the journal's files: a directory, or memory where nothing has to outlive the process."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

from pod_runtime.atomic_file import replace_file

FILE_MODE = 0o600


class JournalInUseError(OSError):
    """Another process holds the journal's directory."""


class FlushError(OSError):
    """A file could not be flushed: what of it is on the disk, only a new start can know."""


class DirectoryVolume:
    """Flat set of files in a directory that one process holds at a time. Whoever makes it closes it.

    One file is appended to at a time; `sync` and `replace` may run in a thread.

    Raises:
        JournalInUseError: another process holds the directory.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = _lock_directory(directory)
        self._name = ""
        self._handle = -1
        self._unsynced: list[int] = []
        """Files no longer appended to whose last writes may not be on the disk yet."""
        self._syncing = threading.Lock()
        self._torn_at = -1
        """End of the last whole record, while a part of another stands behind it."""

    def sizes(self) -> dict[str, int]:
        """Names and bytes of the files in alphabetical order, without hidden ones."""
        found = sorted(item for item in self._directory.iterdir() if item.is_file() and item.name[0] != ".")
        return {item.name: item.stat().st_size for item in found}

    def read(self, name: str) -> bytes:
        """Read a whole file. Raises FileNotFoundError if there is none."""
        return (self._directory / name).read_bytes()

    def replace(self, name: str, data: bytes) -> None:
        """Write a file in one step, durably: a reader sees the old one or the new one."""
        replace_file(self._directory / name, data, mode=FILE_MODE)

    def append(self, name: str, data: bytes) -> None:
        """Create or extend a file. On OSError it is as it was: cut back if the volume took only a part."""
        if name != self._name:
            self._leave_file()
            # O_APPEND: after a cut the next write stands at the new end, without a seek.
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            self._handle = os.open(self._directory / name, flags, FILE_MODE)
            self._name = name
        self._cut_back()
        written = os.write(self._handle, data)
        if written < len(data):
            self._append_rest(data, written)

    def _append_rest(self, data: bytes, written: int) -> None:
        # write(2) may take a part, and says why only at the next call: a full disk shows up here.
        start = os.fstat(self._handle).st_size - written
        try:
            while written < len(data):
                written += os.write(self._handle, data[written:])
        except OSError:
            # The caller tries the whole append again: half a record before it would read as damage.
            self._torn_at = start
            self._cut_back()
            raise

    def _cut_back(self) -> None:
        if self._torn_at >= 0:
            os.ftruncate(self._handle, self._torn_at)
            self._torn_at = -1

    def truncate(self, name: str, size: int) -> None:
        """Cut a file. Needs no free space, as `replace` would: a full volume may be why its last write was torn."""
        # By name: only a segment of an earlier process is ever cut here, and it is not open.
        os.truncate(self._directory / name, size)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        (self._directory / name).unlink(missing_ok=True)

    def _leave_file(self) -> None:
        if self._handle >= 0:
            self._unsynced.append(self._handle)
            self._handle, self._name = -1, ""

    def sync(self) -> None:
        """Make durable everything appended before the call, and the directory's names. Blocks: run it in a thread.

        Raises:
            FlushError: something of it may be lost.
            OSError: no descriptor is left, and nothing was done yet.
        """
        # One at a time: a second sync that began while the first still flushes the segment before would find
        # nothing left of it to flush, and would report events as durable that are not.
        with self._syncing:
            # What needs a descriptor comes first: a sync that cannot begin takes nothing off the list.
            own: list[int] = []
            try:
                own.append(os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
                # Read once: the event loop may turn to the next segment between a check and the use.
                if (current := self._handle) >= 0:
                    # A descriptor of this call's own, closed below like those of the files left behind.
                    own.append(os.dup(current))
                left, self._unsynced = self._unsynced, []
                own += left
                # A new segment's name needs its own sync (fsync(2)), else a loss of power hides a file that is on
                # the disk. The others are enough with this: it flushes the size, too, which a reader needs.
                _flush(own[1:], own[0])
            finally:
                for handle in own:
                    os.close(handle)

    def close(self) -> None:
        """Close the files, and let go of the directory."""
        with self._syncing:
            self._leave_file()
            for handle in self._unsynced:
                os.close(handle)
            self._unsynced = []
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _flush(files: list[int], directory: int) -> None:
    try:
        for handle in files:
            os.fdatasync(handle)
        if files:
            os.fsync(directory)
    except OSError as error:
        raise FlushError(error.errno, error.strerror) from error


def _lock_directory(directory: Path) -> int:
    # flock(2) and not a file with a process id: the kernel lets go of it however the process ends.
    handle = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        text = f"{directory} is in use by another process: give each sidecar a journal_directory of its own"
        raise JournalInUseError(error.errno, text) from error
    return handle


class MemoryVolume:
    """Files in memory with the methods of `DirectoryVolume`, for `durability = "none"` and for tests."""

    def __init__(self) -> None:
        self.files: dict[str, bytearray] = {}

    def sizes(self) -> dict[str, int]:
        """Names and bytes of the files."""
        return {name: len(data) for name, data in sorted(self.files.items())}

    def read(self, name: str) -> bytes:
        """Read a whole file."""
        if name not in self.files:
            raise FileNotFoundError(name)
        return bytes(self.files[name])

    def replace(self, name: str, data: bytes) -> None:
        """Write a file."""
        self.files[name] = bytearray(data)

    def append(self, name: str, data: bytes) -> None:
        """Create or extend a file."""
        self.files.setdefault(name, bytearray()).extend(data)

    def truncate(self, name: str, size: int) -> None:
        """Cut a file."""
        del self.files[name][size:]

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        self.files.pop(name, None)

    def sync(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


Volume = DirectoryVolume | MemoryVolume
