"""The journal: append-only segments that hold every batch until its metrics and logs are safe elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from pod_runtime.framing import HEADER_BYTES, FormatError, frame
from sidecar.journal.segment import (
    SUFFIX,
    Repair,
    SegmentReader,
    UnknownVersionError,
    define_payload,
    header,
    repair,
    segment_name,
    segment_numbers,
    stream_payload,
)
from sidecar.journal.volume import Volume
from sidecar.telemetry.model import Position

DAMAGED = ".damaged"
MAX_DAMAGED = 4
"""Damaged segments that are kept for whoever wants to look at them."""


@dataclass(slots=True)
class Declarations:
    """What a segment must say about a stream before its batches: serialized messages."""

    hello: bytes
    defines: dict[int, bytes] = field(default_factory=dict)


class Journal:
    """Segments on a volume. Each start of the process begins a segment of its own.

    Where records must outlive the machine, a sync that failed is final: the system may have let go of what it could
    not write, and says that all is well the next time (fsync(2); Rebello et al., USENIX ATC 2020). What is on the
    disk then, only a new start knows.
    """

    def __init__(self, volume: Volume, *, segment_bytes: int, outlives_machine: bool = False) -> None:
        self._volume = volume
        self._outlives_machine = outlives_machine
        self.sync_error: OSError | None = None
        """Why nothing can be made durable until the next start."""
        self._segment_bytes = segment_bytes
        self._sizes = {number: volume.size(segment_name(number)) for number in segment_numbers(volume.names())}
        self._before = max(self._sizes, default=0)
        self._segment = self._before + 1
        self._declared: dict[int, set[int]] = {}
        self._sound: set[int] = set()
        """Segments of earlier processes that were looked through; those of this one need no look."""
        self.damaged_bytes = 0
        self.damaged_segments = 0
        self.torn_bytes = 0

    @property
    def end(self) -> Position:
        """Where the next record will stand."""
        return Position(self._segment, self._sizes.get(self._segment, HEADER_BYTES))

    @property
    def size_bytes(self) -> int:
        """Bytes of all segments."""
        return sum(self._sizes.values())

    def size_of(self, segment: int) -> int:
        """Bytes of a segment."""
        return self._sizes.get(segment, 0)

    @property
    def segments(self) -> Sequence[int]:
        """The segments there are, oldest first."""
        return sorted(self._sizes)

    def bytes_since(self, position: Position) -> int:
        """Bytes that stand behind `position`."""
        newer = sum(size for segment, size in self._sizes.items() if segment > position.segment)
        return newer + max(0, self._sizes.get(position.segment, 0) - position.offset)

    def skip_to(self, segment: int) -> None:
        """Begins at `segment` or later, so that a position of the past never stands in the future."""
        self._segment = max(self._segment, segment)

    def append(
        self,
        payloads: Sequence[bytes],
        stream: int = 0,
        needs: Declarations | None = None,
        events: Iterable[int] = (),
    ) -> Position:
        """Writes records, and before them what the segment has not yet said about `stream`. The end position.

        Raises:
            OSError: the volume took nothing; the journal is as it was, and may be tried again.
        """
        if self._sizes.get(self._segment, 0) >= self._segment_bytes:
            self._segment += 1
            self._declared = {}
        known = self._declared.get(stream)
        wanted = set(events)
        frames = list(map(frame, self._missing(stream, known, needs, wanted))) if needs is not None else []
        frames += map(frame, payloads)
        if self._segment not in self._sizes:
            frames.insert(0, header())
        data = b"".join(frames)
        self._volume.append(segment_name(self._segment), data)
        if needs is not None:
            self._declared.setdefault(stream, set()).update(wanted)
        self._sizes[self._segment] = self._sizes.get(self._segment, 0) + len(data)
        return self.end

    @staticmethod
    def _missing(stream: int, known: set[int] | None, needs: Declarations, events: set[int]) -> list[bytes]:
        missing = [stream_payload(stream, needs.hello)] if known is None else []
        return missing + [define_payload(stream, needs.defines[event]) for event in sorted(events - (known or set()))]

    def read(self, segment: int) -> SegmentReader | None:
        """A segment from its start; None where nothing of it can be read. Damage is repaired, kept aside and counted.

        A segment of another version, which a newer program wrote, is set aside whole.

        Raises:
            OSError: the volume cannot be read.
        """
        name = segment_name(segment)
        try:
            data = self._volume.read(name)
        except FileNotFoundError:
            self._sizes.pop(segment, None)
            return None
        if segment > self._before or segment in self._sound:
            return SegmentReader(data)
        try:
            # The last segment of the process before may end in a write that was torn.
            mended = repair(data, last=segment == self._before)
        except (FormatError, UnknownVersionError):
            mended = Repair(b"", len(data), 0)
        self._sound.add(segment)
        return SegmentReader(self._mend(segment, data, mended))

    def _mend(self, segment: int, data: bytes, mended: Repair) -> bytes:
        name = segment_name(segment)
        if mended.damaged_bytes:
            self.damaged_bytes += mended.damaged_bytes
            self.damaged_segments += 1
            self._volume.replace(name + DAMAGED, data)
            self._volume.replace(name, mended.data or header())
            damaged = [each for each in self._volume.names() if each.endswith(SUFFIX + DAMAGED)]
            for old in damaged[:-MAX_DAMAGED]:
                self._volume.remove(old)
        elif mended.torn_bytes:
            self.torn_bytes += mended.torn_bytes
            self._volume.truncate(name, len(mended.data))
        self._sizes[segment] = max(len(mended.data), HEADER_BYTES)
        return mended.data or header()

    def release(self, before: int) -> int:
        """Removes the segments below `before`, never the one being written; how many bytes that frees.

        Raises:
            OSError: the volume does not let go of one; those before it are gone.
        """
        freed = 0
        for segment in [number for number in self.segments if number < min(before, self._segment)]:
            self._volume.remove(segment_name(segment))
            freed += self._sizes.pop(segment)
        return freed

    def write_beside(self, name: str, data: bytes) -> None:
        """Replaces a file that is no segment, after everything appended before is durable too. Blocks.

        Raises:
            OSError: the old file stands.
        """
        self.sync()
        self._volume.replace(name, data)

    def close(self) -> None:
        """Gives up the volume."""
        self._volume.close()

    def sync(self) -> None:
        """Makes durable what was appended before the call. Blocks.

        Raises:
            OSError: it is not known to be durable.
        """
        if self.sync_error is not None:
            raise self.sync_error
        try:
            self._volume.sync()
        except OSError as error:
            if self._outlives_machine:
                self.sync_error = OSError(
                    error.errno, f"{error.strerror}: restart the sidecar when the volume is well"
                )
            raise
