"""Telemetry pipeline: builds and runs the path of an event from the gRPC server to the log queue and the aggregate.

    gRPC server -> service -> intake -> journal -> state: ledger, aggregate (metrics), log queue
                                                          |                            |
                                              snapshot(): /metrics, OTLP     wait_batches(): exporter

An event is first in the journal, then in the state, then acknowledged. The state is the journal's sum: a start reads
the checkpoint and replays the journal behind it (`checkpoint/replay`), and has the same state as before.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable, Sequence

from grpc import aio

from sidecar.checkpoint.format import Checkpoint
from sidecar.checkpoint.replay import ReplayResult, restore
from sidecar.checkpoint.state import TelemetryState
from sidecar.checkpoint.writer import UNREADABLE, CheckpointWriter, read_checkpoint, set_aside
from sidecar.export.log_queue import LogQueue
from sidecar.ingest.accept import Intake
from sidecar.ingest.maintenance import Maintenance
from sidecar.ingest.producers import Producers, SecretsListener
from sidecar.ingest.server import AddServices
from sidecar.ingest.server import build as build_server
from sidecar.ingest.service import IngestCounts, IngestService
from sidecar.ingest.tail import Tail, TailEvent
from sidecar.journal.group_commit import GroupCommit
from sidecar.journal.journal import EventJournal, JournalStatus
from sidecar.journal.volume import DirectoryVolume, MemoryVolume, Volume
from sidecar.metrics.aggregate import Aggregate, SeriesLimits
from sidecar.metrics.ledger import LedgerCounts, SidecarLedger
from sidecar.telemetry.model import Snapshot
from sidecar.telemetry.settings import TelemetrySettings

# For streams that were told to end; gRPC cancels those that stay longer.
STOP_GRACE_S = 0.5


class TelemetryPipeline:
    """Takes events and keeps them until they are exported. `open` first, then `serve` until `stop`, then `close`.

    `clock` gives nanoseconds since the epoch. `services` add themselves to the gRPC server. Without `keep_logs` no
    exporter will take log records: they are counted as dropped, and not kept.
    """

    def __init__(
        self,
        settings: TelemetrySettings,
        *,
        clock: Callable[[], int],
        services: Sequence[AddServices] = (),
        volume: Volume | None = None,
        keep_logs: bool = True,
        secrets: SecretsListener | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._services = services
        self._volume = volume
        self._keep_logs = keep_logs
        self.producers = Producers(secrets)
        self._tail = Tail()
        self.instance_id = ""
        """`service.instance.id` of the resource, the same after a restart; empty before `open`."""
        self.tcp_address = ""
        self._listening = asyncio.Event()
        self._replayed = ReplayResult()

    async def open(self) -> None:
        """Lock the journal's directory, read the checkpoint and replay the journal behind it.

        Raises:
            JournalInUseError: another process has the directory.
            OSError: the directory cannot be read or written.
        """
        settings = self._settings
        self._volume = volume = self._volume or self._open_volume()
        disk = settings.durability == "disk"
        journal = self._journal = EventJournal(volume, segment_bytes=settings.segment_bytes, outlives_machine=disk)
        stored = self._restore(volume, journal)
        self._intake = Intake(journal, self._state, settings, self._tail)
        self._commit = GroupCommit(journal, enabled=disk)
        self.instance_id = self._state.instance_id = stored.instance_id or str(uuid.uuid4())
        self._checkpoints = CheckpointWriter(journal, self._state, stored.position, self._clock)
        self._ingest = IngestService(self._intake, self.producers, self._commit, self._clock)
        self._maintenance = Maintenance(self._intake, self._checkpoints, self._ingest, self._clock)
        # At once: it keeps a new instance id, and the next start need not replay the same again.
        await self.checkpoint()

    def _restore(self, volume: Volume, journal: EventJournal) -> Checkpoint:
        stored = read_checkpoint(volume)
        try:
            self._state = self._empty_state(journal)
            self._replayed = restore(self._state, journal, stored)
        except UNREADABLE as error:
            # A state that took half of a checkpoint is of no use: set the file aside, and replay all of the journal.
            set_aside(volume, error)
            stored = Checkpoint()
            self._state = self._empty_state(journal)
            self._replayed = restore(self._state, journal, stored)
        return stored

    def _empty_state(self, journal: EventJournal) -> TelemetryState:
        settings = self._settings
        counts = LedgerCounts()
        limits = SeriesLimits(settings.max_series, settings.max_producer_series, settings.max_instruments)
        queue = LogQueue(journal, counts.logs, memory_bytes=settings.memory_bytes, exported=self._keep_logs)
        return TelemetryState(Aggregate(limits), queue, counts)

    def _open_volume(self) -> Volume:
        if self._settings.durability == "none":
            return MemoryVolume()
        directory = self._settings.journal_directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return DirectoryVolume(directory)

    async def serve(self, stop: asyncio.Event) -> None:
        """Serve producers until `stop`, let their streams end, write a last checkpoint.

        Raises:
            OSError: the socket cannot be opened.
        """
        server, self.tcp_address = build_server(self._settings, self._ingest.handler(), self._services)
        try:
            async with asyncio.TaskGroup() as tasks:
                background = [tasks.create_task(self._maintenance.run()), tasks.create_task(self._commit.run())]
                await server.start()
                self._listening.set()
                await stop.wait()
                await self._drain(server)
                for task in background:
                    task.cancel()  # neither ends by itself
        finally:
            self._settings.socket.unlink(missing_ok=True)
            await self.checkpoint()

    async def wait_listening(self) -> None:
        """Wait until producers can connect."""
        await self._listening.wait()

    async def _drain(self, server: aio.Server) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.drain_s):
                await self._ingest.idle.wait()
        # With a status of ours a producer knows that it should connect again; a cut connection tells it nothing.
        self._ingest.end_streams()
        await server.stop(STOP_GRACE_S)

    async def close(self) -> None:
        """Write what the exporter has done since `serve` ended, and release the journal."""
        await self.checkpoint()
        self._journal.close()

    async def checkpoint(self) -> None:
        """Write the state of this moment; `journal_status` has the error of one that failed."""
        await self._checkpoints.write()

    @property
    def log_queue(self) -> LogQueue:
        """Log records that wait for export; after `open`."""
        return self._state.log_queue

    @property
    def aggregate(self) -> Aggregate:
        """Series of the producers' metrics; after `open`."""
        return self._state.aggregate

    def snapshot(self) -> Snapshot:
        """All metrics at this moment."""
        return self._state.aggregate.snapshot(self._clock())

    def ledger(self) -> SidecarLedger:
        """Events and log records by their fates."""
        return self._state.counts.ledger(self._state.log_queue.queued)

    def journal_status(self) -> JournalStatus:
        """Figures and errors of the journal and its checkpoint."""
        journal = self._journal
        error = journal.health.error or journal.sync_error
        return JournalStatus(
            bytes_used=journal.size_bytes,
            bytes_limit=self._settings.journal_bytes,
            segments=len(journal.segments),
            damaged_bytes=journal.damaged_bytes,
            damaged_segments=journal.damaged_segments,
            torn_bytes=journal.torn_bytes,
            error="" if error is None else str(error),
            error_since_ns=0 if journal.health.error is None else journal.health.since_ns,
            checkpoint_ns=self._checkpoints.written_ns,
            checkpoint_error=self._checkpoints.error,
            replayed_batches=self._replayed.batches,
            unreadable_records=self._replayed.unreadable,
        )

    def ingest_counts(self) -> IngestCounts:
        """Messages that were unknown, malformed or against a rule."""
        return self._ingest.counts

    def tail(self) -> AsyncIterator[TailEvent]:
        """Events from now on, as they come, for the console."""
        return self._tail.watch()
