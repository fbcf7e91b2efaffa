"""A journal in memory, batches that tests put into it, and an exporter over it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from sidecar.export.client import CollectorClient
from sidecar.export.exporter import OtlpExporter
from sidecar.export.log_queue import LogQueue
from sidecar.export.rejected import RejectedRecords
from sidecar.export.settings import OtlpSettings
from sidecar.telemetry.model import EventType, Field, JournalPosition, LogTemplate, Session, Snapshot, StoredBatch
from telemetry_contract.v1 import telemetry_pb2 as pb
from tests.unit.sidecar.snapshots import FakeMetrics

ORDER = EventType(
    event_id=1,
    name="broker.order.transition",
    fields=(
        Field(name="status", type=pb.FIELD_TYPE_STRING, role=pb.FIELD_ROLE_LABEL),
        Field(name="order_id", type=pb.FIELD_TYPE_STRING, role=pb.FIELD_ROLE_ATTRIBUTE),
        Field(name="duration_s", type=pb.FIELD_TYPE_DOUBLE, role=pb.FIELD_ROLE_MEASURE),
    ),
    log=LogTemplate(severity=9, body="An order reached a status"),
)
SILENT = EventType(event_id=2, name="broker.beat", fields=())
SESSION = Session(producer_id="broker", session_id="s1", resource=(("service.name", "broker"),))


def orders(first: int, count: int, *, end: int, session: Session = SESSION) -> StoredBatch:
    """A batch of `count` orders whose ids are their sequences."""
    group = pb.Group(event_id=1, count=count, base_time_unix_nano=10**18, time_offsets_nano=range(count))
    group.columns.append(pb.Column(values=["filled"], indexes=[0] * count))
    group.columns.append(pb.Column(values=[str(first + at) for at in range(count)]))
    group.columns.append(pb.Column(doubles=[0.5] * count))
    batch = pb.Batch(first_sequence=first, count=count, groups=[group])
    return StoredBatch(
        end=JournalPosition(1, end), session=session, batch=batch, types={1: ORDER}, received_ns=10**18 + 5
    )


def silence(first: int, *, end: int) -> StoredBatch:
    """A batch whose one event makes no log record."""
    group = pb.Group(event_id=2, count=1, base_time_unix_nano=10**18, time_offsets_nano=[0])
    batch = pb.Batch(first_sequence=first, count=1, groups=[group])
    return StoredBatch(end=JournalPosition(1, end), session=SESSION, batch=batch, types={2: SILENT}, received_ns=10**18)


@dataclass
class MemoryJournal:
    """Batches in order; `advances` are the cursors that the exporter set."""

    batches: list[StoredBatch] = field(default_factory=list)
    cursor: JournalPosition = JournalPosition()
    advances: list[JournalPosition] = field(default_factory=list)
    exported: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    _more: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, *batches: StoredBatch) -> None:
        self.batches.extend(batches)
        self._more.set()

    async def wait_batches(self, after: JournalPosition, max_records: int) -> Sequence[StoredBatch]:
        while True:
            found: list[StoredBatch] = []
            for batch in self.batches:
                if batch.end > after and sum(each.batch.count for each in found) < max_records:
                    found.append(batch)
            if found:
                return found
            self._more.clear()
            await self._more.wait()

    def advance(self, to: JournalPosition, *, exported: int, rejected: Mapping[str, int]) -> None:
        assert to > self.cursor
        self.cursor = to
        self.advances.append(to)
        self.exported += exported
        self.rejected.update(rejected)


def exporter_over(
    logs: LogQueue | MemoryJournal,
    otlp: OtlpSettings,
    *,
    resource: Mapping[str, str],
    clock: Callable[[], int],
    metrics: Callable[[], Snapshot] = lambda: Snapshot(time_ns=10**18),
    chance: Callable[[], float] = lambda: 0.5,
    rejected_directory: Path | None = None,
) -> OtlpExporter:
    """An exporter with its client; refused records are kept where a directory is given."""
    return OtlpExporter(
        settings=otlp,
        logs=cast("LogQueue", logs),
        metrics=FakeMetrics(metrics),
        client=CollectorClient(otlp, clock=clock, chance=chance),
        rejected=RejectedRecords(rejected_directory, otlp.rejected_bytes),
        resource=resource,
        clock=clock,
    )
