"""Where the journal's files lie: a directory, or memory where nothing has to outlive the process."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from pod_runtime.atomic_file import fsync_directory, replace_file

FILE_MODE = 0o600


class Volume(Protocol):
    """A flat set of files. One of them is appended to at a time."""

    def names(self) -> list[str]:
        """The files that are there."""

    def size(self, name: str) -> int:
        """Bytes of a file."""

    def read(self, name: str) -> bytes:
        """A whole file. Raises FileNotFoundError where there is none."""

    def replace(self, name: str, data: bytes) -> None:
        """Writes a file in one step: a reader sees the old one or the new one."""

    def append(self, name: str, data: bytes) -> None:
        """Makes or extends a file. On OSError the file is as it was, or `damaged` says otherwise."""

    def truncate(self, name: str, size: int) -> None:
        """Cuts a file."""

    def remove(self, name: str) -> None:
        """Removes a file, if it is there."""

    def sync(self) -> None:
        """Makes durable what was appended before the call. May block: called in a thread."""

    def close(self) -> None:
        """Gives up what is open."""


class DirectoryVolume:
    """Files of a directory. Whoever makes it closes it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._name = ""
        self._handle = -1
        self._unsynced: list[int] = []

    def names(self) -> list[str]:
        """The files that are there, hidden ones left out."""
        return sorted(item.name for item in self._directory.iterdir() if item.is_file() and item.name[0] != ".")

    def size(self, name: str) -> int:
        """Bytes of a file."""
        return (self._directory / name).stat().st_size

    def read(self, name: str) -> bytes:
        """A whole file."""
        return (self._directory / name).read_bytes()

    def replace(self, name: str, data: bytes) -> None:
        """Writes a file in one step, durably."""
        replace_file(self._directory / name, data, mode=FILE_MODE)

    def append(self, name: str, data: bytes) -> None:
        """Extends the file; cut back where the volume takes only a part."""
        if name != self._name:
            self._leave_file()
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._handle = os.open(self._directory / name, flags, FILE_MODE)
            self._name = name
        written = os.write(self._handle, data)
        if written < len(data):
            self._append_rest(data, written)

    def _append_rest(self, data: bytes, written: int) -> None:
        start = os.fstat(self._handle).st_size - written
        try:
            while written < len(data):
                written += os.write(self._handle, data[written:])
        except OSError:
            os.ftruncate(self._handle, start)
            raise

    def truncate(self, name: str, size: int) -> None:
        """Cuts a file."""
        os.truncate(self._directory / name, size)

    def remove(self, name: str) -> None:
        """Removes a file, if it is there."""
        (self._directory / name).unlink(missing_ok=True)

    def _leave_file(self) -> None:
        if self._handle >= 0:
            self._unsynced.append(self._handle)
            self._handle, self._name = -1, ""

    def sync(self) -> None:
        """Flushes what was appended to, and the directory's names."""
        handles, self._unsynced = self._unsynced, []
        if self._handle >= 0:
            # The loop may turn to the next file meanwhile: the descriptor is this call's own.
            handles.append(os.dup(self._handle))
        try:
            for handle in handles:
                os.fdatasync(handle)
        finally:
            for handle in handles:
                os.close(handle)
        if handles:
            fsync_directory(self._directory)

    def close(self) -> None:
        """Closes what is open."""
        self._leave_file()
        for handle in self._unsynced:
            os.close(handle)
        self._unsynced = []


class MemoryVolume:
    """Files in memory, for `durability = "none"` and for tests."""

    def __init__(self) -> None:
        self.files: dict[str, bytearray] = {}

    def names(self) -> list[str]:
        """The files that are there."""
        return sorted(self.files)

    def size(self, name: str) -> int:
        """Bytes of a file."""
        return len(self.files[name])

    def read(self, name: str) -> bytes:
        """A whole file."""
        if name not in self.files:
            raise FileNotFoundError(name)
        return bytes(self.files[name])

    def replace(self, name: str, data: bytes) -> None:
        """Writes a file."""
        self.files[name] = bytearray(data)

    def append(self, name: str, data: bytes) -> None:
        """Makes or extends a file."""
        self.files.setdefault(name, bytearray()).extend(data)

    def truncate(self, name: str, size: int) -> None:
        """Cuts a file."""
        del self.files[name][size:]

    def remove(self, name: str) -> None:
        """Removes a file, if it is there."""
        self.files.pop(name, None)

    def sync(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""
