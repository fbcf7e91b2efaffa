"""Maintenance: periodic work beside the streams. It writes checkpoints, frees journal space, expires what is idle."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from time import perf_counter

from sidecar.checkpoint.retention import Retention
from sidecar.checkpoint.writer import CheckpointWriter
from sidecar.ingest.accept import Intake
from sidecar.ingest.service import IngestService

NS = 1_000_000_000
# Bounds by how much the journal grows beyond its limit: by a quarter of a second of ingest.
TICK_S = 0.25
EXPIRY_INTERVAL_S = 30.0

_log = logging.getLogger(__name__)


class Maintenance:
    """Runs beside the streams, in their event loop."""

    def __init__(
        self, intake: Intake, checkpoints: CheckpointWriter, service: IngestService, clock: Callable[[], int]
    ) -> None:
        self._intake, self._checkpoints, self._service, self._clock = intake, checkpoints, service, clock
        self._settings = settings = intake.settings
        quota_bytes = int(settings.journal_bytes * settings.producer_quota_ratio)
        self._retention = Retention(
            intake.journal, intake.state.log_queue, checkpoints, settings.journal_bytes, quota_bytes
        )
        self._gone_since_s: dict[tuple[str, str], float] = {}
        self._reported_overflow: set[tuple[str, str]] = set()

    async def run(self) -> None:
        """Work until cancelled."""
        # Intervals by a clock that nobody sets; `clock` stamps what the journal and the checkpoint record.
        saved_s = expired_s = perf_counter()
        while True:
            await asyncio.sleep(min(TICK_S, self._settings.checkpoint_interval_s))
            now_s = perf_counter()
            behind = self._intake.journal.bytes_since(self._checkpoints.end)
            due = now_s - saved_s >= self._settings.checkpoint_interval_s
            if due or behind >= self._settings.checkpoint_bytes:
                saved_s = now_s
                await self._checkpoints.write()
            if now_s - expired_s >= EXPIRY_INTERVAL_S:
                expired_s = now_s
                self.expire()
            # Each tick: a burst may fill the journal within a second, and nothing but this stops its growth.
            await self._retention.make_room()
            self.end_lost_sessions(now_s)
            self.report_overflow()

    def end_lost_sessions(self, now_s: float) -> None:
        """End the gauges of producers that went without a Goodbye and did not come back within the grace period."""
        gone = {key for key in self._intake.state.aggregate.live_sessions() if not self._service.is_connected(*key)}
        # By our own clock, and anew after a restart: a producer has the whole grace period to find us again.
        self._gone_since_s = {key: self._gone_since_s.get(key, now_s) for key in gone}
        for key, since_s in self._gone_since_s.items():
            if now_s - since_s >= self._settings.session_grace_s:
                # While the volume rejects writes the session stays, and the next tick tries again.
                with contextlib.suppress(OSError):
                    self._intake.lose_session(*key)
                    _log.warning("session lost", extra={"producer": key[0], "session": key[1]})

    def expire(self) -> None:
        """Forget idle series, silent sessions, and producers that are gone."""
        settings, now_ns = self._settings, self._clock()
        if settings.idle_expiry_s:
            with contextlib.suppress(OSError):
                self._intake.expire(now_ns, int(settings.idle_expiry_s * NS))
        before_ns = now_ns - int(settings.session_retention_s * NS)
        # Not journaled: a replay that remembers more sessions recognizes more duplicates, never fewer.
        self._intake.forget_sessions(before_ns, settings.max_sessions)
        self._service.producers.forget(before_ns)

    def report_overflow(self) -> None:
        """Log each instrument that overflowed, once."""
        for producer_id, instrument in self._intake.state.aggregate.overflow.keys() - self._reported_overflow:
            self._reported_overflow.add((producer_id, instrument))
            extra = {"producer": producer_id, "instrument": instrument, "limit": self._settings.max_series}
            _log.warning("series overflow", extra=extra)
