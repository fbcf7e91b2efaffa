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
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from grpc import aio

from pod_runtime.atomic_file import make_private_directory
from pod_runtime.cancellation import PersistentTaskGroup
from pod_runtime.run import persist
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
from sidecar.ingest.service import IngestService
from sidecar.ingest.tail import Tail
from sidecar.journal.group_commit import GroupCommit
from sidecar.journal.journal import EventJournal, JournalStatus
from sidecar.journal.volume import DirectoryVolume, MemoryVolume, Volume
from sidecar.metrics.aggregate import Aggregate, SeriesLimits
from sidecar.metrics.ledger import LedgerCounts, SidecarLedger
from sidecar.telemetry.model import Snapshot
from sidecar.telemetry.settings import TelemetrySettings

# For streams that were told to end; gRPC cancels those that stay longer.
STOP_GRACE_S = 0.5


@dataclass(eq=False, kw_only=True)
class TelemetryPipeline:
    """Takes events and keeps them until they are exported. `open` first, then `serve` until `stop`, then `close`.

    `clock` gives nanoseconds since the epoch. `services` add themselves to the gRPC server. Without `keep_logs` no
    exporter will take log records: they are counted as dropped, and not kept. From `open` on it has its `state`,
    `ingest` and `checkpoints`; `listening` is set once producers can connect.
    """

    settings: TelemetrySettings
    clock: Callable[[], int]
    services: Sequence[AddServices] = ()
    volume: Volume | None = None
    keep_logs: bool = True
    secrets: SecretsListener | None = None

    def __post_init__(self) -> None:
        self.producers = Producers(self.secrets)
        self.tail = Tail()
        self.instance_id = ""
        """`service.instance.id` of the resource, the same after a restart; empty before `open`."""
        self.tcp_address = ""
        self.listening = asyncio.Event()
        self._replayed = ReplayResult()

    async def open(self) -> None:
        """Lock the journal's directory, read the checkpoint and replay the journal behind it.

        Raises:
            JournalInUseError: another process has the directory.
            OSError: the directory cannot be read or written.
        """
        settings = self.settings
        self.volume = volume = self.volume or self._open_volume()
        disk = settings.durability == "disk"
        journal = self._journal = EventJournal(volume, segment_bytes=settings.segment_bytes, outlives_machine=disk)
        stored = self._restore(volume, journal)
        intake = Intake(journal, self.state, settings, self.tail)
        self._commit = GroupCommit(journal, enabled=disk)
        self.instance_id = self.state.instance_id = stored.instance_id or str(uuid.uuid4())
        self.checkpoints = CheckpointWriter(journal, self.state, stored.position, self.clock)
        self.ingest = IngestService(intake, self.producers, self._commit, self.clock)
        self._maintenance = Maintenance(intake, self.checkpoints, self.ingest, self.clock)
        # At once: it keeps a new instance id, and the next start need not replay the same again.
        await self.checkpoints.write()

    def _restore(self, volume: Volume, journal: EventJournal) -> Checkpoint:
        stored = read_checkpoint(volume)
        try:
            self._load(journal, stored)
        except UNREADABLE as error:
            # A state that took half of a checkpoint is of no use: set the file aside, and replay all of the journal.
            set_aside(volume, error)
            stored = Checkpoint()
            self._load(journal, stored)
        return stored

    def _load(self, journal: EventJournal, stored: Checkpoint) -> None:
        settings = self.settings
        counts = LedgerCounts()
        limits = SeriesLimits(settings.max_series, settings.max_producer_series, settings.max_instruments)
        queue = LogQueue(journal, counts.logs, memory_bytes=settings.memory_bytes, exported=self.keep_logs)
        self.state = TelemetryState(Aggregate(limits), queue, counts)
        self._replayed = restore(self.state, journal, stored)

    def _open_volume(self) -> Volume:
        if self.settings.durability == "none":
            return MemoryVolume()
        directory = self.settings.journal_directory
        make_private_directory(directory)
        return DirectoryVolume(directory)

    async def serve(self, stop: asyncio.Event) -> None:
        """Serve producers until `stop`, let their streams end, write a last checkpoint.

        Raises OSError: the socket cannot be opened.
        """
        server, self.tcp_address = await persist("socket", self._build_server, stop)
        try:
            async with PersistentTaskGroup() as tasks:
                parts = {"maintenance": self._maintenance.run, "group commit": self._commit.run}
                background = [tasks.create_task(persist(name, run)) for name, run in parts.items()]
                await server.start()
                self.listening.set()
                await stop.wait()
                await self._drain(server)
                for task in background:
                    task.cancel()  # neither ends by itself
        finally:
            with contextlib.suppress(OSError):
                self.settings.socket.unlink(missing_ok=True)
            await self.checkpoints.write()

    async def _build_server(self) -> tuple[aio.Server, str]:
        return build_server(self.settings, self.ingest.handler(), self.services)

    async def _drain(self, server: aio.Server) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.settings.drain_s):
                await self.ingest.idle.wait()
        # With a status of ours a producer knows that it should connect again; a cut connection tells it nothing.
        self.ingest.end_streams()
        await server.stop(STOP_GRACE_S)

    async def close(self) -> None:
        """Write what the exporter has done since `serve` ended, and release the journal."""
        await self.checkpoints.write()
        self._journal.close()

    def snapshot(self) -> Snapshot:
        """All metrics at this moment."""
        found = self.state.aggregate.snapshot(now_ns := self.clock())
        producers = (replace(item, seen_ns=self._seen_ns(item.producer_id, now_ns)) for item in found.producers)
        return replace(found, producers=tuple(producers))

    def _seen_ns(self, producer_id: str, now_ns: int) -> int:
        producer = self.producers.get(producer_id)
        if producer is None:
            return 0
        return now_ns if producer.connected else producer.changed_ns

    def kept(self, name: str) -> bytes:
        """Content of a small file beside the journal; empty if there is none, or if it cannot be read."""
        try:
            return self.volume.read(name) if self.volume is not None else b""
        except OSError:
            return b""

    async def keep(self, name: str, data: bytes) -> bool:
        """Write a small file beside the journal, behind all that was appended; False if the volume refuses it."""
        try:
            await asyncio.to_thread(self._journal.write_beside, name, data)
        except OSError:
            return False  # the caller tries again, and `JournalWritable` tells of the volume
        return True

    def ledger(self) -> SidecarLedger:
        """Events and log records by their fates."""
        return self.state.counts.ledger(self.state.log_queue.queued)

    def journal_status(self) -> JournalStatus:
        """Figures and errors of the journal and its checkpoint."""
        journal = self._journal
        error = journal.health.error or journal.sync_error
        return JournalStatus(
            bytes_used=journal.size_bytes,
            bytes_limit=self.settings.journal_bytes,
            segments=len(journal.segments),
            damaged_bytes=journal.damaged_bytes,
            damaged_segments=journal.damaged_segments,
            torn_bytes=journal.torn_bytes,
            error="" if error is None else str(error),
            error_since_ns=0 if journal.health.error is None else journal.health.since_ns,
            checkpoint_ns=self.checkpoints.written_ns,
            checkpoint_error=self.checkpoints.error,
            replayed_batches=self._replayed.batches,
            unreadable_records=self._replayed.unreadable,
        )
