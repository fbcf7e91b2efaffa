"""Retention: frees journal space, and decides what is dropped when the journal is full.

A segment goes by itself when its metrics are in the checkpoint and its log records are exported. The journal is
full when segments take more than `journal_bytes` all the same: the collector is slow or down, so log records wait
in them. Metrics are never at stake; they are in the checkpoint before their segment goes. Log records are given up
in this order, a whole segment at a time, the oldest first, until the journal is small enough:

1. A checkpoint is written, and every segment that needs no more than that goes.
2. Where producers share the journal and one holds more than its quota (`producer_quota_ratio`), its log records in
   the oldest segments are dropped as `producer_quota`; those of the others are journaled again at the end
   (*rescued*).
3. Then log records of anybody are dropped as `journal_full`. Records of reserved types (orders, fills, risk
   denials) are rescued, unless they are more than half of the segment: the journal would be busy with nothing else.
4. Where rescuing freed nothing, segments go with all they hold: the bound on the disk comes first.

Records that the exporter has in hand stay its own, and are counted by its answer. Every other one is counted by its
reason and event type, so that the ledger balances.

A crash at each step: rescued records stand twice until their old segment is gone, and the checkpoint that knows
their new place is written before that. A start between the two finds both places, queues and exports the records
twice, and the log store tells the second by its record id. If the volume rejects the rescue (it may be full), the
records left go with their segment.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from time import perf_counter

from sidecar.checkpoint.writer import CheckpointWriter
from sidecar.export.log_queue import LogQueue
from sidecar.journal.journal import EventJournal
from sidecar.journal.segment import BatchEntry, StreamContext, entry_payload
from sidecar.telemetry.model import EventType, JournalPosition, StoredBatch
from telemetry_contract.v1 import telemetry_pb2 as pb

JOURNAL_FULL = "journal_full"
PRODUCER_QUOTA = "producer_quota"
TURN_S = 0.002
"""Time for which a segment is searched before other tasks have their turn."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Retention:
    """Keeps the journal below `limit_bytes`. Bytes of waiting log records above `quota_bytes` go first."""

    journal: EventJournal
    waiting: LogQueue
    checkpoints: CheckpointWriter
    limit_bytes: int
    quota_bytes: int

    async def make_room(self) -> None:
        """Free space by the steps above until the journal is below its limit."""
        if self.journal.size_bytes <= self.limit_bytes:
            return
        await self.checkpoints.write()
        if over_quota := self.waiting.beyond(self.quota_bytes):
            await self._drop_oldest(PRODUCER_QUOTA, over_quota)
        await self._drop_oldest(JOURNAL_FULL)
        await self._drop_oldest(JOURNAL_FULL, rescue=False)

    async def _drop_oldest(self, reason: str, over_quota: Collection[str] = (), *, rescue: bool = True) -> None:
        # Rescued records make new segments: none of those is dropped in the same round, which would never end.
        last = min(self.checkpoints.end.segment, self.journal.end.segment)
        while self.journal.size_bytes > self.limit_bytes:
            segment = self.journal.segments[0]
            if segment >= last:
                return
            if rescue:
                with contextlib.suppress(OSError):
                    await self.rescue(segment, over_quota)
            dropped = self.waiting.drop(segment, reason)
            # The checkpoint knows where rescued records stand now before their old place is gone.
            await self.checkpoints.write()
            self.checkpoints.release(segment + 1)
            _log.warning("log records dropped", extra={"reason": reason, "events": dict(dropped)})

    async def rescue(self, segment: int, over_quota: Collection[str] = ()) -> None:
        """Journal anew the waiting log records worth keeping: of reserved types, or of producers within their quota.

        Raises OSError: the volume rejects writes; the records left are lost with the segment.
        """
        reader = self.journal.read(segment)
        if reader is None:
            return
        found: list[tuple[StoredBatch, int, StreamContext, bool]] = []
        reserved_bytes = 0
        began_s = perf_counter()
        for record, stream, entry in reader:
            if perf_counter() - began_s > TURN_S:
                await asyncio.sleep(0)
                began_s = perf_counter()
            end = JournalPosition(segment, record.end)
            if not isinstance(entry, BatchEntry) or not self.waiting.waits(end):
                continue
            context = reader.streams[stream]
            whole = bool(over_quota) and context.session.producer_id not in over_quota
            batch = logged_part(entry.raw, context.types, reserved_only=not whole)
            reserved_bytes += 0 if whole else batch.ByteSize()
            if batch.groups:
                found.append((context.stored(end, batch, entry.received_ns), stream, context, whole))
        keeps_reserved = reserved_bytes * 2 <= self.journal.size_of(segment)
        # Without a pause from here on, and asked again: the exporter may have taken records during the search.
        for old, stream, context, whole in found:
            if self.waiting.waits(old.end) and (whole or keeps_reserved):
                raw = old.batch.SerializeToString()
                entry = BatchEntry(old.received_ns, b"", raw, kept=True)
                events = [group.event_id for group in old.batch.groups]
                end = self.journal.append([entry_payload(entry, stream)], context.declarations, events)
                self.waiting.keep(replace(old, end=end), len(raw), segment)


def logged_part(raw: bytes, types: Mapping[int, EventType], *, reserved_only: bool) -> pb.Batch:
    """Groups of a batch that make log records, or of them those of reserved types."""
    batch = pb.Batch.FromString(raw)
    kinds = ((group, types[group.event_id]) for group in batch.groups)
    groups = [group for group, kind in kinds if kind.log is not None and (kind.reserved or not reserved_only)]
    return pb.Batch(first_sequence=batch.first_sequence, count=batch.count, groups=groups)
