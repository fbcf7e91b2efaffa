"""Reading and writing the checkpoint's file, off the hot path."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from time import perf_counter
from typing import Any

from pod_runtime.framing import FormatError
from sidecar.checkpoint.format import FILE, Checkpoint, decode, slices
from sidecar.checkpoint.state import State
from sidecar.journal.journal import Journal
from sidecar.journal.volume import Volume

SLICE_S = 0.001
"""How long a checkpoint is encoded before other work has its turn."""

UNREADABLE = (FormatError, ValueError, KeyError, TypeError, IndexError)
"""What reading a file raises that this program did not write, or not in this version."""

_log = logging.getLogger(__name__)


def read_checkpoint(volume: Volume) -> Checkpoint:
    """The checkpoint of a volume; an empty one where there is none. One that cannot be read is set aside.

    Raises:
        OSError: the volume cannot be read or written.
    """
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
    """Keeps a checkpoint that cannot be used, and says why: the journal still holds what was not exported.

    Raises:
        OSError: the volume cannot be read or written.
    """
    volume.replace(f"{FILE}.damaged", volume.read(FILE))
    _log.error("checkpoint set aside", extra={"reason": f"{type(error).__name__}: {error}"})


class Saving:
    """Keeps the checkpoint up to date, and frees the segments that it makes superfluous."""

    def __init__(
        self, journal: Journal, state: State, stored: Checkpoint, *, instance_id: str, clock: Callable[[], int]
    ) -> None:
        self._journal = journal
        self._state = state
        self._clock = clock
        self._instance_id = instance_id
        self._lock = asyncio.Lock()
        self._backlog: dict[str, Any] | None = None
        self.end = stored.position
        """Up to here the journal's metrics are in the checkpoint."""
        self.written_ns = 0
        self.error = ""
        """Why the last checkpoint could not be written; empty where it was."""

    async def write(self) -> None:
        """Writes the state of this moment; on failure the one before stands, and the journal keeps what it needs."""
        async with self._lock:
            if self.written_ns and (self._journal.end, self._state.backlog.capture()) == (self.end, self._backlog):
                return
            state = self._state.checkpoint(self._journal.end, self._instance_id)
            settled = self._state.backlog.settled_before()
            data = await _encode_in_slices(state)
            try:
                await asyncio.to_thread(self._journal.write_beside, FILE, data)
            except OSError as error:
                self.error = str(error)
                # Room for the next try: what is exported, though after a crash it would count as dropped.
                self.release(min(self.end.segment, settled))
                return
            self.error = ""
            self.written_ns = self._clock()
            self.end, self._backlog = state.position, state.backlog
            self.release(min(state.position.segment, settled))

    def release(self, before: int) -> None:
        """Frees the segments below `before`; one that the volume does not let go of is tried again the next time."""
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
