"""The console's picture of the sidecar: sampled on a beat, told to who watches."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any

from sidecar.config import ConsoleSettings
from sidecar.console.event_stream import Watchers
from sidecar.console.status.document import Parts, status_document
from sidecar.console.status.time_series import History, Sample

log = logging.getLogger(__name__)


class Picture:
    """Takes a sample each interval, and makes the status document from what `gather` tells with the history.

    `sample` gives None while there is nothing to be sampled: a total that is read late would look like a leap.
    """

    def __init__(
        self, settings: ConsoleSettings, *, sample: Callable[[], Sample | None], gather: Callable[[History], Parts]
    ) -> None:
        self._interval_s = settings.interval_s
        self._sample = sample
        self._gather = gather
        self._history = History(round(settings.history_s / settings.interval_s) + 1)
        self.watchers = Watchers(settings.max_watchers)

    def status(self) -> dict[str, Any]:
        """The document of `/api/status`."""
        return status_document(self._gather(self._history))

    async def run(self, stop: asyncio.Event) -> None:
        """Samples until `stop`, then ends every watcher's stream."""
        while not stop.is_set():
            self._draw()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), self._interval_s)
        self.watchers.close()

    def _draw(self) -> None:
        try:
            if (sample := self._sample()) is not None:
                self._history.add(sample)
            if self.watchers.any:
                self.watchers.tell(self.status())
        except Exception:
            # A picture that cannot be drawn ends neither telemetry nor secrets.
            log.exception("console.sample_failed")
