"""Event journal: append-only segments that hold every batch until its metrics and logs are safe elsewhere.

Purpose. An acknowledged event must survive a crash, so it stands in the journal before it is acknowledged.
Everything else that the sidecar knows (series, sessions, log queue) is rebuilt from a checkpoint and the journal
behind it, see `checkpoint.replay`.

Layout. A directory holds numbered segments (`00000000000000000042.journal`), the checkpoint, and a lock file. A
segment is a framed file of self-contained records (`segment.py` has their table): a CRC-32 a record, and before the
first batch of a stream the stream's Hello and the definitions that the batch needs. A `JournalPosition` is a segment
and a byte in it. Positions only grow: each start of the process begins a segment of its own above all it finds, and
above the checkpoint's (`skip_to`), so that a position of the past never means a place of the future.

Appending. One event loop appends; nothing locks. `append` frames the records, puts missing declarations and, in a
new segment, the header before them, and hands all to the volume as one write. Either all of it stands or the call
raises and nothing does: a write that the volume takes in part is cut back, and the caller may try again. When a
segment has reached `segment_bytes` the next append begins another.

Durability. After the write, the kernel has the records: they survive the process (`durability = "process"`). With
`"disk"` an acknowledgement also waits for an fdatasync, one for all who wait (`group_commit.py`). A failed sync is
final there: the kernel may drop the pages that it could not write and report success the next time (fsync(2);
Rebello et al., USENIX ATC 2020). What is on the disk then, only a new start can know by reading it.

A crash at each step leaves:

    before the write         nothing; the producer was not answered and sends the batch again
    inside the write         a torn record at the end of the last segment; the next start cuts it off, and the
                             producer sends the batch again
    after the write          the batch; the replay applies it, and the producer's repeat is a duplicate
    while a segment begins   a file with a torn header, or none; its events were not acknowledged
    while segments go        the newer ones: the oldest go first, and only those that no start will read
    at a loss of power       with "disk", everything acknowledged; else a tail that was not synced is missing, and
                             reads as torn. A checkpoint never lies beyond it: writing one syncs the journal first

Damage. Only segments of earlier processes can be damaged; each is looked through once, when it is first read. A
record with a wrong checksum becomes a filler if a sound record follows at its end, otherwise the rest of the
segment is lost. The original bytes are kept as `*.damaged` (the youngest four), the lost ones are counted. A
segment that a newer program wrote is set aside whole.

Freeing space. Space comes back by whole segments, oldest first: compacting would cost a second write of everything,
and nearly all of a segment dies at the same time. A segment goes when its metrics are in the checkpoint and its log
records are exported. When the journal is full all the same, `checkpoint.retention` drops the oldest log records,
counts each, and keeps every metric. While the volume itself rejects writes, nothing is acknowledged: the producer's
window fills and it keeps its events, until appending works again.

Not SQLite, not a log library: a batch is written as it came, in one system call, beside a group commit and a rule
for losing the least; a database would add a second journal of its own below this one.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pod_runtime.framing import HEADER_BYTES, FormatError, frame
from sidecar.journal.segment import (
    DEFINE,
    HEADER,
    HELLO,
    SUFFIX,
    Declarations,
    SegmentReader,
    SegmentRepair,
    repair,
    segment_name,
    segment_numbers,
    stream_payload,
)
from sidecar.journal.volume import FlushError, Volume
from sidecar.telemetry.model import JournalPosition

DAMAGED = ".damaged"
MAX_DAMAGED = 4
"""Damaged segments kept for inspection."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalStatus:
    """State of the journal at one moment, for health, console and metrics; the defaults are before it is open."""

    bytes_used: int = 0
    bytes_limit: int = 0
    segments: int = 0
    damaged_bytes: int = 0
    damaged_segments: int = 0
    torn_bytes: int = 0
    error: str = ""
    """Reason why the volume rejects writes; empty while it accepts them."""
    error_since_ns: int = 0
    checkpoint_ns: int = 0
    """Time of the last checkpoint; 0 before the first."""
    checkpoint_error: str = ""
    replayed_batches: int = 0
    unreadable_records: int = 0
    """Records of the journal that the replay could not decode or apply."""


class JournalHealth:
    """Outcome of the latest append, as the streams saw it."""

    def __init__(self) -> None:
        self.error: OSError | None = None
        self.since_ns = 0

    def failed(self, error: OSError, now_ns: int) -> None:
        """Record that the volume rejected an append."""
        if self.error is None:
            self.since_ns = now_ns
            _log.error("journal rejects events", extra={"reason": str(error)})
        self.error = error

    def recovered(self) -> None:
        """Record that the volume accepted an append."""
        if self.error is not None:
            _log.info("journal accepts events again")
        self.error = None


class EventJournal:
    """Segments on a volume. One event loop only; `sync` and `write_beside` run in threads.

    A method that reads or writes the volume raises OSError if the volume does.
    """

    def __init__(self, volume: Volume, *, segment_bytes: int, outlives_machine: bool = False) -> None:
        self._volume = volume
        self._outlives_machine = outlives_machine
        self.sync_error: OSError | None = None
        """Reason why nothing can be made durable until the next start."""
        self.health = JournalHealth()
        self._segment_bytes = segment_bytes
        sizes = volume.sizes()
        self._sizes = {number: sizes[segment_name(number)] for number in segment_numbers(sizes)}
        self._before = max(self._sizes, default=0)
        self._segment = self._before + 1
        self._declared: dict[int, set[int]] = {}
        """Event types that the current segment declares, by stream."""
        self._checked: set[int] = set()
        """Segments of earlier processes that were checked for damage; those of this one need no check."""
        self.damaged_bytes = 0
        self.damaged_segments = 0
        self.torn_bytes = 0

    @property
    def end(self) -> JournalPosition:
        """Position of the next record."""
        return JournalPosition(self._segment, self._sizes.get(self._segment, HEADER_BYTES))

    @property
    def size_bytes(self) -> int:
        """Bytes of all segments."""
        return sum(self._sizes.values())

    def size_of(self, segment: int) -> int:
        """Bytes of a segment."""
        return self._sizes.get(segment, 0)

    @property
    def segments(self) -> Sequence[int]:
        """Numbers of the segments, oldest first."""
        return sorted(self._sizes)

    def bytes_since(self, position: JournalPosition) -> int:
        """Bytes behind `position`."""
        newer = sum(size for segment, size in self._sizes.items() if segment > position.segment)
        return newer + max(0, self._sizes.get(position.segment, 0) - position.offset)

    def skip_to(self, segment: int) -> None:
        """Begin the next segment at `segment` or later."""
        self._segment = max(self._segment, segment)

    def append(
        self, payloads: Sequence[bytes], needs: Declarations | None = None, events: Iterable[int] = ()
    ) -> JournalPosition:
        """Write records, and before them the declarations of their stream that the segment lacks; return the end.

        On OSError the journal is as it was, and the call may be repeated.
        """
        # Before the write and not behind it: a segment may be larger by one batch, and no batch is ever split over
        # two files.
        if self._sizes.get(self._segment, 0) >= self._segment_bytes:
            self._segment += 1
            self._declared = {}
        wanted = set(events)
        missing = self._missing(needs, wanted) if needs is not None else []
        frames = list(map(frame, (*missing, *payloads)))
        if self._segment not in self._sizes:
            # In the same write as the first record: one system call, and nothing to undo if it fails.
            frames.insert(0, HEADER)
        data = b"".join(frames)
        self._volume.append(segment_name(self._segment), data)
        # Only now: after a write that failed, the next one must declare the stream again.
        if needs is not None:
            self._declared.setdefault(needs.stream, set()).update(wanted)
        self._sizes[self._segment] = self._sizes.get(self._segment, 0) + len(data)
        return self.end

    def _missing(self, needs: Declarations, events: set[int]) -> list[bytes]:
        known = self._declared.get(needs.stream)
        missing = [stream_payload(HELLO, needs.stream, needs.hello)] if known is None else []
        new = sorted(events - (known or set()))
        return missing + [stream_payload(DEFINE, needs.stream, needs.defines[event]) for event in new]

    def read(self, segment: int) -> SegmentReader | None:
        """Open a segment at its start; None if it is gone. Damage is repaired, set aside and counted."""
        name = segment_name(segment)
        try:
            data = self._volume.read(name)
        except FileNotFoundError:
            self._sizes.pop(segment, None)
            return None
        if segment > self._before or segment in self._checked:
            return SegmentReader(data)
        try:
            # Only the last segment of the process before may end in a write that a crash tore.
            repaired = repair(data, last=segment == self._before)
        except FormatError:
            repaired = SegmentRepair(b"", len(data), 0)
        self._checked.add(segment)
        return SegmentReader(self._store_repaired(segment, data, repaired))

    def _store_repaired(self, segment: int, data: bytes, repaired: SegmentRepair) -> bytes:
        name = segment_name(segment)
        if repaired.damaged_bytes:
            self.damaged_bytes += repaired.damaged_bytes
            self.damaged_segments += 1
            # The copy first: a crash between the two finds the damage again and loses no evidence.
            self._volume.replace(name + DAMAGED, data)
            self._volume.replace(name, repaired.data or HEADER)
            damaged = [each for each in self._volume.sizes() if each.endswith(SUFFIX + DAMAGED)]
            for old in damaged[:-MAX_DAMAGED]:
                self._volume.remove(old)
        elif repaired.torn_bytes:
            self.torn_bytes += repaired.torn_bytes
            self._volume.truncate(name, len(repaired.data))
        self._sizes[segment] = max(len(repaired.data), HEADER_BYTES)
        return repaired.data or HEADER

    def release(self, before: int) -> None:
        """Remove the segments below `before`, never the one being written. On OSError those before it are gone."""
        # Oldest first: what a crash leaves is again a run of segments without a hole.
        for segment in [number for number in self.segments if number < min(before, self._segment)]:
            self._volume.remove(segment_name(segment))
            del self._sizes[segment]

    def write_beside(self, name: str, data: bytes) -> None:
        """Replace a file that is no segment, once all appended is durable. Blocks. On OSError the old one stands."""
        # A checkpoint on the disk whose position the journal on the disk does not reach would skip events.
        self.sync()
        self._volume.replace(name, data)

    def close(self) -> None:
        """Close the volume."""
        self._volume.close()

    def sync(self) -> None:
        """Make durable everything appended before the call. Blocks. After a FlushError none of it is known to be."""
        if self.sync_error is not None:
            raise self.sync_error
        try:
            self._volume.sync()
        except FlushError as error:
            if self._outlives_machine:
                # Not tried again: the next fdatasync may report success for pages that the kernel dropped.
                self.sync_error = OSError(error.errno, f"{error.strerror}: restart the sidecar when the volume is well")
            raise
