"""Checkpoint writer: reads and writes the checkpoint's file, off the hot path.

At the start an OSError of the volume passes through; later, the old file stands and the journal keeps what it needs.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from time import perf_counter
from typing import Any

from pod_runtime.files.framing import FormatError
from sidecar.checkpoint.format import FILE, Checkpoint, decode, slices
from sidecar.checkpoint.state import TelemetryState
from sidecar.journal.journal import EventJournal
from sidecar.journal.volume import Volume
from sidecar.telemetry.model import JournalPosition

SLICE_S = 0.001
"""Time for which a checkpoint is encoded before other tasks have their turn."""

UNREADABLE = (FormatError, ValueError, KeyError, TypeError, IndexError)
"""Errors of decoding a file that this program did not write, or not in this version."""

_log = logging.getLogger(__name__)


def read_checkpoint(volume: Volume) -> Checkpoint:
    """Checkpoint of a volume; an empty one if there is none. An unreadable one is set aside."""
    try:
        data = volume.read(FILE)
    except FileNotFoundError:
        return Checkpoint()
    try:
        return decode(data)
    except UNREADABLE as error:
        set_aside(volume, error)
        return Checkpoint()


def set_aside(volume: Volume, error: Exception) -> None:
    """Keep an unusable checkpoint for inspection, and log the reason.

    The start goes on without it: the journal still holds every batch that was not exported, and counting resumes from
    those. To refuse the start would stop the producers too.
    """
    volume.replace(f"{FILE}.damaged", volume.read(FILE))
    _log.error("checkpoint set aside", extra={"reason": f"{type(error).__name__}: {error}"})


class CheckpointWriter:
    """Keeps the checkpoint up to date, and frees the segments that it makes superfluous."""

    def __init__(
        self, journal: EventJournal, state: TelemetryState, end: JournalPosition, clock: Callable[[], int]
    ) -> None:
        self._journal = journal
        self._state = state
        self._clock = clock
        self._lock = asyncio.Lock()
        self._queue: dict[str, Any] | None = None
        self.end = end
        """Position up to which the journal's metrics are in the checkpoint."""
        self.written_ns = 0
        self.error = ""
        """Reason why the last checkpoint could not be written; empty if it was."""

    async def write(self) -> None:
        """Write the state of this moment."""
        # Two writers could otherwise finish in the wrong order, and the older state would stand.
        async with self._lock:
            # Nothing has changed: an idle sidecar does not write the same file every few seconds.
            if self.written_ns and (self._journal.end, self._state.log_queue.capture()) == (self.end, self._queue):
                return
            state = self._state.checkpoint(self._journal.end)
            # Of the same moment: the cursor in this file must not lie before a segment that goes with it.
            settled = self._state.log_queue.settled_before()
            data = await _encode_in_slices(state)
            try:
                await asyncio.to_thread(self._journal.write_beside, FILE, data)
            except OSError as error:
                self.error = str(error)
                # Make room for the next try: exported segments go, though after a crash their records count as
                # dropped (`journal_damaged`), because the old checkpoint believes that they wait.
                self.release(min(self.end.segment, settled))
                return
            self.error = ""
            self.written_ns = self._clock()
            self.end, self._queue = state.position, state.log_queue
            self.release(min(state.position.segment, settled))

    def release(self, before: int) -> None:
        """Remove the segments below `before`; one that the volume cannot remove is tried again the next time."""
        with contextlib.suppress(OSError):
            self._journal.release(before)


async def _encode_in_slices(state: Checkpoint) -> bytes:
    parts, began_s = [], perf_counter()
    for part in slices(state):
        parts.append(part)
        if perf_counter() - began_s > SLICE_S:
            await asyncio.sleep(0)
            began_s = perf_counter()
    return b"".join(parts)
