"""The one sender of metrics and logs: OTLP over gRPC, for as long as the journal holds what is to be sent."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse

from sidecar.export import metric_encoder as otlp_metrics
from sidecar.export.batching import Parcel, Part, count, halves, pack
from sidecar.export.log_encoder import LogEncoder, request, resource_block, scope, unframed
from sidecar.export.metric_encoder import SCOPE
from sidecar.export.rejected import RejectedRecords
from sidecar.export.sender import Observe, Sender
from sidecar.export.settings import OtlpSettings
from sidecar.export.status import ExportStatus, Signal
from sidecar.export.verdict import Failure
from sidecar.telemetry.model import Position, Session, Snapshot, StoredBatch
from sidecar.telemetry.resource import producer_resource

_log = logging.getLogger(__name__)
_LOGS = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
_METRICS = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
_IDLE_S = 0.2
"""How long the journal is asked to wait at a time: how late a stop is noticed while nothing comes."""
_LAST_IDLE_S = 0.05
_RESOURCES = 256


class LogSource(Protocol):
    """Where log records come from: the journal, from a position on."""

    @property
    def log_cursor(self) -> Position:
        """Where the first batch begins that is not exported."""

    async def wait_batches(self, after: Position, max_records: int) -> Sequence[StoredBatch]:
        """Batches from `after` on, waiting for one; may be fewer than asked for."""

    def advance(self, to: Position, *, exported: int, rejected: Mapping[str, int]) -> None:
        """The collector has what lies before `to`, but for the rejected records."""


class OtlpExporter:
    """Sends the journal's log records and the snapshots' metrics to a collector until it is told to stop.

    Logs are sent again, with pauses, until the collector takes them or refuses the data itself; the cursor follows
    in order. Stopping takes at most `drain_s`: what is not sent by then stays in the journal.
    """

    def __init__(
        self,
        settings: OtlpSettings,
        *,
        logs: LogSource,
        snapshot: Callable[[], Snapshot],
        resource: Mapping[str, str],
        clock: Callable[[], int],
        chance: Callable[[], float],
        rejected_directory: Path | None = None,
        observe: Observe | None = None,
    ) -> None:
        self._settings = settings
        self._source = logs
        self._snapshot = snapshot
        self._resource = resource
        self._clock = clock
        self._sender = Sender(settings, chance=chance, observe=observe)
        self._rejects = RejectedRecords(rejected_directory, settings.rejected_bytes)
        self._encoder = LogEncoder()
        self._scope = scope(SCOPE, "")
        self._blocks: dict[Session, bytes] = {}
        on = bool(settings.endpoint)
        self._logs = Signal("logs", _LOGS, ExportLogsServiceResponse, clock, on and settings.logs)
        self._metrics = Signal("metrics", _METRICS, ExportMetricsServiceResponse, clock, on and settings.metrics)
        self._parcels: deque[Parcel] = deque()
        self._window = asyncio.Semaphore(settings.requests_in_flight)
        self._base: Snapshot | None = None
        self._unsent: deque[tuple[bytes, int]] = deque()

    def status(self) -> ExportStatus:
        """Figures for health, console and ledger."""
        return ExportStatus(
            endpoint=self._settings.endpoint, logs=self._logs.status(), metrics=self._metrics.status()
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Exports until `stop` is set, then for at most `drain_s` what is there."""
        if not self._settings.endpoint:
            await stop.wait()
            return
        self._base = self._snapshot() if self._settings.temporality == "delta" else None
        try:
            await self._run_until(stop)
        finally:
            await self._sender.close()

    async def _run_until(self, stop: asyncio.Event) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(None) as deadline, asyncio.TaskGroup() as group:
                if self._logs.enabled:
                    group.create_task(self._read_logs(stop, group))
                if self._metrics.enabled:
                    group.create_task(self._push_metrics(stop))
                await stop.wait()
                deadline.reschedule(asyncio.get_running_loop().time() + self._settings.drain_s)

    async def _read_logs(self, stop: asyncio.Event, group: asyncio.TaskGroup) -> None:
        """Reads the journal in order; parcels are sent several at a time and settled in order."""
        after = self._source.log_cursor
        while True:
            batches = await self._next(after, _LAST_IDLE_S if stop.is_set() else _IDLE_S)
            if not batches:
                if stop.is_set():
                    return
                continue
            after = batches[-1].end
            for parcel in await self._pack(batches):
                await self._window.acquire()
                self._parcels.append(parcel)
                group.create_task(self._deliver(parcel))
                await asyncio.sleep(0)
            if parcel.count < self._settings.max_request_records and not stop.is_set():
                await asyncio.sleep(self._settings.linger_s)

    async def _next(self, after: Position, idle_s: float) -> Sequence[StoredBatch]:
        try:
            async with asyncio.timeout(idle_s):
                return await self._source.wait_batches(after, self._settings.max_request_records)
        except TimeoutError:
            return ()

    async def _pack(self, batches: Sequence[StoredBatch]) -> list[Parcel]:
        encoded = []
        for batch in batches:
            encoded.append((batch.end, self._block(batch.session), self._encoder.encode(batch)))
            await asyncio.sleep(0)  # ingest has its turn
        limits = self._settings
        return list(pack(encoded, max_records=limits.max_request_records, max_bytes=limits.max_request_bytes))

    def _block(self, session: Session) -> bytes:
        block = self._blocks.get(session)
        if block is None:
            if len(self._blocks) >= _RESOURCES:
                self._blocks.clear()
            attributes = producer_resource(
                self._resource, session.producer_id, session.resource, self._settings.routing
            )
            block = self._blocks[session] = resource_block(attributes)
        return block

    async def _deliver(self, parcel: Parcel) -> None:
        self._logs.in_flight += parcel.count
        try:
            waiting = [parcel.parts] if parcel.count else []
            while waiting:
                parts = waiting.pop()
                number = count(parts)
                answer = await self._sender.send(self._logs, request(parts, self._scope))
                if not isinstance(answer, Failure):
                    self._taken(parcel, number, answer.partial_success)
                elif number == 1:
                    self._refused(parcel, parts, answer)
                else:
                    waiting.extend(reversed(halves(parts)))
            parcel.done = True
        finally:
            self._logs.in_flight -= parcel.count
            self._window.release()
        self._settle()

    def _taken(self, parcel: Parcel, number: int, partial: Any) -> None:
        rejected = min(max(partial.rejected_log_records, 0), number)
        parcel.exported += number - rejected
        if rejected:
            parcel.rejected["partial_success"] += rejected
            _log.warning("export_partly_rejected", extra={"records": rejected, "error": partial.error_message[:300]})
        elif partial.error_message:
            _log.info("export_warning", extra={"error": partial.error_message[:300]})

    def _refused(self, parcel: Parcel, parts: Sequence[Part], failure: Failure) -> None:
        parcel.rejected[failure.reason] += 1
        self._rejects.keep(unframed(parts[0][1][0]), failure, self._clock())

    def _settle(self) -> None:
        """Moves the cursor over what is done from the oldest parcel on, and counts it there."""
        while number := self._settled():
            parcels = [self._parcels.popleft() for _ in range(number)]
            rejected: Counter[str] = Counter()
            for parcel in parcels:
                rejected.update(parcel.rejected)
            exported = sum(parcel.exported for parcel in parcels)
            self._logs.exported += exported
            self._logs.rejected.update(rejected)
            end = parcels[-1].end
            if end is not None:
                self._source.advance(end, exported=exported, rejected=dict(rejected))

    def _settled(self) -> int:
        """How many parcels, from the oldest on, end with a whole batch and are done.

        A batch that was cut is settled with its last parcel: a crash before that sends and counts it again.
        """
        for number, parcel in enumerate(self._parcels, start=1):
            if not parcel.done:
                return 0
            if parcel.end is not None:
                return number
        return 0

    async def _push_metrics(self, stop: asyncio.Event) -> None:
        """Sends a snapshot each interval; what is unsent by the next is superseded, unless it is a difference."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.metrics_interval_s):
                    await stop.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.metrics_interval_s):
                    await self._send_snapshot()
            if stop.is_set():
                return

    async def _send_snapshot(self) -> None:
        if self._base is None or not self._unsent:
            await self._encode_snapshot()
        while self._unsent:
            data, points = self._unsent[0]
            answer = await self._sender.send(self._metrics, data)
            self._unsent.popleft()
            if isinstance(answer, Failure):
                self._metrics.rejected[answer.reason] += points
                continue
            rejected = min(max(answer.partial_success.rejected_data_points, 0), points)
            self._metrics.exported += points - rejected
            if rejected:
                self._metrics.rejected["partial_success"] += rejected

    async def _encode_snapshot(self) -> None:
        snapshot, base = self._snapshot(), self._base
        shown = snapshot if base is None else otlp_metrics.difference(snapshot, base)
        self._unsent.clear()
        for made, points in otlp_metrics.requests(
            shown, self._resource, max_points=self._settings.max_request_points, delta=base is not None
        ):
            self._unsent.append((made.SerializeToString(), points))
            await asyncio.sleep(0)
        if base is not None:
            self._base = snapshot
