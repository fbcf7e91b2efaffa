"""Tail: live events for the console, decoded only while somebody watches. A slow watcher loses the oldest."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field

from sidecar.telemetry.model import StoredBatch
from telemetry_contract.v1 import telemetry_pb2 as pb

MAX_BATCHES = 256
"""Batches by which a watcher may lag."""

FieldValue = str | float | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TailEvent:
    """One event: present fields by name, severity by OpenTelemetry's numbers (0 without a log record)."""

    time_ns: int
    producer_id: str
    session_id: str
    sequence: int
    name: str
    severity: int
    attributes: Mapping[str, FieldValue]


@dataclass(slots=True)
class TailWatcher:
    """Batches that one watcher has not seen yet."""

    batches: deque[StoredBatch] = field(default_factory=lambda: deque(maxlen=MAX_BATCHES))
    arrived: asyncio.Event = field(default_factory=asyncio.Event)


class Tail:
    """Hands batches to watchers. One event loop only."""

    def __init__(self) -> None:
        self._watchers: list[TailWatcher] = []
        self.lost_batches = 0
        """Batches that slow watchers did not see. Their events are counted and exported all the same."""

    def add(self, stored: StoredBatch) -> None:
        """Hand a batch to every watcher."""
        for watcher in self._watchers:
            # A full deque drops its oldest: ingest never waits for a browser.
            self.lost_batches += len(watcher.batches) == MAX_BATCHES
            watcher.batches.append(stored)
            watcher.arrived.set()

    async def watch(self) -> AsyncIterator[TailEvent]:
        """Yield events from now on, until the iterator is closed."""
        watcher = TailWatcher()
        self._watchers.append(watcher)
        try:
            while True:
                while watcher.batches:
                    for event in events(watcher.batches.popleft()):
                        yield event
                watcher.arrived.clear()
                await watcher.arrived.wait()
        finally:
            self._watchers.remove(watcher)


def events(stored: StoredBatch) -> list[TailEvent]:
    """Events of a batch, by sequence."""
    found = [event for group in stored.batch.groups for event in _group_events(stored, group)]
    # Groups are by type; a person wants the order of the events.
    return sorted(found, key=lambda event: event.sequence)


def _group_events(stored: StoredBatch, group: pb.Group) -> Iterator[TailEvent]:
    kind, offsets = stored.types[group.event_id], group.offsets or range(group.count)
    columns = {item.name: _values(column) for item, column in zip(kind.fields, group.columns, strict=True)}
    for row in range(group.count):
        yield TailEvent(
            time_ns=group.base_time_unix_nano + group.time_offsets_nano[row],
            producer_id=stored.session.producer_id,
            session_id=stored.session.session_id,
            sequence=stored.batch.first_sequence + offsets[row],
            name=kind.name,
            severity=kind.log.severity if kind.log else 0,
            attributes={name: value for name, column in columns.items() if (value := column[row]) is not None},
        )


def _values(column: pb.Column) -> list[FieldValue | None]:
    values: list[FieldValue | None]
    if column.indexes:
        values = [column.values[index] for index in column.indexes]
    else:
        values = [*column.values, *column.doubles, *column.integers, *column.booleans]
    for row in column.absent:
        values[row] = None
    return values
