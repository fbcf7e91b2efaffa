"""Events that wait for their acknowledgement, in the order of their sequence."""

from __future__ import annotations

import mmap
import threading
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pod_runtime.framing import HEADER_BYTES
from producer.spool.format import (
    Row,
    SessionMeta,
    checked_rows,
    count_records,
    segment_paths,
    skip_records,
    taken_rows,
    whole_rows,
)

DAMAGED = ("", "spool_damaged")


@dataclass(slots=True, eq=False)
class Segment:
    """A run of events from sequence `first` on: in a file, in mapped memory, or in both."""

    first: int
    path: Path | None
    map: mmap.mmap | None = None
    count: int = 0
    end: int = HEADER_BYTES
    """Where the first `count` records end; one that is still written may have more."""

    def look(self) -> None:
        """Counts the records that came since the last look."""
        if self.map is not None:
            more, self.end = count_records(self.map, self.end)
            self.count += more

    def counted(self, count: int, end: int) -> None:
        """Notes that the first `count` records end at `end`: who reads them counts them, too."""
        if count > self.count:
            self.count, self.end = count, end

    @property
    def last(self) -> int:
        """Sequence of the last event counted; `first - 1` where there is none."""
        return self.first + self.count - 1


class Run(NamedTuple):
    """Consecutive events from sequence `first` on."""

    first: int
    rows: list[Row]


@dataclass(slots=True)
class _Reader:
    """Where reading a segment stands: the record of sequence `next` begins at `place`."""

    segment: Segment
    next: int
    place: int
    data: bytes | None = None


class Backlog:
    """The events of one session that are not acknowledged. Threads may append while one reads.

    It says which events come next (`after`), and releases what was acknowledged, files included.
    """

    def __init__(self, meta: SessionMeta) -> None:
        self.meta = meta
        self.dropped: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()
        self._segments: deque[Segment] = deque()
        self._acknowledged = 0
        self._reader: _Reader | None = None

    @property
    def first(self) -> int:
        """Sequence of the first event held; one past the last where none is."""
        with self._lock:
            self._look()
            held = next((item for item in self._segments if item.last > self._acknowledged), None)
            return self._acknowledged + 1 if held is None else max(held.first, self._acknowledged + 1)

    @property
    def held(self) -> int:
        """How many events wait."""
        with self._lock:
            return self.held_locked()

    def held_locked(self) -> int:
        """How many events wait; for who holds the lock already."""
        self._look()
        return sum(max(0, item.last - max(item.first - 1, self._acknowledged)) for item in self._segments)

    def _look(self) -> None:
        if self._segments:
            self._segments[-1].look()

    def after(self, sequence: int, limit: int) -> Run:
        """Up to `limit` consecutive events that follow `sequence`; the first is a later one where some are lost."""
        while True:
            segment = self._following(sequence)
            if segment is None:
                return Run(sequence + 1, [])
            first = max(segment.first, sequence + 1)
            rows = self._rows(segment, first, limit)
            if rows or segment.last < first:
                return Run(first, rows)
            self._cut(segment, first)

    def _following(self, sequence: int) -> Segment | None:
        """The segment that has the next event; the last one may have it, uncounted: reading it counts."""
        with self._lock:
            last = self._segments[-1] if self._segments else None
            return next((item for item in self._segments if item.last > sequence), last)

    def _rows(self, segment: Segment, first: int, limit: int) -> list[Row]:
        reader = self._reader
        if reader is None or reader.segment is not segment or reader.next != first:
            with self._lock:
                self._look()
            reader = self._reader = _Reader(segment, segment.first, HEADER_BYTES)
            limit = min(limit, segment.last - first + 1)
        try:
            rows, reader.place = _taken(reader, first, limit)
        except ValueError:  # it is in its file only, or was closed by the thread that rolled on
            rows, reader.place = self._read(reader, first, min(limit, segment.last - first + 1))
        reader.next = first + len(rows)
        with self._lock:
            segment.counted(reader.next - segment.first, reader.place)
        return rows

    def _read(self, reader: _Reader, first: int, limit: int) -> tuple[list[Row], int]:
        """Reads a file, whose sums are checked: it may have been damaged."""
        if reader.data is None:
            reader.data = _content(reader.segment)
        skipped, place = first - reader.next, reader.place
        if skipped:
            _, place = checked_rows(reader.data, place, skipped)
        return checked_rows(reader.data, place, limit)

    def _cut(self, segment: Segment, first: int) -> None:
        """What a file should hold from `first` on cannot be read: it is lost, and counted."""
        with self._lock:
            self.dropped[DAMAGED] += segment.last - first + 1
            segment.count = first - segment.first
            if not segment.count:
                self._segments.remove(segment)
                self._released(segment)

    def acknowledge(self, through: int) -> None:
        """Releases every event up to sequence `through`."""
        with self._lock:
            if self._segments and through > self._segments[-1].last:
                self._look()
            through = min(through, self._segments[-1].last if self._segments else 0)
            self._acknowledged = max(self._acknowledged, through)
            gone = list(self._release())
        for path in gone:
            with suppress(OSError):
                path.unlink(missing_ok=True)

    def _release(self) -> Iterator[Path]:
        while self._segments and self._done(self._segments[0]):
            segment = self._segments.popleft()
            self._released(segment)
            if segment.path is not None:
                yield segment.path

    def _done(self, segment: Segment) -> bool:
        return segment.last <= self._acknowledged

    def _released(self, segment: Segment) -> None:
        """For who keeps account of space; called with the lock held."""


def _taken(reader: _Reader, first: int, limit: int) -> tuple[list[Row], int]:
    mapped = reader.segment.map
    if mapped is None:
        raise ValueError
    place = reader.place if reader.next == first else skip_records(mapped, first - reader.segment.first)
    return taken_rows(mapped, place, limit)


def _content(segment: Segment) -> bytes:
    try:
        return segment.path.read_bytes() if segment.path is not None else b""
    except OSError:
        return b""


class Leftover(Backlog):
    """What a dead process left: its files are read, torn tails are cut. `lock` is the handle of its lock."""

    def __init__(self, directory: Path, meta: SessionMeta, lock: int) -> None:
        super().__init__(meta)
        self.directory = directory
        self.lock = lock
        for first, path in segment_paths(directory):
            count = whole_rows(path.read_bytes())
            if count:
                self._segments.append(Segment(first, path, count=count))
        self._acknowledged = self._segments[0].first - 1 if self._segments else 0
