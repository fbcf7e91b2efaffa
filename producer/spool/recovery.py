"""What killed predecessors left in the spool."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

from pod_runtime.framing import FormatError
from producer.spool.format import lock_session, read_session, remove_session
from producer.spool.unacked_queue import Leftover

log = logging.getLogger(__name__)
ASIDE = ".unreadable"


def leftovers(spool: Path, own: str) -> Iterator[Leftover]:
    """Every session of a dead process that left something, locked for us; the caller `forget`s each.

    The sessions of living processes are passed over. One that cannot be read is set aside with its reason.
    """
    if not spool.is_dir():
        return
    for directory in sorted(item for item in spool.iterdir() if item.is_dir() and not item.name.endswith(ASIDE)):
        if directory.name != own and (found := _open(directory)) is not None:
            yield found


def _open(directory: Path) -> Leftover | None:
    try:
        lock = lock_session(directory)
        if lock is None:
            return None
    except OSError as error:
        _without_session(directory, error)
        return None
    try:
        return Leftover(directory, read_session(directory), lock)
    except (OSError, FormatError) as error:
        os.close(lock)
        set_aside(directory, str(error))
        return None


def _without_session(directory: Path, error: OSError) -> None:
    """No session file: a process that was killed while it made or removed the directory; nothing was taken in it."""
    if isinstance(error, FileNotFoundError) and not any(directory.glob("*.spool")):
        remove_session(directory)
        return
    set_aside(directory, str(error))


def set_aside(directory: Path, reason: str) -> None:
    """Renames a session that cannot be delivered, so that it is kept and not tried again."""
    log.error("spool set aside", extra={"directory": directory.name, "reason": reason})
    try:
        directory.rename(directory.with_name(directory.name + ASIDE))
    except OSError as error:
        log.error("spool stays", extra={"directory": directory.name, "reason": str(error)})  # noqa: TRY400 - the reason says it


def forget(leftover: Leftover) -> None:
    """Lets go of a session; one that was delivered is removed."""
    if not leftover.held:
        remove_session(leftover.directory)
    os.close(leftover.lock)
