"""The order journal: append-only segments of framed records; what is appended survives the process at once.

A record is in the page cache when `append` returns (a kill loses nothing) and on the disk when `wait_synced`
returns (a loss of power loses nothing). One fdatasync at a time, off the loop, covers all that came before it.

Each segment begins with a snapshot of what lives, so that a start reads the newest segment only. Its name is
the position of its first record; positions count all records and never repeat.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from broker.events.orders import JournalSync
from broker.orders.store.disk_sync import Disk
from broker.orders.store.journal_format import KIND, VERSION
from pod_runtime.atomic_file import fsync_directory
from pod_runtime.framing import HEADER_BYTES, FormatError, Record, file_header, file_version, frame, records
from producer.emitter import Emit

SUFFIX = ".journal"


class JournalError(Exception):
    """The journal cannot take or keep records; nothing may be sent that is not in it."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A file of the journal and the position of its first record."""

    path: Path
    first: int


def segments(directory: Path) -> list[Segment]:
    """The journal's files, oldest first."""
    found = [path for path in directory.glob(f"*{SUFFIX}") if path.stem.isdecimal()]
    return sorted((Segment(path, int(path.stem)) for path in found), key=lambda item: item.first)


class Journal:
    """One process's journal in `directory`. `open` it, `close` it.

    Older segments go when their records are released (history has them) or beyond `keep_bytes`, which is counted
    in `discarded`.
    """

    def __init__(self, directory: Path, *, segment_bytes: int, keep_bytes: int, emit: Emit) -> None:
        self._directory = directory
        self._segment_bytes = segment_bytes
        self._keep_bytes = keep_bytes
        self._emit = emit
        self._descriptor = -1
        self._size = 0
        self._first = 0
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._syncing = False
        self._disk = Disk()
        self.grown = asyncio.Event()
        """Set at each append; a reader clears it before it reads."""
        self.written = 0
        """Position behind the last record."""
        self.synced = 0
        """Records before this position are on the disk."""
        self.released = 0
        self.discarded = 0
        """Segments removed before anybody released them."""
        self.damaged_bytes = 0
        """Unreadable bytes at the end of the newest segment at `open`, set aside in a `.torn` file."""
        self.failure: str | None = None
        self.is_closed = False

    @property
    def directory(self) -> Path:
        """Where the segments are."""
        return self._directory

    def open(self) -> list[bytes]:
        """Opens the newest segment for appending; its records, snapshot first.

        Raises:
            OSError: the directory cannot be used.
            FormatError: the newest segment is of a version that this program does not read.
        """
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = segments(self._directory)
        if not found:
            return []
        newest = found[-1]
        data = newest.path.read_bytes()
        if (version := file_version(data, KIND)) != VERSION:
            raise FormatError(f"{newest.path}: version {version}; this program reads {VERSION}")
        held = list(records(data))
        end = held[-1].end if held else HEADER_BYTES
        self._descriptor = os.open(newest.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        self._cut(newest.path, data, end)
        self._first, self._size = newest.first, end
        self.written = self.synced = newest.first + len(held)
        return [record.payload for record in held]

    def _cut(self, path: Path, data: bytes, end: int) -> None:
        if len(data) > end:
            self.damaged_bytes = len(data) - end
            path.with_suffix(".torn").write_bytes(data[end:])
            os.ftruncate(self._descriptor, end)

    @property
    def is_full(self) -> bool:
        """Whether the segment is due to be followed by another."""
        return self._descriptor < 0 or self._size >= self._segment_bytes

    def append(self, payload: bytes) -> int:
        """Writes a record; the position behind it.

        Raises:
            JournalError: the volume failed; the record is not in the journal.
        """
        if self.failure is not None:
            raise JournalError(self.failure)
        data = frame(payload)
        try:
            taken = os.write(self._descriptor, data)
            if taken < len(data):
                raise OSError(f"only {taken} of {len(data)} bytes written")  # noqa: TRY301 - undone below like the others
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._descriptor, self._size)
            raise JournalError(f"order journal: {error}") from error
        self._size += len(data)
        self.written += 1
        self.grown.set()
        return self.written

    async def wait_synced(self, position: int) -> None:
        """Waits until the records before `position` are on the disk.

        Raises:
            JournalError: the disk refused; what it holds is uncertain until `rotate`.
        """
        if position <= self.synced:
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((position, done))
        self.begin_sync()
        await done

    def begin_sync(self) -> None:
        """Starts the disk on what is written, where it is not at work."""
        if not self._syncing and self.synced < self.written:
            self._sync()

    def _sync(self) -> None:
        self._syncing = True
        target = self.written
        self._disk.sync(self._descriptor, lambda fault, duration_s: self._done(target, fault, duration_s))

    def _done(self, target: int, fault: OSError | None, duration_s: float) -> None:
        self._syncing = False
        if fault is not None:
            self._fail(f"order journal: fdatasync: {fault}")
            return
        self._reached(target)
        self._emit(JournalSync(duration_s=duration_s))
        if self._waiting:
            self._sync()

    def _reached(self, position: int) -> None:
        self.synced = max(self.synced, position)
        due = [future for at, future in self._waiting if at <= self.synced]
        self._waiting = [(at, future) for at, future in self._waiting if at > self.synced]
        for future in due:
            if not future.done():
                future.set_result(None)

    def _fail(self, reason: str) -> None:
        """After a failed fdatasync the kernel may have dropped the pages: no later success covers them."""
        self.failure = reason
        waiting, self._waiting = self._waiting, []
        for _, future in waiting:
            if not future.done():
                future.set_exception(JournalError(reason))

    def rotate(self, snapshot: Iterable[bytes]) -> None:
        """Begins a new segment with a snapshot, on the disk before it counts. Mends a failed journal.

        Raises:
            JournalError: the volume failed; the old segment goes on.
        """
        payloads = list(snapshot)
        path = self._directory / f"{self.written:020d}{SUFFIX}"
        scratch = path.with_suffix(".new")
        data = b"".join([file_header(KIND, VERSION), *map(frame, payloads)])
        try:
            scratch.write_bytes(data)
            descriptor = os.open(scratch, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            os.fsync(descriptor)
            scratch.rename(path)
            fsync_directory(self._directory)
        except OSError as error:
            raise JournalError(f"order journal: {error}") from error
        if self._descriptor >= 0:
            self._disk.retire(self._descriptor)
        self._descriptor, self._size, self._first = descriptor, len(data), self.written
        self.written += len(payloads)
        self.failure = None
        self._reached(self.written)
        self.grown.set()
        self._forget()

    def release(self, position: int) -> None:
        """Records before `position` are kept elsewhere."""
        self.released = max(self.released, position)

    def _forget(self) -> None:
        found = segments(self._directory)
        total = sum(item.path.stat().st_size for item in found)
        for item, successor in pairwise(found):
            free = successor.first <= self.released
            if not free and total <= self._keep_bytes:
                return
            total -= item.path.stat().st_size
            self.discarded += not free
            item.path.unlink()

    async def close(self) -> None:
        """Syncs and closes; nothing may be appended after it, and who reads behind comes to an end."""
        with suppress(JournalError):
            await self.wait_synced(self.written)
        if self._descriptor >= 0:
            self._disk.retire(self._descriptor)
            self._descriptor = -1
        self._disk.close()
        self.is_closed = True
        self.grown.set()


def read_from(segment: Segment, offset: int, limit_bytes: int = 1 << 20) -> tuple[list[Record], int]:
    """Whole records of a segment from byte `offset`, about `limit_bytes` of them, and the offset behind them."""
    with segment.path.open("rb") as file:
        size = limit_bytes
        while True:
            file.seek(offset)
            data = file.read(size)
            found = list(records(data, 0))
            if found or len(data) < size:
                return found, offset + (found[-1].end if found else 0)
            size *= 2
