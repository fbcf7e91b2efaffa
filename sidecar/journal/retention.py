"""What the telemetry path does at its times: checkpoints, room in the journal, and forgetting."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable
from time import perf_counter

from sidecar.checkpoint.state import State
from sidecar.checkpoint.writer import Saving
from sidecar.export.log_queue import JOURNAL_FULL, PRODUCER_QUOTA
from sidecar.ingest.accept import Intake
from sidecar.journal.journal import Journal
from sidecar.telemetry.settings import TelemetrySettings

NS = 1_000_000_000
TICK_S = 0.25
EXPIRY_INTERVAL_S = 30.0
TURN_S = 0.002
"""How long a segment is looked through before other work has its turn."""

_log = logging.getLogger(__name__)


class Upkeep:
    """Runs beside the streams. `is_connected` says whether a session (producer, session) has a stream."""

    def __init__(
        self,
        settings: TelemetrySettings,
        *,
        journal: Journal,
        state: State,
        intake: Intake,
        saving: Saving,
        is_connected: Callable[[str, str], bool],
        clock: Callable[[], int],
    ) -> None:
        self._settings = settings
        self._journal = journal
        self._state = state
        self._intake = intake
        self._saving = saving
        self._is_connected = is_connected
        self._clock = clock
        self._gone_since_s: dict[tuple[str, str], float] = {}
        self._overflowed: set[tuple[str, str]] = set()

    async def run(self) -> None:
        """Works until cancelled."""
        saved_s = expired_s = perf_counter()
        while True:
            await asyncio.sleep(min(TICK_S, self._settings.checkpoint_interval_s))
            now_s = perf_counter()
            if self._is_checkpoint_due(now_s - saved_s):
                saved_s = now_s
                await self._saving.write()
            if now_s - expired_s >= EXPIRY_INTERVAL_S:
                expired_s = now_s
                self._expire()
            await self._make_room()
            self._end_lost_sessions(now_s)
            self._report_overflow()

    def _is_checkpoint_due(self, since_s: float) -> bool:
        behind = self._journal.bytes_since(self._saving.end)
        return since_s >= self._settings.checkpoint_interval_s or behind >= self._settings.checkpoint_bytes

    async def _make_room(self) -> None:
        """The journal is full: what is exported goes, then the oldest log records, their metrics saved first.

        Producers beyond their quota give up theirs before anybody else does.
        """
        if self._journal.size_bytes <= self._settings.journal_bytes:
            return
        await self._saving.write()
        quota = int(self._settings.journal_bytes * self._settings.producer_quota_ratio)
        if beyond := self._state.backlog.beyond(quota):
            await self._give_up(PRODUCER_QUOTA, lambda segment: self._intake.keep(segment, beyond))
        await self._give_up(JOURNAL_FULL, self._intake.keep)
        await self._give_up(JOURNAL_FULL, lambda _: ())  # where keeping freed nothing, the bound comes first

    async def _give_up(self, reason: str, keep: Callable[[int], Iterable[None]]) -> None:
        """Drops segments, the oldest first, while the journal is too large; each once, none that was begun since."""
        last = min(self._saving.end.segment, self._journal.end.segment)
        while self._journal.size_bytes > self._settings.journal_bytes:
            segment = self._journal.segments[0]
            if segment >= last:
                return
            with contextlib.suppress(OSError):
                await _in_turns(keep(segment))
            dropped = self._state.backlog.drop(segment, reason)
            # What was kept is known by the checkpoint before the place where it stood is gone.
            await self._saving.write()
            self._saving.release(segment + 1)
            _log.warning("log records dropped", extra={"reason": reason, "events": dict(dropped)})

    def _end_lost_sessions(self, now_s: float) -> None:
        """Ends the gauges of producers that went without a word and did not come back."""
        gone = {key for key in self._state.aggregate.live_sessions() if not self._is_connected(*key)}
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
        for producer_id, instrument in self._state.aggregate.overflow.keys() - self._overflowed:
            self._overflowed.add((producer_id, instrument))
            extra = {"producer": producer_id, "instrument": instrument, "limit": self._settings.max_series}
            _log.warning("series overflow", extra=extra)


async def _in_turns(steps: Iterable[None]) -> None:
    began_s = perf_counter()
    for _ in steps:
        if perf_counter() - began_s > TURN_S:
            await asyncio.sleep(0)
            began_s = perf_counter()
