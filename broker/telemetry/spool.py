"""The spool of the running process: every event is in it before `emit` returns.

The current segment is a file whose space is allocated first and which is then mapped, so that adding an event
is one copy of memory (0.15 µs, where write(2) takes 0.9 µs and lets go of the interpreter's lock). The kernel
owns the pages: they outlive the process, however it dies. Allocating first makes a full volume show itself
when a segment is opened, never as SIGBUS in the middle of one; a device that fails under a mapped page ends
the process, as it ends the order journal on the same volume.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from broker.telemetry.backlog import Backlog, Segment
from broker.telemetry.spool_file import (
    SEGMENT_KIND,
    VERSION,
    Row,
    SessionMeta,
    lock_session,
    remove_session,
    segment_path,
    write_session,
)
from runtime.framing import file_header

SPARE = "spare"
ROW_BYTES = 600
"""What a row takes in memory beyond its bytes in the file: a tuple of a dozen objects."""
MEND_INTERVAL_S = 1.0


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


@dataclass(frozen=True, slots=True)
class _Mapping:
    """An open file of a segment."""

    handle: int
    map: mmap.mmap

    def close(self, size: int) -> None:
        self.map.close()
        with suppress(OSError):  # a tail of zeros is read as the end
            os.ftruncate(self.handle, size)
        os.close(self.handle)


class Spool(Backlog):
    """Takes events; bounded.

    `put` and `append` belong to the current segment: whoever adds holds `guard` and calls them in this order,
    and `add` where `put` raises ValueError. Where the volume fails, events go on in memory and `fault` says
    why; `tend` tries the volume again. Closed by `close`.
    """

    def __init__(self, directory: Path, meta: SessionMeta, bounds: Bounds) -> None:
        super().__init__(meta)
        self.directory = directory / meta.session_id
        self.guard = self._lock
        self.fault: OSError | None = None
        self.put: Callable[[bytes], int] = no_room
        self._bounds = bounds
        self._limit = bounds.limit - 2 * bounds.segment_bytes  # the current file and the spare one are whole
        self._frozen_bytes = 0
        self._memory_used = 0
        self._session_lock: int | None = None
        self._spare: _Mapping | None = None
        self._mapping: _Mapping | None = None
        self._retired: list[tuple[_Mapping, int]] = []
        self._mend_at_s = 0.0
        self._closed = False
        self._begin(Segment(1, None, []))
        self._mend()

    def _begin(self, segment: Segment) -> None:
        if segment.rows is None:
            raise ValueError("the current segment is in memory, always")
        self._current = segment
        self._segments.append(segment)
        self.append: Callable[[Row], None] = segment.rows.append

    @property
    def last(self) -> int:
        """Sequence of the last event taken."""
        return self._current.last

    @property
    def size(self) -> int:
        """Bytes of events in files."""
        return self._frozen_bytes + (self._mapping.map.tell() if self._mapping is not None else 0)

    @property
    def full(self) -> bool:
        """Whether only reserved events are taken."""
        return self.size + self._bounds.segment_bytes > self._limit * (1.0 - self._bounds.reserve)

    def add(self, row: Row, frame: bytes) -> str | None:
        """Adds an event that the current segment did not take; `guard` is held. The reason where it is refused."""
        if self._closed:
            return "closed"
        share = self._bounds.share(row[0])
        if self._mapping is None:
            return self._remember(row, len(frame), share)
        if self.size + len(frame) > self._limit * share:
            self.put = no_room
            return "spool_full"
        try:
            self._write(frame)
        except OSError as error:
            self._fail(error)
            return self._remember(row, len(frame), share)
        self.append(row)
        return None

    def _write(self, frame: bytes) -> None:
        mapping = self._mapping
        if mapping is None or mapping.map.tell() + len(frame) > self._bounds.segment_bytes:
            mapping = self._roll()
        mapping.map.write(frame)
        self.put = no_room if self.full else mapping.map.write

    def _remember(self, row: Row, size: int, share: float) -> str | None:
        """Adds an event to memory only."""
        taken = size + ROW_BYTES
        if self._current.memory > self._bounds.segment_bytes or 0 < self._current.last <= self._acknowledged:
            self._freeze()
            self._begin(Segment(self._current.last + 1, None, []))
        if self._memory_used + taken > self._bounds.memory_bytes * share:
            return "memory_full"
        self._current.memory += taken
        self._memory_used += taken
        self.append(row)
        return None

    def _roll(self) -> _Mapping:
        """Goes on in a new file; raises OSError where there is none to be had."""
        mapping = self._spare or self._allocate()
        self._spare = None
        path = segment_path(self.directory, self._current.last + 1)
        try:
            (self.directory / SPARE).rename(path)
        except OSError:
            mapping.close(0)
            raise
        self._freeze()
        self._begin(Segment(self._current.last + 1, path, []))
        self._mapping, self.fault = mapping, None
        return mapping

    def _allocate(self) -> _Mapping:
        size = self._bounds.segment_bytes
        handle = os.open(self.directory / SPARE, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(handle, 0, size)
            mapped = mmap.mmap(handle, size)
        except OSError:
            os.close(handle)
            raise
        mapped.write(file_header(SEGMENT_KIND, VERSION))
        return _Mapping(handle, mapped)

    def _freeze(self) -> None:
        """The current segment takes nothing more."""
        current = self._current
        current.count = len(current.rows or ())
        if self._mapping is not None:
            current.size = self._mapping.map.tell()
            self._retired.append((self._mapping, current.size))
            self._frozen_bytes += current.size
            self._keep_in_memory(current)
        self._mapping, self.put = None, no_room
        if not current.count:
            self._segments.remove(current)
            self._released(current)

    def _keep_in_memory(self, segment: Segment) -> None:
        taken = segment.size + ROW_BYTES * segment.count
        if self._memory_used + taken > self._bounds.memory_bytes:
            segment.rows = None
            return
        segment.memory = taken
        self._memory_used += taken

    def _released(self, segment: Segment) -> None:
        self._memory_used -= segment.memory
        self._frozen_bytes -= segment.size

    def _done(self, segment: Segment) -> bool:
        return segment is not self._current and super()._done(segment)

    def _fail(self, error: OSError) -> None:
        self.fault = error
        self._freeze()
        self._begin(Segment(self._current.last + 1, None, []))

    def tend(self, now_s: float) -> None:
        """What need not happen inside `emit`: closes written files, allocates the next one, tries a failed volume."""
        with self.guard:
            retired, self._retired = self._retired, []
        for mapping, size in retired:
            mapping.close(size)
        if self.fault is not None and now_s >= self._mend_at_s:
            self._mend_at_s = now_s + MEND_INTERVAL_S
            self._mend()
        elif self.fault is None and self._spare is None and not self._closed:
            self._prepare()

    def _prepare(self) -> None:
        with self.guard, suppress(OSError):  # the roll will meet it again, and say so
            if self._spare is None:
                self._spare = self._allocate()

    def _mend(self) -> None:
        with self.guard:
            try:
                self._claim()
                mapping = self._roll()
                self.put = no_room if self.full else mapping.map.write
            except OSError as error:
                self.fault = error

    def _claim(self) -> None:
        """Makes the session's directory ours."""
        if self._session_lock is None:
            self.directory.mkdir(parents=True, mode=0o700, exist_ok=True)
            write_session(self.directory, self.meta)
            self._session_lock = lock_session(self.directory)

    def close(self) -> None:
        """Takes nothing more. What is held stays in its files for the next process; without any, they go."""
        with self.guard:
            self._closed = True
            self._freeze()
            retired, self._retired = self._retired, []
        for mapping, size in retired:
            mapping.close(size)
        if self._spare is not None:
            self._spare.close(0)
            (self.directory / SPARE).unlink(missing_ok=True)
        if self._session_lock is not None:
            if not self.held:
                remove_session(self.directory)
            os.close(self._session_lock)
            self._session_lock = None
