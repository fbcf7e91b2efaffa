"""The writing end of the spool: the current segment, the spare one, and their state.

    state     an event goes                                         left for
    OPEN      to the current file by `append`, without a lock       FULL, MEMORY, CLOSED
    FULL      to the current file by `add`, if its share has room   OPEN, MEMORY, CLOSED
    MEMORY    to anonymous memory by `add`, if its share has room   OPEN, FULL, CLOSED
    CLOSED    nowhere
    FORKED    nowhere: this is a child of the process that has the files         CLOSED

`append` is the bound `write` of the current mapping in OPEN and a function that always raises in the other states.
It is replaced in one place, `_enter`. A thread may have read the old `append` just before: `_seal` therefore moves
the write position of a mapping to its end, where a write raises ValueError as in a full one, and the event takes the
slow path.
"""

from __future__ import annotations

import enum
import mmap
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from pod_runtime.files.framing import HEADER_BYTES, file_header
from producer.settings import ProducerSettings
from producer.spool.format import SEGMENT_KIND, VERSION, segment_path
from producer.spool.unacked_queue import SpoolSegment, UnackedQueue

SPARE, NEXT = "spare", "next"
# Segments that events in memory are parted into: memory is freed by segments.
MEMORY_PARTS = 16
# Sealed segments that wait for `maintain`; beyond, the emitting thread trims them: the event loop stands still.
MAX_UNTRIMMED = 3
# Bytes that nobody counted yet; more would make the thread that begins the next segment count for milliseconds.
MAX_UNCOUNTED_BYTES = 1 << 18
# madvise(2), Linux 5.14: makes the pages now, not at the first event that is copied to each.
MADV_POPULATE_WRITE = 23


class WriterState(enum.Enum):
    """Destination of the next event; see the table above."""

    OPEN = "open"
    FULL = "full"
    MEMORY = "memory"
    CLOSED = "closed"
    FORKED = "forked"


# States that take nothing, whose names are the reasons in the ledger.
REFUSING = (WriterState.CLOSED, WriterState.FORKED)


def no_room(_: bytes) -> int:
    """Stands in for a mapping that takes nothing more, and raises ValueError as a full one does."""
    raise ValueError


class SegmentWriter:
    """Appends records to segments in files, or in memory if the volume fails, and gives the segments to `queue`.

    The part `settings.reserve_ratio` of the room is kept for the event ids in `reserved`. Methods that end in
    `_locked` are called with the queue's lock held; `append` is called without it.
    """

    def __init__(
        self, directory: Path, settings: ProducerSettings, reserved: frozenset[int], queue: UnackedQueue
    ) -> None:
        self.append: Callable[[bytes], int] = no_room
        """Copies a record; raises ValueError if the segment has no room, and then `add_locked` finds some."""
        self.state = WriterState.MEMORY  # until the session's directory is ours
        self.fault: OSError | None = None
        """Reason for MEMORY."""
        self._directory, self._settings, self._reserved, self._queue = directory, settings, reserved, queue
        # The current file and the spare one are whole, however few events they hold.
        self._limit = settings.spool_bytes - 2 * settings.segment_bytes
        self._memory_part = settings.memory_bytes // MEMORY_PARTS
        self._current: SpoolSegment | None = None
        self._spare: SpoolSegment | None = None
        self._untrimmed: list[SpoolSegment] = []

    @property
    def bytes_locked(self) -> int:
        """Bytes of events in files."""
        current = self._current
        written = current.map.tell() if current is not None and current.path is not None and current.map else 0
        return self._queue.file_bytes + written

    @property
    def full_locked(self) -> bool:
        """True if only reserved events are taken."""
        return self.bytes_locked + self._settings.segment_bytes > self._limit * (1.0 - self._settings.reserve_ratio)

    def _enter(self, state: WriterState) -> None:
        if self.state is WriterState.CLOSED and state is not WriterState.CLOSED:
            raise RuntimeError(f"a spool writer that is {self.state.value} cannot become {state.value}")
        self.state = state
        mapped = self._current.map if self._current is not None else None
        self.append = mapped.write if state is WriterState.OPEN and mapped is not None else no_room

    def add_locked(self, code: int, record: bytes) -> str | None:
        """Adds an event that `append` did not take; the reason if it is refused."""
        if self.state in REFUSING:
            return self.state.value
        share = 1.0 if code in self._reserved else 1.0 - self._settings.reserve_ratio
        if self.state is not WriterState.MEMORY:
            if self.bytes_locked + len(record) > self._limit * share:
                self._enter(WriterState.FULL)
                return "spool_full"
            try:
                self._add_to_file(record)
            except OSError as error:
                self.fail_locked(error)
            else:
                return None
        return self._add_to_memory(record, share)

    def _copy(self, record: bytes) -> None:
        if self._current is None or self._current.map is None:
            raise ValueError
        self._current.map.write(record)

    def _add_to_file(self, record: bytes) -> None:
        try:
            self._copy(record)
        except ValueError:
            self._roll()
            self._copy(record)
        self._enter(WriterState.FULL if self.full_locked else WriterState.OPEN)

    def _add_to_memory(self, record: bytes, share: float) -> str | None:
        # Anonymous mappings, not a list: readers, bounds and the life of a segment stay as they are for files.
        try:
            self._copy(record)
        except ValueError:
            self._seal()
            self._queue.release_locked()
            if self._queue.memory_bytes + self._memory_part > self._settings.memory_bytes * share:
                return "memory_full"
            self._begin(SpoolSegment(0, None, mmap.mmap(-1, self._memory_part)))
            self._copy(record)
        return None

    def fail_locked(self, error: OSError) -> None:
        """Goes on in memory because the volume failed."""
        self.fault = error
        # Events that are in a file stay readable there; only the next ones go elsewhere.
        if self.state in (WriterState.OPEN, WriterState.FULL):
            self._seal()
            self._enter(WriterState.MEMORY)

    def reopen_locked(self) -> None:
        """Goes on in a new file; raises OSError if the volume still fails."""
        self._roll()
        self.fault = None
        self._enter(WriterState.FULL if self.full_locked else WriterState.OPEN)

    def _begin(self, segment: SpoolSegment) -> None:
        segment.first, segment.growing = self._queue.next_locked, True
        if segment.map is not None:
            segment.map.seek(HEADER_BYTES)
        self._current = segment
        self._queue.append_locked(segment)

    def _roll(self) -> None:
        segment = self._spare or self._allocate(NEXT)
        # Sealing counts the old segment, and only then the name of the new one, its first sequence, is known.
        self._seal()
        try:
            if segment.path is not None:
                segment.path = segment.path.rename(segment_path(self._directory, self._queue.next_locked))
        except OSError:
            segment.discard()
            raise
        finally:
            if segment is self._spare:  # after the rename: `maintain`, in its thread, may make another one at once
                self._spare = None
        self._begin(segment)

    def _allocate(self, name: str) -> SpoolSegment:
        size, scratch = self._settings.segment_bytes, self._directory / name
        # A new inode: a file left under that name may still be mapped, and truncating it would mean SIGBUS.
        scratch.unlink(missing_ok=True)
        handle = os.open(scratch, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            # A full volume shows itself here as ENOSPC; a hole in the file would show itself as SIGBUS in `append`.
            os.posix_fallocate(handle, 0, size)
            mapped = mmap.mmap(handle, size)
        except OSError:
            os.close(handle)
            raise
        mapped.write(file_header(SEGMENT_KIND, VERSION))
        return SpoolSegment(0, scratch, mapped, handle)

    def _seal(self) -> None:
        """Ends the current segment, also for a thread that is about to call its `append`."""
        current, self._current, self.append = self._current, None, no_room
        if current is None or current.map is None:
            return
        current.map.seek(0, os.SEEK_END)
        self._queue.seal_locked(current)
        if current.path is not None:
            self._untrimmed.append(current)
            while len(self._untrimmed) > MAX_UNTRIMMED:
                self._untrimmed.pop(0).trim()

    def maintain(self) -> bool:
        """Does what need not happen inside `emit`: counts, trims sealed files and allocates the next one.

        Returns True if there was any of it to do.
        """
        with self._queue.lock:
            is_uncounted = self._current is not None and self._current.uncounted > MAX_UNCOUNTED_BYTES
            if is_uncounted:
                self._queue.recount_locked()
            untrimmed, self._untrimmed = self._untrimmed, []
            wants_spare = self._spare is None and self.state in (WriterState.OPEN, WriterState.FULL)
        for segment in untrimmed:
            segment.trim()
        if wants_spare:
            # Without the lock, for it takes milliseconds. An error is left to `_roll`, which meets and reports it.
            with suppress(OSError):
                spare = self._allocate(SPARE)
                if spare.map is not None:
                    with suppress(OSError):
                        spare.map.madvise(MADV_POPULATE_WRITE)
                self._spare = spare
        return is_uncounted or bool(untrimmed) or wants_spare

    def forked(self) -> None:
        """Leaves the files to the parent and takes nothing more (`producer.fork`)."""
        for segment in (*self._untrimmed, self._spare):
            if segment is not None:
                segment.abandon()
        self._current, self._spare, self._untrimmed, self.fault = None, None, [], None
        self._enter(WriterState.FORKED)

    def close_locked(self) -> None:
        """Takes nothing more. Files keep what they hold; the spare one goes."""
        self._seal()
        self._enter(WriterState.CLOSED)
        for segment in self._untrimmed:
            segment.trim()
        self._untrimmed = []
        if self._spare is not None:
            self._spare.discard()
            self._spare = None
