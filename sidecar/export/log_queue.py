"""Queue of log records between the journal and the exporter.

The journal holds the records; the queue holds a cursor into it, and counts. Up to the cursor every log record was
exported, rejected or dropped. Behind it, `_waiting` counts records by segment and event type, so that the ledger
balances and a segment without any can be deleted, without reading it.

Batches that came last are kept parsed, up to `memory_bytes`: while the collector keeps up, nothing is read back. An
exporter that is further behind reads the journal's segments again, each from where it stopped.

Batches that the exporter took are `_handed`: they still wait, but a dropped segment leaves them to it, for the
collector may have them already. A crash forgets that they were handed, and they are handed again.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sidecar.journal.journal import EventJournal
from sidecar.journal.segment import BatchEntry, SegmentReader
from sidecar.metrics.ledger import LogLedger
from sidecar.telemetry.model import EventType, JournalPosition, StoredBatch
from telemetry_contract.v1 import telemetry_pb2 as pb

# Memory of a parsed batch beside its bytes, roughly.
BATCH_OVERHEAD_BYTES = 2048

NOT_EXPORTED = "not_exported"
JOURNAL_DAMAGED = "journal_damaged"
EXPORT_MISMATCH = "export_mismatch"


class LogQueue:
    """The queue of log records. One event loop only.

    `exported` says that an exporter will take them; without one, records are counted as dropped when they come.
    """

    def __init__(self, journal: EventJournal, counts: LogLedger, *, memory_bytes: int, exported: bool = True) -> None:
        self._journal = journal
        self._counts = counts
        self._memory_bytes = memory_bytes
        self._exported = exported
        self.cursor = JournalPosition()
        self._waiting: dict[int, Counter[str]] = {}
        # Bytes of each producer's batches, in the segments that have records waiting.
        self._bytes: dict[int, Counter[str]] = {}
        self._handed: deque[tuple[JournalPosition, Counter[str]]] = deque()
        self._recent: deque[tuple[StoredBatch, int]] = deque()
        self._recent_bytes = 0
        self._recent_from = JournalPosition()
        self._reading: tuple[JournalPosition, Iterator[StoredBatch], bool] | None = None
        self._arrived = asyncio.Event()

    @property
    def queued(self) -> int:
        """Number of log records that wait for export."""
        return sum(sum(events.values()) for events in self._waiting.values())

    def add(self, stored: StoredBatch, size_bytes: int) -> None:
        """Queue the log records of a batch that is in the journal."""
        events = log_events(stored.batch, stored.types)
        if not events:
            return
        self._counts.accepted += sum(events.values())
        if not self._exported:
            self._counts.dropped.update({(NOT_EXPORTED, event): count for event, count in events.items()})
            return
        self._waiting.setdefault(stored.end.segment, Counter()).update(events)
        self._bytes.setdefault(stored.end.segment, Counter())[stored.session.producer_id] += size_bytes
        self._recent.append((stored, size_bytes + BATCH_OVERHEAD_BYTES))
        self._recent_bytes += size_bytes + BATCH_OVERHEAD_BYTES
        while self._recent_bytes > self._memory_bytes:
            self._evict()
        self._arrived.set()

    def keep(self, stored: StoredBatch, size_bytes: int, segment: int) -> None:
        """Queue log records that were journaled anew; `segment`, where they stood before, will be dropped."""
        events = log_events(stored.batch, stored.types)
        self._settle(segment, events)
        self._counts.accepted -= sum(events.values())
        self.add(stored, size_bytes)

    def waits(self, end: JournalPosition) -> bool:
        """True where the records of the batch that ends there wait, and the exporter has not taken them."""
        return end > self.cursor and all(end != handed for handed, _ in self._handed)

    def _evict(self) -> None:
        stored, size_bytes = self._recent.popleft()
        self._recent_bytes -= size_bytes
        self._recent_from = stored.end

    async def wait_batches(self, after: JournalPosition, max_records: int) -> Sequence[StoredBatch]:
        """The next batches with log records behind `after`, at least one; about `max_records` records."""
        while True:
            batches = self.batches(after, max_records)
            if batches:
                return batches
            self._arrived.clear()
            await self._arrived.wait()

    def batches(self, after: JournalPosition, max_records: int) -> list[StoredBatch]:
        """The same without waiting: empty where there is none yet."""
        # Segments before the first that has records waiting may be deleted: none of them is opened.
        after = max(after, self.cursor, JournalPosition(self.settled_before()))
        source = self._kept(after) if after >= self._recent_from else self._read(after)
        taken, records = [], 0
        for stored in source:
            events = log_events(stored.batch, stored.types)
            taken.append(stored)
            self._hand(stored.end, events)
            records += sum(events.values())
            if records >= max_records:
                break
        return taken

    def _hand(self, end: JournalPosition, events: Counter[str]) -> None:
        # A batch that is read a second time is settled once.
        if not self._handed or end > self._handed[-1][0]:
            self._handed.append((end, events))

    def _kept(self, after: JournalPosition) -> Iterator[StoredBatch]:
        return (stored for stored, _ in self._recent if stored.end > after)

    def _read(self, after: JournalPosition) -> Iterator[StoredBatch]:
        """Batches of the first segment behind `after` that has any; the next call goes on where this one stopped."""
        for batches, is_whole in self._sources(after):
            found = False
            for stored in batches:
                if stored.end > after:
                    self._reading = stored.end, batches, is_whole
                    found = True
                    yield stored
            if found:
                return

    def _sources(self, after: JournalPosition) -> Iterator[tuple[Iterator[StoredBatch], bool]]:
        """Readers of the segments from `after` on; True with those of segments that were complete when read began.

        The segment that is still written has to be opened again for what came since; a complete one is read once.
        """
        first = after.segment
        if self._reading is not None and self._reading[0] == after:
            _, batches, is_whole = self._reading
            yield batches, is_whole
            first += is_whole
        for segment in [number for number in self._journal.segments if number >= first]:
            is_whole = segment < self._journal.end.segment
            reader = self._journal.read(segment)
            if reader is not None:
                yield stored_batches(segment, reader, after), is_whole

    def advance(self, to: JournalPosition, *, exported: int, rejected: Mapping[str, int]) -> None:
        """Move the cursor to `to`: the collector accepted or rejected all records before it."""
        handed: Counter[str] = Counter()
        while self._handed and self._handed[0][0] <= to:
            end, events = self._handed.popleft()
            self._settle(end.segment, events)
            handed.update(events)
        self._counts.exported += exported
        self._counts.rejected.update(rejected)
        difference = handed.total() - exported - sum(rejected.values())
        # A collector that answers for another number of records must not unbalance the ledger.
        if difference:
            self._counts.dropped[EXPORT_MISMATCH, ""] += difference
        self.cursor = max(self.cursor, to)
        while self._recent and self._recent[0][0].end <= self.cursor:
            self._evict()

    def _settle(self, segment: int, events: Counter[str]) -> None:
        waiting = self._waiting.get(segment)
        if waiting is not None:
            waiting.subtract(events)
            if not any(waiting.values()):
                del self._waiting[segment]
                self._bytes.pop(segment, None)

    def settled_before(self) -> int:
        """Number of the first segment with a log record that waits."""
        return min(self._waiting, default=self._journal.end.segment)

    def beyond(self, quota_bytes: int) -> frozenset[str]:
        """Producers whose waiting records take more than the quota; none where only one producer has any."""
        held: Counter[str] = Counter()
        for each in self._bytes.values():
            held.update(each)
        # A quota is for the sake of others: a single producer may fill the journal.
        return frozenset(name for name, size in held.items() if size > quota_bytes) if len(held) > 1 else frozenset()

    def drop(self, segment: int, reason: str) -> Counter[str]:
        """Give up records of segments up to `segment` that the exporter has not taken; how many, by event type."""
        dropped: Counter[str] = Counter()
        for number in [number for number in self._waiting if number <= segment]:
            dropped.update(self._waiting.pop(number))
            self._bytes.pop(number, None)
        # The exporter's answer settles those that it has: the collector may have accepted them already.
        for end, events in self._handed:
            if end.segment <= segment:
                dropped.subtract(events)
                self._waiting.setdefault(end.segment, Counter()).update(events)
        for event, count in dropped.items():
            self._counts.dropped[reason, event] += count
        self.cursor = max(self.cursor, JournalPosition(segment + 1))
        while self._recent and self._recent[0][0].end <= self.cursor:
            self._evict()
        return +dropped

    def capture(self) -> dict[str, Any]:
        """Cursor and counts of waiting records, as plain values for the checkpoint."""
        waiting = {str(segment): dict(events) for segment, events in self._waiting.items()}
        sizes = {str(segment): dict(each) for segment, each in self._bytes.items()}
        return {"cursor": [self.cursor.segment, self.cursor.offset], "waiting": waiting, "bytes": sizes}

    def restore(self, captured: dict[str, Any], position: JournalPosition) -> None:
        """Take values of `capture`, for a replay from `position`; records of segments that are gone are dropped."""
        self.cursor = JournalPosition(*captured["cursor"])
        self._recent_from = position
        held = set(self._journal.segments)
        for segment, events in captured["waiting"].items():
            if int(segment) in held:
                self._waiting[int(segment)] = Counter(events)
                self._bytes[int(segment)] = Counter(
                    captured.get("bytes", {}).get(segment)
                )  # older checkpoints have none
            else:
                self._counts.dropped.update({(JOURNAL_DAMAGED, event): count for event, count in events.items()})


def log_events(batch: pb.Batch, types: Mapping[int, EventType]) -> Counter[str]:
    """Number of log records of a batch, by event type."""
    events: Counter[str] = Counter()
    for group in batch.groups:
        kind = types[group.event_id]
        if kind.log is not None:
            events[kind.name] += group.count
    return events


def stored_batches(segment: int, reader: SegmentReader, after: JournalPosition) -> Iterator[StoredBatch]:
    """Batches of a segment that end behind `after` and have log records."""
    for record, stream, said in reader:
        end = JournalPosition(segment, record.end)
        if isinstance(said, BatchEntry) and end > after:
            context = reader.streams[stream]
            batch = pb.Batch.FromString(said.raw)
            if log_events(batch, context.types):
                yield context.stored(end, batch, said.received_ns)
