"""Exporter of logs and metrics: OTLP over gRPC, from the journal and the aggregate to one collector.

Logs and metrics differ in what a lost request costs. A metric point is cumulative: the next one says all that it
said. A log record is said once. So logs go through a queue with a cursor, in the journal, and metrics do not.

Logs
    reader      One task reads stored batches from the log queue in order, encodes them and packs them into export
                batches (`batching`) of at most `max_request_records` and `max_request_bytes`.
    senders     Each export batch is sent by a task of its own, `requests_in_flight` at a time. A semaphore holds the
                reader back while the collector is slow: memory has one read and the requests in flight, and all
                other records wait in the journal.
    settling    Answers come in any order. The cursor goes on only over batches that are done from the oldest on, and
                stops at ends of stored batches. It is persisted with the next checkpoint of the sidecar. While the
                oldest waits, the reader stops after `_UNSETTLED` others for each request in flight.

A request ends in one of these ways (`verdict`, by the OTLP specification):

    taken               exported += its records.
    partial_success     the collector dropped some: counted as rejected, never sent again, as the specification asks.
    retry, hold         sent again after a pause (`client`), for as long as it takes: nothing is given up here. The
                        journal gives up its oldest segments when it is full and counts them (`checkpoint.retention`).
    refused             the collector rejects the data: the request is halved, and each half sent by itself, until the
                        record that it rejects stands alone. Only that one is lost: it is counted by reason and kept
                        aside (`rejected`). A poisoned batch of n records costs about 2·log2(n) requests for each
                        poisoned record, in place of n records.

What a crash leaves
    before the request          the records are in the journal, and are read again from the cursor.
    after it, before the answer,
    or before the checkpoint    they are sent again. Each has an id made of producer, session and sequence
                                (`log_encoder`), which Elasticsearch takes as the document's id: no document twice.
    a batch cut in pieces       settles with its last piece: a crash before that sends all pieces again.

Metrics
    Every `metrics_interval_s` a snapshot is encoded and sent. Cumulative points that are unsent by the next are
    superseded. A difference (`temporality = "delta"`) that is lost is lost for ever: it is sent to its end, and the
    next one covers the time since. The base, which all of them have covered, is kept beside the journal as soon as a
    difference was answered, and the next process goes on from there. A kill between answer and file, some
    milliseconds, or within a difference of several requests, sends it again; an end while the collector is away loses
    nothing.

Stop
    `run` has `drain_s` for what is queued, metrics included; then it cancels its tasks. A cancelled request has moved
    no cursor, and what it carried is sent again by the next start.

Not chosen: the SDK's exporter. It drops `partial_success`, gives up after seconds, and takes objects (decision 9).
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse

from pod_runtime.cancellation import PersistentTaskGroup
from pod_runtime.run import persist
from sidecar.export import metric_encoder
from sidecar.export.base import BASE_FILE, read_base, write_base
from sidecar.export.batching import ExportBatch, count, halves, pack
from sidecar.export.client import CollectorClient, Signal
from sidecar.export.log_encoder import LogEncoder, request, resource_block, scope, unframed
from sidecar.export.log_queue import LogQueue
from sidecar.export.metric_encoder import SCOPE
from sidecar.export.rejected import RejectedRecords
from sidecar.export.settings import OtlpSettings
from sidecar.export.status import ExportStatus, SignalStatus
from sidecar.export.verdict import ExportFailure
from sidecar.telemetry.model import JournalPosition, MetricSource, Session, Snapshot, StoredBatch
from sidecar.telemetry.resource import producer_resource

_log = logging.getLogger(__name__)
_LOGS = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
_METRICS = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
# Longest single wait for a stored batch: a stop is noticed so late while none comes. After a stop, queued batches
# are found at once, so that a short wait tells that there is none.
_IDLE_S, _LAST_IDLE_S = 0.2, 0.05
# Resource blocks that are kept encoded. Each session of a producer may bring a new one.
_RESOURCES = 256
# Batches that may wait for an older one to settle, for each request in flight.
_UNSETTLED = 16


@dataclass(eq=False, kw_only=True)
class OtlpExporter:
    """Sends log records and metrics to a collector. `run` until `stop`; it closes the client.

    `resource` describes the sidecar; `clock` gives nanoseconds since the epoch.
    """

    settings: OtlpSettings
    logs: LogQueue
    metrics: MetricSource
    client: CollectorClient
    rejected: RejectedRecords
    resource: Mapping[str, str]
    clock: Callable[[], int]

    def __post_init__(self) -> None:
        on = bool(self.settings.endpoint)
        logs = SignalStatus(enabled=on and self.settings.logs)
        self._logs = Signal("logs", _LOGS, ExportLogsServiceResponse, logs)
        metrics = SignalStatus(enabled=on and self.settings.metrics)
        self._metrics = Signal("metrics", _METRICS, ExportMetricsServiceResponse, metrics)
        self._encoder = LogEncoder()
        self._scope = scope(SCOPE, "")
        self._blocks: dict[Session, bytes] = {}
        self._unsettled: deque[ExportBatch] = deque()
        self._has_room = asyncio.Event()
        self._window = asyncio.Semaphore(self.settings.requests_in_flight)
        self._base: Snapshot | None = None
        """Snapshot that the next difference is made from; None where points are cumulative."""
        self._covered: Snapshot | None = None
        """Snapshot up to which the differences in `_unsent` go."""
        self._unsent: deque[tuple[bytes, int]] = deque()

    def status(self) -> ExportStatus:
        """Figures for health, console and metrics."""
        logs, metrics = self._logs.status.copy(), self._metrics.status.copy()
        return ExportStatus(endpoint=self.settings.endpoint, logs=logs, metrics=metrics)

    async def run(self, stop: asyncio.Event) -> None:
        """Export until `stop` is set, then for at most `drain_s` what is there."""
        if not self.settings.endpoint:
            await stop.wait()
            return
        await self._open_base()
        try:
            async with asyncio.timeout(None) as deadline, PersistentTaskGroup() as group:
                if self._logs.status.enabled:
                    group.create_task(self._read_logs(stop, group))
                if self._metrics.status.enabled:
                    group.create_task(self._push_metrics(stop))
                await stop.wait()
                # One bound for all tasks of the group, the pauses before a dead collector included.
                deadline.reschedule(asyncio.get_running_loop().time() + self.settings.drain_s)
        except TimeoutError:
            pass  # `drain_s` is over; what was not sent waits in the journal
        finally:
            await self.client.channel.close()

    async def _read_logs(self, stop: asyncio.Event, group: asyncio.TaskGroup) -> None:
        """Read the log queue in order, and begin a request for each export batch."""
        after = self.logs.cursor
        while True:
            # While the oldest request is repeated, those behind it finish, and memory keeps each until it settles.
            # Only before a read: all pieces of a cut batch have to go, for none of them settles alone.
            while len(self._unsettled) >= _UNSETTLED * self.settings.requests_in_flight:
                self._has_room.clear()
                await self._has_room.wait()
            idle_s = _LAST_IDLE_S if stop.is_set() else _IDLE_S
            # The journal may not be readable for a while.
            batches = await persist("log export", partial(self._next, after, idle_s))
            if not batches:
                if stop.is_set():
                    return
                continue
            after = batches[-1].end
            for packed in await self._pack(batches):
                await self._window.acquire()
                # Here, not in its task: `_settle` needs them in the order of the journal.
                self._unsettled.append(packed)
                group.create_task(self._deliver(packed))
                await asyncio.sleep(0)  # its request leaves before the next is made
            # A request that is not full waits for more records, for each costs the collector about the same.
            if packed.count < self.settings.max_request_records and not stop.is_set():
                await asyncio.sleep(self.settings.linger_s)

    async def _next(self, after: JournalPosition, idle_s: float) -> Sequence[StoredBatch]:
        with suppress(TimeoutError):
            async with asyncio.timeout(idle_s):
                return await self.logs.wait_batches(after, self.settings.max_request_records)
        return ()

    async def _pack(self, batches: Sequence[StoredBatch]) -> list[ExportBatch]:
        encoded = []
        for batch in batches:
            encoded.append((batch.end, self._block(batch.session), self._encoder.encode(batch)))
            # A batch of 8192 events takes 16 ms to encode: ingest has its turn after each.
            await asyncio.sleep(0)
        limits = self.settings
        return list(pack(encoded, max_records=limits.max_request_records, max_bytes=limits.max_request_bytes))

    def _block(self, session: Session) -> bytes:
        block = self._blocks.get(session)
        if block is None:
            if len(self._blocks) >= _RESOURCES:
                self._blocks.clear()
            routing = self.settings.routing
            attributes = producer_resource(self.resource, session.producer_id, session.resource, routing)
            block = self._blocks[session] = resource_block(attributes)
        return block

    async def _deliver(self, packed: ExportBatch) -> None:
        """Send a batch until each of its records is exported or rejected, then settle what can be settled."""
        self._logs.status.in_flight += packed.count
        try:
            waiting = [packed.parts] if packed.count else []
            while waiting:
                parts = waiting.pop()
                number = count(parts)
                answer = await self.client.send(self._logs, request(parts, self._scope))
                if not isinstance(answer, ExportFailure):
                    self._accept(packed, number, answer.partial_success)
                elif number == 1:
                    packed.rejected[answer.reason] += 1
                    self.rejected.keep(unframed(parts[0][1][0]), answer, self.clock())
                else:
                    # The first half on top: records arrive in their order even where they are halved.
                    waiting.extend(reversed(halves(parts)))
            packed.done = True
            # It may wait long for an older one; by then only its counts are needed.
            packed.parts.clear()
        finally:
            self._logs.status.in_flight -= packed.count
            self._window.release()
        self._settle()

    def _accept(self, packed: ExportBatch, number: int, partial: Any) -> None:
        # A collector that says more, or less than none, would unbalance the ledger.
        rejected = min(max(partial.rejected_log_records, 0), number)
        packed.exported += number - rejected
        if rejected:
            packed.rejected["partial_success"] += rejected
            _log.warning("export_partly_rejected", extra={"records": rejected, "error": partial.error_message[:300]})
        elif partial.error_message:
            _log.info("export_warning", extra={"error": partial.error_message[:300]})

    def _settle(self) -> None:
        """Move the cursor over the batches that are done, from the oldest on, and count them there."""
        settled: list[ExportBatch] = []
        for packed in takewhile(lambda each: each.done, tuple(self._unsettled)):
            settled.append(packed)
            if packed.end is not None:
                exported = sum(each.exported for each in settled)
                rejected = sum((each.rejected for each in settled), Counter[str]())
                self._logs.status.exported += exported
                self._logs.status.rejected.update(rejected)
                self.logs.advance(packed.end, exported=exported, rejected=rejected)
                for _ in settled:
                    self._unsettled.popleft()
                settled.clear()
                self._has_room.set()

    async def _push_metrics(self, stop: asyncio.Event) -> None:
        """Send a snapshot each interval, and a last one after `stop`."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self.settings.metrics_interval_s):
                    await stop.wait()
            # At most until the next is due: points of a collector that is away are superseded, not piled up.
            with suppress(TimeoutError):
                async with asyncio.timeout(self.settings.metrics_interval_s):
                    await self._send_snapshot()
            if stop.is_set():
                return

    async def _send_snapshot(self) -> None:
        if self._base is None or not self._unsent:
            await self._encode_snapshot()
        while self._unsent:
            data, points = self._unsent[0]
            answer = await self.client.send(self._metrics, data)
            # Only now: the interval's end cancels the wait, and a difference must be there for the next try.
            self._unsent.popleft()
            if isinstance(answer, ExportFailure):
                self._metrics.status.rejected[answer.reason] += points
                continue
            rejected = min(max(answer.partial_success.rejected_data_points, 0), points)
            self._metrics.status.exported += points - rejected
            if rejected:
                self._metrics.status.rejected["partial_success"] += rejected
        if self._covered is not None:
            self._base, self._covered = self._covered, None
            await self._keep_base()

    async def _encode_snapshot(self) -> None:
        snapshot, base = self.metrics.snapshot(), self._base
        shown = snapshot if base is None else metric_encoder.difference(snapshot, base)
        self._unsent.clear()
        for made, points in metric_encoder.requests(
            shown, self.resource, max_points=self.settings.max_request_points, delta=base is not None
        ):
            self._unsent.append((made.SerializeToString(), points))
            await asyncio.sleep(0)
        self._covered = snapshot if base is not None else None

    async def _open_base(self) -> None:
        """Go on from the base of a former process."""
        if self.settings.temporality != "delta":
            # Cumulative points cover what a later difference would cover again.
            if self.metrics.kept(BASE_FILE):
                await self.metrics.keep(BASE_FILE, b"")
            return
        self._base = read_base(self.metrics.kept(BASE_FILE))
        if self._base is None:
            # Not at zero: counters survive a restart, and what they had by now was pushed by an earlier version.
            self._base = self.metrics.snapshot()
            await self._keep_base()

    async def _keep_base(self) -> None:
        if self._base is not None:
            # One that cannot be written stays as it was: its difference is sent again after a kill, and not lost.
            await self.metrics.keep(BASE_FILE, await asyncio.to_thread(write_base, self._base))
