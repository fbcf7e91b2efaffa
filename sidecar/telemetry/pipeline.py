"""The telemetry path of the sidecar, wired: journal, aggregate, backlog, and the gRPC server in front of them."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from grpc import aio

from runtime.framing import FormatError
from sidecar.telemetry import checkpoint as checkpoints
from sidecar.telemetry import server as listening
from sidecar.telemetry.aggregate import Aggregate, Limit
from sidecar.telemetry.backlog import Backlog
from sidecar.telemetry.checkpoint import Checkpoint
from sidecar.telemetry.contract import Limits
from sidecar.telemetry.ingest import Ingest, IngestCounts, Terms
from sidecar.telemetry.intake import Intake
from sidecar.telemetry.journal import Journal
from sidecar.telemetry.ledger import Counts, Ledger
from sidecar.telemetry.model import Position, Snapshot, StoredBatch
from sidecar.telemetry.producers import Producers
from sidecar.telemetry.replay import Replayed, restore
from sidecar.telemetry.settings import TelemetrySettings
from sidecar.telemetry.state import State
from sidecar.telemetry.syncing import GroupSync
from sidecar.telemetry.tail import Tail, TailEvent
from sidecar.telemetry.volume import DirectoryVolume, MemoryVolume, Volume

NS = 1_000_000_000
SLICE_S = 0.002
"""How long a checkpoint is encoded before other work has its turn."""

STOP_GRACE_S = 0.5
TICK_S = 0.25
EXPIRY_INTERVAL_S = 30.0

_log = logging.getLogger(__name__)


class JournalInUseError(OSError):
    """Another process has the journal's directory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalStatus:
    """The journal at one moment."""

    bytes_used: int
    bytes_limit: int
    segments: int
    damaged_bytes: int
    damaged_segments: int
    torn_bytes: int
    error: str
    """Why the volume takes nothing now; empty while it does."""
    error_since_ns: int
    checkpoint_ns: int
    """When the last checkpoint was written; 0 for not yet."""
    checkpoint_error: str
    replayed_batches: int
    unreadable_records: int
    """Records of the journal that the replay could make nothing of."""


class TelemetryPipeline:
    """Takes events and keeps them until they are exported. `open` first, then `serve` until told to stop.

    Without `keep_logs` nobody will export log records: they are counted as dropped, and not kept.
    """

    def __init__(
        self,
        settings: TelemetrySettings,
        *,
        clock: Callable[[], int],
        services: Sequence[listening.AddServices] = (),
        volume: Volume | None = None,
        keep_logs: bool = True,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._services = services
        self._volume = volume
        self._keep_logs = keep_logs
        self._counts = Counts()
        limit = Limit(settings.max_series, settings.max_producer_series, settings.max_instruments)
        self._aggregate = Aggregate(limit)
        self.producers = Producers()
        self._tail = Tail()
        self.instance_id = ""
        """Stable over restarts: `service.instance.id` of the resource."""
        self.tcp_address = ""
        self._listening = asyncio.Event()
        self._error: OSError | None = None
        self._error_since_ns = 0
        self._checkpoint_ns = 0
        self._checkpoint_end = Position()
        self._checkpoint_error = ""
        self._saved_backlog: dict[str, Any] | None = None
        self._checkpoint_lock = asyncio.Lock()
        self._lock = -1
        self._replayed = Replayed()
        self._gone_since_s: dict[tuple[str, str], float] = {}
        self._overflowed: set[tuple[str, str]] = set()

    async def open(self) -> None:
        """Takes the journal's directory, reads the checkpoint and replays what came after it.

        Raises:
            JournalInUseError: another process has it.
            OSError: it cannot be read or written.
        """
        settings = self._settings
        self._volume = volume = self._volume or self._open_volume()
        journal = self._journal = Journal(volume, segment_bytes=settings.segment_bytes)
        self._backlog = Backlog(journal, self._counts.logs, memory_bytes=settings.memory_bytes)
        self._backlog.keeps = self._keep_logs
        self._state = State(self._aggregate, self._backlog, self._counts)
        self._intake = Intake(journal, self._state, self._limits())
        self._intake.watch = self._tail.add
        self._sync = GroupSync(journal, enabled=settings.durability == "disk")
        stored = self._read_checkpoint(volume)
        self._replayed = restore(self._state, journal, stored)
        self._checkpoint_end = stored.position
        self.instance_id = stored.instance_id or str(uuid.uuid4())
        self._ingest = Ingest(
            self._intake,
            self.producers,
            self._terms(),
            clock=self._clock,
            durable=self._sync.wait,
            journal_state=self._journal_state,
        )
        await self.checkpoint()

    def _open_volume(self) -> Volume:
        if self._settings.durability == "none":
            return MemoryVolume()
        directory = self._settings.journal_directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = lock_directory(directory)
        return DirectoryVolume(directory)

    def _limits(self) -> Limits:
        settings = self._settings
        return Limits(
            max_message_bytes=settings.max_message_bytes,
            max_batch_events=settings.max_batch_events,
            max_event_types=settings.max_event_types,
            max_fields=settings.max_fields,
            max_string_bytes=settings.max_string_bytes,
            max_series_per_instrument=settings.max_series,
        )

    def _terms(self) -> Terms:
        settings = self._settings
        return Terms(
            limits=self._limits(),
            window_bytes=settings.window_bytes,
            heartbeat_interval_ms=settings.heartbeat_interval_ms,
            max_producers=settings.max_producers,
            allowed_producers=frozenset(settings.allowed_producers),
            ack_delay_s=settings.ack_delay_ms / 1000,
        )

    def _read_checkpoint(self, volume: Volume) -> Checkpoint:
        try:
            data = volume.read(checkpoints.FILE)
        except FileNotFoundError:
            return Checkpoint()
        try:
            return checkpoints.decode(data)
        except (FormatError, ValueError, KeyError, TypeError) as error:
            # Set aside, not guessed at: the journal still holds what was not exported.
            volume.replace(f"{checkpoints.FILE}.damaged", data)
            _log.error("checkpoint set aside", extra={"reason": str(error)})
            return Checkpoint()

    async def serve(self, stop: asyncio.Event) -> None:
        """Serves producers until `stop`, lets their streams end, writes a last checkpoint.

        Raises:
            OSError: the socket cannot be opened.
        """
        server, self.tcp_address = listening.build(self._settings, self._ingest.handler(), self._services)
        try:
            async with asyncio.TaskGroup() as tasks:
                keeping = [tasks.create_task(self._keep()), tasks.create_task(self._sync.run())]
                await server.start()
                self._listening.set()
                await stop.wait()
                await self._drain(server)
                for task in keeping:
                    task.cancel()
        finally:
            self._settings.socket.unlink(missing_ok=True)
            await self.checkpoint()

    async def wait_listening(self) -> None:
        """Waits until producers can connect."""
        await self._listening.wait()

    async def _drain(self, server: aio.Server) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.drain_s):
                await self._ingest.wait_idle()
        self._ingest.end_streams()
        await server.stop(STOP_GRACE_S)

    async def close(self) -> None:
        """Keeps what the exporter has done since `serve` ended, and gives up the journal."""
        await self.checkpoint()
        self._journal.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    async def _keep(self) -> None:
        """Checkpoints, expiry and room in the journal, at their times."""
        settings, checked_s = self._settings, perf_counter()
        expired_s = checked_s
        while True:
            await asyncio.sleep(min(TICK_S, settings.checkpoint_interval_s))
            now_s = perf_counter()
            behind = self._journal.bytes_since(self._checkpoint_end)
            if now_s - checked_s >= settings.checkpoint_interval_s or behind >= settings.checkpoint_bytes:
                checked_s = now_s
                await self.checkpoint()
            if now_s - expired_s >= EXPIRY_INTERVAL_S:
                expired_s = now_s
                self._expire()
            await self._make_room()
            self._end_lost_sessions()
            self._report_overflow()

    async def checkpoint(self) -> None:
        """Writes the state of this moment; on failure the one before stands, and the journal keeps what it needs."""
        async with self._checkpoint_lock:
            state = self._state.checkpoint(self._journal.end, self.instance_id)
            if self._checkpoint_ns and (state.position, state.backlog) == (self._checkpoint_end, self._saved_backlog):
                return
            settled = self._backlog.settled_before()
            data = await encode_in_slices(state)
            try:
                await asyncio.to_thread(self._journal.write_beside, checkpoints.FILE, data)
            except OSError as error:
                self._checkpoint_error = str(error)
                # Room for the next try: what is exported, though after a crash it would count as dropped.
                self._release(min(self._checkpoint_end.segment, settled))
                return
            self._checkpoint_error = ""
            self._checkpoint_ns = self._clock()
            self._checkpoint_end, self._saved_backlog = state.position, state.backlog
            self._release(min(state.position.segment, settled))

    def _release(self, before: int) -> None:
        with contextlib.suppress(OSError):
            self._journal.release(before)

    async def _make_room(self) -> None:
        """The journal is full: what is exported goes, then the oldest log records, their metrics saved first."""
        limit = self._settings.journal_bytes
        if self._journal.size_bytes <= limit:
            return
        await self.checkpoint()
        while self._journal.size_bytes > limit:
            segment = self._journal.segments[0]
            if segment >= min(self._checkpoint_end.segment, self._journal.end.segment):
                return
            with contextlib.suppress(OSError):
                self._intake.keep_reserved(segment)
            dropped = self._backlog.drop(segment)
            # What was kept is known by the checkpoint before the place where it stood is gone.
            await self.checkpoint()
            self._release(segment + 1)
            _log.warning("log records dropped", extra={"reason": "journal_full", "events": dict(dropped)})

    def _end_lost_sessions(self) -> None:
        """Ends the gauges of producers that went without a word and did not come back."""
        now_s = perf_counter()
        gone = {key for key in self._aggregate.live_sessions() if not self._ingest.is_connected(*key)}
        self._gone_since_s = {key: self._gone_since_s.get(key, now_s) for key in gone}
        for key, since_s in self._gone_since_s.items():
            if now_s - since_s >= self._settings.session_grace_s:
                with contextlib.suppress(OSError):
                    self._intake.lose_session(*key)
                    _log.warning("session lost", extra={"producer": key[0], "session": key[1]})

    def _expire(self) -> None:
        settings, now_ns = self._settings, self._clock()
        if settings.idle_expiry_s:
            with contextlib.suppress(OSError):
                self._intake.expire(now_ns, int(settings.idle_expiry_s * NS))
        self._intake.forget_sessions(now_ns - int(settings.session_retention_s * NS), settings.max_sessions)

    def _report_overflow(self) -> None:
        for producer_id, instrument in self._aggregate.overflow.keys() - self._overflowed:
            self._overflowed.add((producer_id, instrument))
            extra = {"producer": producer_id, "instrument": instrument, "limit": self._settings.max_series}
            _log.warning("series overflow", extra=extra)

    def _journal_state(self, error: OSError | None) -> None:
        if error is not None and self._error is None:
            self._error_since_ns = self._clock()
            _log.error("journal takes nothing", extra={"reason": str(error)})
        elif error is None and self._error is not None:
            _log.info("journal takes events again")
        self._error = error

    def snapshot(self) -> Snapshot:
        """All metrics at this moment."""
        return self._aggregate.snapshot(self._clock())

    def ledger(self) -> Ledger:
        """What came in and what became of it."""
        return self._counts.ledger(self._backlog.queued)

    def journal_status(self) -> JournalStatus:
        """How the journal is."""
        journal = self._journal
        return JournalStatus(
            bytes_used=journal.size_bytes,
            bytes_limit=self._settings.journal_bytes,
            segments=len(journal.segments),
            damaged_bytes=journal.damaged_bytes,
            damaged_segments=journal.damaged_segments,
            torn_bytes=journal.torn_bytes,
            error="" if self._error is None else str(self._error),
            error_since_ns=0 if self._error is None else self._error_since_ns,
            checkpoint_ns=self._checkpoint_ns,
            checkpoint_error=self._checkpoint_error,
            replayed_batches=self._replayed.batches,
            unreadable_records=self._replayed.unreadable,
        )

    def series(self) -> Mapping[str, int]:
        """How many series each producer has."""
        return self._aggregate.series_count()

    def overflow(self) -> Mapping[tuple[str, str], int]:
        """Measurements that went to an overflow series, by producer and instrument."""
        return self._aggregate.overflow

    def refused_measurements(self) -> Mapping[tuple[str, str, str], int]:
        """Measurements that an instrument cannot take, by producer, instrument and reason."""
        return self._aggregate.refused

    def ingest_counts(self) -> IngestCounts:
        """Messages that were unknown, malformed or against a rule."""
        return self._ingest.counts

    @property
    def cut_strings(self) -> int:
        """String values that were cut to their limit."""
        return self._intake.cut_strings

    async def wait_batches(self, after: Position, max_records: int) -> Sequence[StoredBatch]:
        """The next batches with log records behind `after`; waits for one."""
        return await self._backlog.wait_batches(after, max_records)

    @property
    def log_cursor(self) -> Position:
        """Up to here the log records are exported, rejected or dropped."""
        return self._backlog.cursor

    def advance(self, to: Position, *, exported: int, rejected: Mapping[str, int]) -> None:
        """The collector has what lies before `to`; persisted with the next checkpoint."""
        self._backlog.advance(to, exported=exported, rejected=rejected)

    def tail(self) -> AsyncIterator[TailEvent]:
        """Events from now on, for the console."""
        return self._tail.watch()

    @property
    def tail_dropped(self) -> int:
        """Batches that watchers were too slow for."""
        return self._tail.dropped_batches


def lock_directory(directory: Path) -> int:
    """Takes the directory for this process, for as long as the returned descriptor is open.

    Raises:
        JournalInUseError: another process has it.
    """
    handle = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        text = f"{directory} is in use by another process: give each sidecar a journal_directory of its own"
        raise JournalInUseError(error.errno, text) from error
    return handle


async def encode_in_slices(state: Checkpoint) -> bytes:
    """A checkpoint's file; other work has its turn between the parts."""
    parts, began_s = [], perf_counter()
    for part in checkpoints.slices(state):
        parts.append(part)
        if perf_counter() - began_s > SLICE_S:
            await asyncio.sleep(0)
            began_s = perf_counter()
    return b"".join(parts)
