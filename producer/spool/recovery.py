"""Sessions of dead predecessors: found in the spool, locked, and delivered by the process that finds them."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from pod_runtime.framing import FormatError
from producer.fork import watch_forks
from producer.spool.format import count_whole_rows, lock_session, read_session, remove_session, segment_paths
from producer.spool.unacked_queue import SpoolSegment, UnackedQueue

log = logging.getLogger(__name__)
ASIDE = ".unreadable"


class OrphanedSession:
    """The session of a dead process, locked for us. Its files are read up to the first torn record; see `release`."""

    def __init__(self, directory: Path, lock_handle: int) -> None:
        self.directory, self.lock_handle = directory, lock_handle
        segments = [
            SpoolSegment(first, path, count=count)
            for first, path in segment_paths(directory)
            if (count := count_whole_rows(path.read_bytes()))
        ]
        self.queue = UnackedQueue(read_session(directory), segments)
        watch_forks(self)

    def forked(self) -> None:
        """Leaves the session and its lock to the parent (`producer.fork`)."""
        self.queue.forked()
        os.close(self.lock_handle)

    def release(self) -> None:
        """Unlocks the session; one that was delivered is removed, another waits for the next process."""
        if not self.queue.held:
            remove_session(self.directory)
        os.close(self.lock_handle)


def orphaned_sessions(spool: Path, own: str) -> list[OrphanedSession]:
    """Every session of a dead process below `spool` but our own, locked for us; the caller releases each.

    Sessions of living processes are passed over: their locks are held. A session that cannot be read is set aside.
    """
    try:
        # A session's name begins with its start, so the oldest is delivered first.
        found = sorted(item for item in spool.iterdir() if item.is_dir() and not item.name.endswith(ASIDE))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        log.error("spool cannot be read", extra={"reason": str(error)})  # noqa: TRY400 - the reason says it
        return []
    return [session for item in found if item.name != own and (session := _claim(item)) is not None]


def _claim(directory: Path) -> OrphanedSession | None:
    try:
        lock_handle = lock_session(directory)
    except OSError as error:
        # The session file is written first and removed last: without it and without segments, a process was killed
        # while it made or removed the directory, and no event can be lost with it.
        if isinstance(error, FileNotFoundError) and not any(directory.glob("*.spool")):
            remove_session(directory)
        else:
            set_aside(directory, str(error))
        return None
    if lock_handle is None:
        return None
    try:
        return OrphanedSession(directory, lock_handle)
    except (OSError, FormatError) as error:
        os.close(lock_handle)
        set_aside(directory, str(error))
        return None


def set_aside(directory: Path, reason: str) -> None:
    """Renames a session that cannot be delivered: it is kept for a person to look at, and not tried again."""
    log.error("spool set aside", extra={"directory": directory.name, "reason": reason})
    try:
        directory.rename(directory.with_name(directory.name + ASIDE))
    except OSError as error:
        log.error("spool stays", extra={"directory": directory.name, "reason": str(error)})  # noqa: TRY400 - the reason says it
