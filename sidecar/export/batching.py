"""Log records packed into requests: what goes together, where it may be cut, how it is halved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from sidecar.telemetry.model import Position

Part = tuple[bytes, list[bytes]]
"""A resource block and framed records that have it."""


@dataclass(slots=True)
class Parcel:
    """Log records of one request.

    `end` is where the cursor goes once this and all earlier ones are done; None inside a batch.
    """

    parts: list[Part] = field(default_factory=list)
    count: int = 0
    size: int = 0
    end: Position | None = None
    exported: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    done: bool = False


def pack(
    batches: Iterable[tuple[Position, bytes, Sequence[bytes]]], *, max_records: int, max_bytes: int
) -> Iterator[Parcel]:
    """Batches (end, resource block, framed records) as parcels in order; a batch that is too large is cut."""
    parcel = Parcel()
    for end, resource, records in batches:
        left: Sequence[bytes] = records
        while left:
            room = _fitting(left, max_records - parcel.count, max_bytes - parcel.size - len(resource))
            if room == 0 and parcel.count:
                yield parcel
                parcel = Parcel()
                continue
            taken = list(left[: room or 1])
            _add(parcel, resource, taken)
            left = left[len(taken) :]
            if left:
                # What is counted when it is settled ends with a whole batch: whole ones before it wait for its rest.
                parcel.end = None
                yield parcel
                parcel = Parcel()
        parcel.end = end
    if parcel.count or parcel.end is not None:
        yield parcel


def _fitting(records: Sequence[bytes], most: int, size: int) -> int:
    """How many records from the first on fit into `size` bytes, `most` at most."""
    for number, record in enumerate(records[: max(most, 0)]):
        size -= len(record)
        if size < 0:
            return number
    return min(len(records), max(most, 0))


def _add(parcel: Parcel, resource: bytes, records: list[bytes]) -> None:
    if parcel.parts and parcel.parts[-1][0] == resource:
        parcel.parts[-1][1].extend(records)
    else:
        parcel.parts.append((resource, records))
        parcel.size += len(resource)
    parcel.count += len(records)
    parcel.size += sum(map(len, records))


def count(parts: Sequence[Part]) -> int:
    """Records in all parts."""
    return sum(len(records) for _, records in parts)


def halves(parts: Sequence[Part]) -> tuple[list[Part], list[Part]]:
    """The first and the second half of the records, order and resources kept."""
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
