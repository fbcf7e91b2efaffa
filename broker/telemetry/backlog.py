"""Events that wait for their acknowledgement, in the order of their sequence."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from broker.telemetry.spool_file import Row, SessionMeta, read_rows, segment_paths, whole_rows
from runtime.framing import FormatError

DAMAGED = ("", "spool_damaged")


@dataclass(slots=True)
class Segment:
    """A run of events: in a file, in memory, or in both."""

    first: int
    path: Path | None
    rows: list[Row] | None
    """None where they are in the file only."""
    count: int = 0
    """Of a segment that is still written, the length of `rows` counts."""
    size: int = 0
    """Bytes in the file."""
    memory: int = 0
    """Estimate of what `rows` takes."""

    @property
    def last(self) -> int:
        """Sequence of the last event; `first - 1` where there is none."""
        return self.first + (self.count or len(self.rows or ())) - 1


class Run(NamedTuple):
    """Consecutive events from sequence `first` on."""

    first: int
    rows: Sequence[Row]


@dataclass(slots=True)
class _Reader:
    """Where reading a segment's file stands: rows before sequence `next` were given out."""

    segment: Segment
    next: int
    rows: Iterator[Row]


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
            held = next((item for item in self._segments if item.last > self._acknowledged), None)
            return self._acknowledged + 1 if held is None else max(held.first, self._acknowledged + 1)

    @property
    def held(self) -> int:
        """How many events wait."""
        with self._lock:
            return self.held_locked()

    def held_locked(self) -> int:
        """How many events wait; for who holds the lock already."""
        return sum(max(0, item.last - max(item.first - 1, self._acknowledged)) for item in self._segments)

    def after(self, sequence: int, limit: int) -> Run:
        """Up to `limit` consecutive events that follow `sequence`; the first is a later one where some are lost."""
        while True:
            with self._lock:
                segment = next((item for item in self._segments if item.last > sequence), None)
            if segment is None:
                return Run(sequence + 1, ())
            first = max(segment.first, sequence + 1)
            rows = self._rows(segment, first, limit)
            if rows:
                return Run(first, rows)
            self._cut(segment, first)

    def _rows(self, segment: Segment, first: int, limit: int) -> Sequence[Row]:
        rows = segment.rows
        if rows is not None:
            start = first - segment.first
            return rows[start : start + limit]
        reader = self._reader
        if reader is None or reader.segment is not segment or reader.next != first:
            reader = _Reader(segment, first, islice(_file_rows(segment), first - segment.first, segment.count))
        found = list(islice(reader.rows, limit))
        reader.next = first + len(found)
        self._reader = reader
        return found

    def _cut(self, segment: Segment, first: int) -> None:
        """What a file should hold from `first` on cannot be read: it is lost, and counted."""
        with self._lock:
            self.dropped[DAMAGED] += segment.last - first + 1
            segment.count = first - segment.first
            if not segment.count:
                self._segments.remove(segment)

    def acknowledge(self, through: int) -> None:
        """Releases every event up to sequence `through`."""
        with self._lock:
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
        """For who keeps account of sizes; called with the lock held."""


def _file_rows(segment: Segment) -> Iterator[Row]:
    try:
        data = segment.path.read_bytes() if segment.path is not None else b""
        yield from read_rows(data)
    except (OSError, FormatError):
        return


class Leftover(Backlog):
    """What a dead process left: its files are read, torn tails are cut. `lock` is the handle of its lock."""

    def __init__(self, directory: Path, meta: SessionMeta, lock: int) -> None:
        super().__init__(meta)
        self.directory = directory
        self.lock = lock
        for first, path in segment_paths(directory):
            data = path.read_bytes()
            count = whole_rows(data)
            if count:
                self._segments.append(Segment(first, path, None, count, len(data)))
        self._acknowledged = self._segments[0].first - 1 if self._segments else 0
