"""Export batches: log records packed into requests, cut where they are too large, halved where they are refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from sidecar.telemetry.model import JournalPosition

Part = tuple[bytes, list[bytes]]
"""A resource block and the framed records of that resource."""


@dataclass(slots=True)
class ExportBatch:
    """Log records of one request, and the answers that they met.

    `end` is the cursor's place once this and all earlier ones are done; None where it ends within a stored batch.
    """

    parts: list[Part] = field(default_factory=list)
    count: int = 0
    size: int = 0
    end: JournalPosition | None = None
    exported: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    done: bool = False


def pack(
    batches: Iterable[tuple[JournalPosition, bytes, Sequence[bytes]]], *, max_records: int, max_bytes: int
) -> Iterator[ExportBatch]:
    """Pack stored batches (end, resource block, framed records) in order; one that is too large is cut.

    A record larger than `max_bytes` goes alone: the collector decides on it.
    """
    packed = ExportBatch()
    for end, resource, records in batches:
        left: Sequence[bytes] = records
        while left:
            room = _fitting(left, max_records - packed.count, max_bytes - packed.size - len(resource))
            if room == 0 and packed.count:
                yield packed
                packed = ExportBatch()
                continue
            taken = list(left[: room or 1])
            _add(packed, resource, taken)
            left = left[len(taken) :]
            if left:
                # The queue's cursor knows only ends of stored batches. So whole ones before a cut one settle
                # together with the last piece of it, never before.
                packed.end = None
                yield packed
                packed = ExportBatch()
        packed.end = end
    if packed.count or packed.end is not None:
        yield packed


def _fitting(records: Sequence[bytes], most: int, size: int) -> int:
    """Number of records, from the first on, that fit into `size` bytes; `most` at most."""
    for number, record in enumerate(records[: max(most, 0)]):
        size -= len(record)
        if size < 0:
            return number
    return min(len(records), max(most, 0))


def _add(packed: ExportBatch, resource: bytes, records: list[bytes]) -> None:
    if packed.parts and packed.parts[-1][0] == resource:
        packed.parts[-1][1].extend(records)
    else:
        packed.parts.append((resource, records))
        packed.size += len(resource)
    packed.count += len(records)
    packed.size += sum(map(len, records))


def count(parts: Sequence[Part]) -> int:
    """Number of records in all parts."""
    return sum(len(records) for _, records in parts)


def halves(parts: Sequence[Part]) -> tuple[list[Part], list[Part]]:
    """The first and the second half of the records, in order and with their resources."""
    left = count(parts) // 2
    first: list[Part] = []
    second: list[Part] = []
    for resource, records in parts:
        if left:
            first.append((resource, records[:left]))
        if left < len(records):
            second.append((resource, records[left:]))
        left = max(left - len(records), 0)
    return first, second
