"""The spool of the running process: every event is in it before `emit` returns.

The current segment is a file whose space is allocated first and which is then mapped, so that adding an event
is one copy of memory (0.1 µs, where write(2) takes 0.9 µs and lets go of the interpreter's lock). The copy is one
call into C: threads need no lock, and the order in the file is the sequence. The kernel owns the pages: they
outlive the process, however it dies. Allocating first makes a full volume show itself when a segment is opened,
never as SIGBUS in the middle of one; a device that fails under a mapped page ends the process, as it ends the
order journal on the same volume.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from pod_runtime.framing import HEADER_BYTES, file_header
from producer.spool.format import (
    SEGMENT_KIND,
    VERSION,
    SessionMeta,
    extend_session,
    lock_session,
    remove_session,
    segment_path,
    write_session,
)
from producer.spool.unacked_queue import Backlog, Segment
from telemetry_contract.v1 import telemetry_pb2 as pb

SPARE, NEXT = "spare", "next"
MEMORY_PARTS = 16
"""Into how many segments events in memory are parted: memory is freed by segments."""
MAX_RETIRED = 3
MAX_UNCOUNTED_BYTES = 1 << 18
"""Who reads events counts them; where nobody does, the thread that begins a segment must not find it all to count."""
MEND_INTERVAL_S = 1.0
MADV_POPULATE_WRITE = 23
"""madvise(2), Linux 5.14: makes the pages now, not at the first event that is copied to each."""


def no_room(_: bytes) -> int:
    """Stands for a segment that takes nothing more, as a full mapping does.

    Raises:
        ValueError: always.
    """
    raise ValueError


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What a spool may take.

    `limit` bytes of files and `memory_bytes` of memory, of which the part `reserve` is for the event ids in
    `reserved` only; files of `segment_bytes`.
    """

    limit: int
    segment_bytes: int
    memory_bytes: int
    reserve: float
    reserved: frozenset[int]

    def share(self, code: int) -> float:
        """The part of the space that an event of this id may use."""
        return 1.0 if code in self.reserved else 1.0 - self.reserve


@dataclass(slots=True, eq=False)
class _Open(Segment):
    """A segment that is written, or was; `handle` is its file's, -1 for memory."""

    handle: int = -1

    @property
    def uncounted(self) -> int:
        """Bytes of records that came since the last look."""
        return self.map.tell() - self.end if self.map is not None else 0

    def retire(self) -> None:
        """Closes what is written to its end: it is read from the file from now on."""
        if self.map is None or self.path is None:
            return
        self.map.close()
        self.map = None
        with suppress(OSError):  # a tail of zeros is read as the end
            os.ftruncate(self.handle, self.end)
        os.close(self.handle)


class Spool(Backlog):
    """Takes events; bounded.

    `put` copies a record to the current segment; it raises ValueError where that has no room or is closed, and
    then `add` finds room or refuses. Where the volume fails, events go on in memory and `fault` says why; `tend`
    tries the volume again. Closed by `close`.
    """

    def __init__(self, directory: Path, meta: SessionMeta, bounds: Bounds) -> None:
        super().__init__(meta)
        self.directory = directory / meta.session_id
        self.guard = self._lock
        self.fault: OSError | None = None
        self.put: Callable[[bytes], int] = no_room
        self._bounds = bounds
        self._limit = bounds.limit - 2 * bounds.segment_bytes  # the current file and the spare one are whole
        self._memory_part = bounds.memory_bytes // MEMORY_PARTS
        self._file_bytes = 0
        self._memory_used = 0
        self._session_lock: int | None = None
        self._spare: tuple[Path, int, mmap.mmap] | None = None
        self._current: _Open | None = None
        self._retired: list[_Open] = []
        self._mend_at_s = 0.0
        self._closed = False
        self._untold = False
        self._mend()

    @property
    def last(self) -> int:
        """Sequence of the last event taken; `guard` is held."""
        self._look()
        return self._next() - 1

    def _next(self) -> int:
        """Sequence of the event that comes next, if none came since the last look."""
        return self._segments[-1].last + 1 if self._segments else self._acknowledged + 1

    @property
    def size(self) -> int:
        """Bytes of events in files."""
        current = self._current
        written = current.map.tell() if current is not None and current.path is not None and current.map else 0
        return self._file_bytes + written

    @property
    def full(self) -> bool:
        """Whether only reserved events are taken."""
        return self.size + self._bounds.segment_bytes > self._limit * (1.0 - self._bounds.reserve)

    def add(self, code: int, record: bytes) -> str | None:
        """Adds an event that `put` did not take; `guard` is held. The reason where it is refused."""
        if self._closed:
            return "closed"
        share = self._bounds.share(code)
        if self.fault is not None:
            return self._remember(record, share)
        if self.size + len(record) > self._limit * share:
            self.put = no_room
            return "spool_full"
        try:
            self._write(record)
        except OSError as error:
            self.fault = error
            self._freeze()
            return self._remember(record, share)
        return None

    def define(self, item: pb.Define) -> None:
        """Says what a further event id means, before the first event of it; `guard` is held.

        Where the session file cannot say so, events go on in memory: a successor could not read them.
        """
        self.meta = replace(self.meta, defines=(*self.meta.defines, item))
        self._untold = True
        try:
            self._tell()
        except OSError as error:
            self.fault = error
            self._freeze()

    def _tell(self) -> None:
        if self._untold and self._session_lock is not None:
            extend_session(self.directory, self.meta)
            self._untold = False

    def _write(self, record: bytes) -> None:
        try:
            self._copy(record)
        except ValueError:
            self._roll()
            self._copy(record)
        self.put = no_room if self.full or self._current is None or not self._current.map else self._current.map.write

    def _copy(self, record: bytes) -> None:
        if self._current is None or self._current.map is None:
            raise ValueError
        self._current.map.write(record)

    def _remember(self, record: bytes, share: float) -> str | None:
        """Adds an event to memory only."""
        try:
            self._copy(record)
        except ValueError:
            self._freeze()
            self._release_all()
            if self._memory_used + self._memory_part > self._bounds.memory_bytes * share:
                return "memory_full"
            self._begin(None, mmap.mmap(-1, self._memory_part), -1)
            self._copy(record)
        return None

    def _release_all(self) -> None:
        """Frees what was acknowledged while it was written."""
        for path in self._release():
            with suppress(OSError):
                path.unlink(missing_ok=True)

    def _begin(self, path: Path | None, mapped: mmap.mmap, handle: int) -> None:
        mapped.seek(HEADER_BYTES)
        self._current = _Open(self._next(), path, mapped, handle=handle)
        self._segments.append(self._current)
        if path is None:
            self._memory_used += len(mapped)

    def _roll(self) -> None:
        """Goes on in a new file; raises OSError where there is none to be had."""
        scratch, handle, mapped = self._spare or self._allocate(NEXT)
        self._freeze()
        path = segment_path(self.directory, self._next())
        try:
            scratch.rename(path)
            self._spare = None  # not before: `tend` would make another of that name
        except OSError:
            self._spare = None
            mapped.close()
            os.close(handle)
            raise
        self._begin(path, mapped, handle)
        self.fault = None

    def _allocate(self, name: str) -> tuple[Path, int, mmap.mmap]:
        """An empty segment in a new file: one of that name may be mapped, and must not be truncated."""
        size, scratch = self._bounds.segment_bytes, self.directory / name
        scratch.unlink(missing_ok=True)
        handle = os.open(scratch, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(handle, 0, size)
            mapped = mmap.mmap(handle, size)
        except OSError:
            os.close(handle)
            raise
        mapped.write(file_header(SEGMENT_KIND, VERSION))
        return scratch, handle, mapped

    def _freeze(self) -> None:
        """The current segment takes nothing more, not even from a thread that is about to call its `put`."""
        current, self._current, self.put = self._current, None, no_room
        if current is None or current.map is None:
            return
        current.map.seek(0, os.SEEK_END)
        current.look()
        if current.path is not None:
            self._file_bytes += current.end
            self._retired.append(current)
            while len(self._retired) > MAX_RETIRED:  # nobody tends: the loop stands still
                self._retired.pop(0).retire()
        if not current.count:
            self._segments.remove(current)
            self._released(current)

    def _released(self, segment: Segment) -> None:
        if segment.path is not None:
            self._file_bytes -= segment.end
        elif segment.map is not None:
            self._memory_used -= len(segment.map)
            segment.map.close()
            segment.map = None

    def _done(self, segment: Segment) -> bool:
        return segment is not self._current and super()._done(segment)

    def tend(self, now_s: float) -> None:
        """What need not happen inside `emit`: closes written files, allocates the next one, tries a failed volume."""
        with self.guard:
            if self._current is not None and self._current.uncounted > MAX_UNCOUNTED_BYTES:
                self._look()
            retired, self._retired = self._retired, []
        for segment in retired:
            segment.retire()
        if self.fault is not None and now_s >= self._mend_at_s:
            self._mend_at_s = now_s + MEND_INTERVAL_S
            self._mend()
        elif self.fault is None and self._spare is None and not self._closed:
            self._prepare()

    def _prepare(self) -> None:
        with suppress(OSError):  # the roll will meet it again, and say so
            spare = self._allocate(SPARE)
            with suppress(OSError):
                spare[2].madvise(MADV_POPULATE_WRITE)
            self._spare = spare

    def _mend(self) -> None:
        with self.guard:
            try:
                self._claim()
                self._roll()
                self.put = no_room
            except OSError as error:
                self.fault = error

    def _claim(self) -> None:
        """Makes the session's directory ours."""
        if self._session_lock is None:
            self.directory.mkdir(parents=True, mode=0o700, exist_ok=True)
            write_session(self.directory, self.meta)
            self._session_lock = lock_session(self.directory)
            self._untold = False
        self._tell()

    def close(self) -> None:
        """Takes nothing more. What is held stays in its files for the next process; without any, they go."""
        with self.guard:
            self._closed = True
            self._freeze()
            for segment in self._retired:
                segment.retire()
            self._retired = []
        if self._spare is not None:
            scratch, handle, mapped = self._spare
            mapped.close()
            os.close(handle)
            scratch.unlink(missing_ok=True)
        if self._session_lock is not None:
            if not self.held:
                remove_session(self.directory)
            os.close(self._session_lock)
            self._session_lock = None
