"""Status sampler and audit timeline: the two memories behind the console's page, each of a bounded size."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from typing import TYPE_CHECKING, Protocol

from sidecar.console.event_stream import Watchers
from sidecar.console.settings import ConsoleSettings
from sidecar.console.status.time_series import StatusInputs, StatusSample, TimeSeries, moment_text
from sidecar.secrets.audit import AuditEvent, log_audit

if TYPE_CHECKING:
    from sidecar.console.document import JsonObject, StatusDocument

KEPT_ACTIONS = 200
# Fewer than are kept: the document goes to every open page each second.
SHOWN_ACTIONS = 30

log = logging.getLogger(__name__)


class StatusSource(Protocol):
    """Process that is sampled."""

    def sample(self) -> StatusSample | None:
        """Take a sample, or None before the journal is open: totals replayed later would look like a leap."""

    def inputs(self, series: TimeSeries) -> StatusInputs:
        """Collect the reports of the parts."""


class StatusSampler:
    """Takes a sample each interval, and sends the status document to every watcher."""

    def __init__(self, settings: ConsoleSettings, source: StatusSource) -> None:
        self._interval_s = settings.interval_s
        self._source = source
        # One more than intervals: a rate lies between two samples.
        self._series = TimeSeries(round(settings.history_s / settings.interval_s) + 1)
        self.watchers = Watchers(settings.max_watchers)

    def status(self) -> StatusDocument:
        """Build the document of this moment."""
        # The document's types and msgspec are 2 MiB of memory, for a page that is rarely open.
        from sidecar.console.status.builder import status_document  # noqa: PLC0415 - see above

        return status_document(self._source.inputs(self._series))

    async def run(self, stop: asyncio.Event) -> None:
        """Sample until `stop`, then end every watcher's stream."""
        while not stop.is_set():
            self._sample()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), self._interval_s)
        self.watchers.close()

    def _sample(self) -> None:
        # The console is the least important part of the process: a fault in it ends neither telemetry nor secrets.
        try:
            if (sample := self._source.sample()) is not None:
                self._series.add(sample)
            # The document is built only for somebody who looks.
            if self.watchers.any:
                self.watchers.tell(self.status())
        except Exception:
            log.exception("console.sample_failed")


class AuditTimeline:
    """Keeps the latest actions of the secrets agent, and writes each to the log; they hold no secret."""

    def __init__(self, kept: int = KEPT_ACTIONS) -> None:
        self._events: deque[AuditEvent] = deque(maxlen=kept)

    def add(self, event: AuditEvent) -> None:
        """Keep an action; the agent calls it."""
        log_audit(event)
        self._events.append(event)

    def latest(self) -> list[JsonObject]:
        """Return the latest actions as the document has them, the latest first."""
        return [
            {
                "time": moment_text(event.time),
                "deed": event.name.removeprefix("secrets."),
                "outcome": event.outcome,
                "secret": event.secret,
                "generation": event.generation,
                "attributes": dict(event.attributes),
            }
            for event in [*self._events][: -SHOWN_ACTIONS - 1 : -1]
        ]
