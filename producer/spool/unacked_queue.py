"""Events that the sidecar has not acknowledged, in the order of their sequence, as a list of segments.

The queue serves a running process (`producer.spool.spool` appends segments that still grow) and the session of a dead
one (`producer.spool.recovery`, files only). One thread reads with `after`; any thread may append or acknowledge.

Nobody counts an event when it is copied into a segment: that would put a lock on the emitting path. Records carry
their length and an unwritten mapping is zeros, so the segment that grows is counted when somebody asks, from the
place where counting stopped; reading counts as it goes.
"""

from __future__ import annotations

import mmap
import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pod_runtime.framing import HEADER_BYTES
from producer.spool.format import Row, SessionMeta, count_mapped_rows, read_checked_rows, read_mapped_rows, skip_rows


@dataclass(slots=True, eq=False)
class SpoolSegment:
    """A run of events from sequence `first` on: in a file, in mapped memory, or in both."""

    first: int
    path: Path | None
    map: mmap.mmap | None = None
    handle: int = -1
    """The mapped file's descriptor; -1 without one."""
    growing: bool = False
    """The writer may still append; such a segment is never released."""
    count: int = 0
    end: int = HEADER_BYTES
    """End of the first `count` records; a growing segment may have more behind."""

    @property
    def last(self) -> int:
        """Sequence of the last event counted; `first - 1` if there is none."""
        return self.first + self.count - 1

    @property
    def uncounted(self) -> int:
        """Bytes of records that came since the last count."""
        return self.map.tell() - self.end if self.map is not None else 0

    def recount(self) -> None:
        """Counts the records that came since the last count."""
        if self.map is not None:
            more, self.end = count_mapped_rows(self.map, self.end)
            self.count += more

    def trim(self) -> None:
        """Closes the mapping of a sealed file and cuts the file behind its last event; reads go to the file now."""
        if self.map is not None:
            self.map.close()
            self.map = None
            with suppress(OSError):  # a tail of zeros is read as the end
                os.ftruncate(self.handle, self.end)
            os.close(self.handle)

    def abandon(self) -> None:
        """Lets go of the mapping and the file in a child of fork(2), and changes neither."""
        if self.map is not None:
            with suppress(BufferError):  # a thread of the parent was about to read it
                self.map.close()
            self.map = None
            if self.handle >= 0:
                os.close(self.handle)

    def discard(self) -> None:
        """Removes a file that no event is in."""
        self.trim()
        if self.path is not None:
            unlink_all([self.path])


class EventRun(NamedTuple):
    """Consecutive events from sequence `first` on."""

    first: int
    rows: list[Row]


@dataclass(slots=True)
class _Cursor:
    """Place of the reader in a segment: the record of sequence `next` begins at `place`."""

    segment: SpoolSegment
    next: int
    place: int
    data: bytes | None = None
    """The file's content, read once if the segment is not mapped."""


class UnackedQueue:
    """The events of one session that wait for their acknowledgement, and the files that hold them.

    `lock` guards everything but the reader's cursor. Methods that end in `_locked` are called with it held.
    """

    def __init__(self, meta: SessionMeta, segments: Iterable[SpoolSegment] = ()) -> None:
        self.meta = meta
        self.lock = threading.Lock()
        self.damaged = 0
        """Events that their file no longer gives: lost, and counted."""
        self.file_bytes = 0
        """Bytes of events in files that no longer grow."""
        self.memory_bytes = 0
        """Bytes of segments that are in memory only."""
        self._segments = deque(segments)
        self._acknowledged = self._segments[0].first - 1 if self._segments else 0
        self._cursor: _Cursor | None = None

    def forked(self) -> None:
        """Leaves every segment to the parent, and begins empty (`producer.fork`)."""
        self.lock = threading.Lock()
        for segment in self._segments:
            segment.abandon()
        self._segments.clear()
        self._acknowledged = self.damaged = self.file_bytes = self.memory_bytes = 0
        self._cursor = None

    @property
    def first(self) -> int:
        """Sequence of the first event held; one past the last if none is."""
        with self.lock:
            self.recount_locked()
            held = next((item for item in self._segments if item.last > self._acknowledged), None)
            return self._acknowledged + 1 if held is None else max(held.first, self._acknowledged + 1)

    @property
    def last(self) -> int:
        """Sequence of the last event taken."""
        with self.lock:
            self.recount_locked()
            return self.next_locked - 1

    @property
    def held(self) -> int:
        """Number of events that wait."""
        with self.lock:
            self.recount_locked()
            return self.held_locked

    @property
    def next_locked(self) -> int:
        """Sequence of the next event, if none came since the last count."""
        return self._segments[-1].last + 1 if self._segments else self._acknowledged + 1

    @property
    def held_locked(self) -> int:
        """Number of events that wait, as of the last count."""
        return sum(max(0, item.last - max(item.first - 1, self._acknowledged)) for item in self._segments)

    def recount_locked(self) -> None:
        """Counts the segment that grows; it is always the last one."""
        if self._segments:
            self._segments[-1].recount()

    def append_locked(self, segment: SpoolSegment) -> None:
        """Adds a growing segment behind the others."""
        self._segments.append(segment)
        if segment.path is None and segment.map is not None:
            self.memory_bytes += len(segment.map)

    def seal_locked(self, segment: SpoolSegment) -> None:
        """Ends the growth of a segment; an empty one is taken out, so that two never begin with one sequence."""
        segment.recount()
        segment.growing = False
        if segment.path is not None:
            self.file_bytes += segment.end
        if not segment.count:
            self._segments.remove(segment)
            self._free_locked(segment)

    def after(self, sequence: int, limit: int) -> EventRun:
        """Up to `limit` consecutive events behind `sequence`; the first is a later one if some are lost."""
        while True:
            segment = self._following(sequence)
            if segment is None:
                return EventRun(sequence + 1, [])
            first = max(segment.first, sequence + 1)
            rows = self._rows(segment, first, limit)
            if rows or segment.last < first:
                return EventRun(first, rows)
            self._cut(segment, first)

    def _following(self, sequence: int) -> SpoolSegment | None:
        """The segment that has the next event; the last one may have it, uncounted: reading it counts."""
        with self.lock:
            last = self._segments[-1] if self._segments else None
            return next((item for item in self._segments if item.last > sequence), last)

    def _rows(self, segment: SpoolSegment, first: int, limit: int) -> list[Row]:
        cursor = self._cursor
        if cursor is None or cursor.segment is not segment or cursor.next != first:
            with self.lock:
                self.recount_locked()
            cursor = self._cursor = _Cursor(segment, segment.first, HEADER_BYTES)
            limit = min(limit, segment.last - first + 1)
        try:
            rows, cursor.place = _read_mapped(cursor, first, limit)
        except ValueError:  # in its file only, or the thread that rolled on closed the mapping just now
            rows, cursor.place = _read_file(cursor, first, min(limit, segment.last - first + 1))
        cursor.next = first + len(rows)
        with self.lock:
            if cursor.next - segment.first > segment.count:
                segment.count, segment.end = cursor.next - segment.first, cursor.place
        return rows

    def _cut(self, segment: SpoolSegment, first: int) -> None:
        """Gives up the events from `first` on that the segment's file should hold and does not."""
        with self.lock:
            self.damaged += segment.last - first + 1
            segment.count = first - segment.first
            if not segment.count:
                self._segments.remove(segment)
                self._free_locked(segment)

    def acknowledge(self, through: int) -> None:
        """Releases every event up to sequence `through`."""
        with self.lock:
            if self._segments and through > self._segments[-1].last:
                self.recount_locked()
            # After a loss of power the sidecar may know more events than a spool that nobody ever synced.
            through = min(through, self._segments[-1].last if self._segments else 0)
            self._acknowledged = max(self._acknowledged, through)
            gone = list(self._release_locked())
        unlink_all(gone)  # outside the lock: an emitter that needs it must not wait for the file system

    def release_locked(self) -> None:
        """Frees what was acknowledged while it still grew."""
        unlink_all(self._release_locked())

    def _release_locked(self) -> Iterator[Path]:
        while self._segments and self._segments[0].last <= self._acknowledged and not self._segments[0].growing:
            segment = self._segments.popleft()
            self._free_locked(segment)
            if segment.path is not None:
                yield segment.path

    def _free_locked(self, segment: SpoolSegment) -> None:
        if segment.path is not None:
            self.file_bytes -= segment.end
        elif segment.map is not None:
            self.memory_bytes -= len(segment.map)
            segment.map.close()
            segment.map = None


def unlink_all(paths: Iterable[Path]) -> None:
    """Unlinks files; one that stays is found by the next process, whose sidecar knows its events already."""
    for path in paths:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _read_mapped(cursor: _Cursor, first: int, limit: int) -> tuple[list[Row], int]:
    mapped = cursor.segment.map
    if mapped is None:
        raise ValueError
    place = cursor.place if cursor.next == first else skip_rows(mapped, HEADER_BYTES, first - cursor.segment.first)
    return read_mapped_rows(mapped, place, limit)


def _read_file(cursor: _Cursor, first: int, limit: int) -> tuple[list[Row], int]:
    """Rows of the file, whose checksums are compared: unlike our own memory it may have been damaged."""
    path, place = cursor.segment.path, cursor.place
    if cursor.data is None:
        cursor.data = b""
        with suppress(OSError):
            cursor.data = path.read_bytes() if path is not None else b""
    if first > cursor.next:
        _, place = read_checked_rows(cursor.data, place, first - cursor.next)
    return read_checked_rows(cursor.data, place, limit)
