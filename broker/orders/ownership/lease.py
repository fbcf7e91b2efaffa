"""Lease that makes one process at a time the owner of an account; `file_lease` and `cluster_lease` implement it."""

from __future__ import annotations

import time
from typing import Protocol

MARGIN_SHARE = 0.2
"""Share of the lease by which an owner stops early and a successor waits longer; see leadership.py."""


class Lease(Protocol):
    """Ownership of one account. The caller releases it."""

    @property
    def epoch(self) -> int:
        """Number of our term; rises with every acquisition by anybody; 0 if we are not the owner."""

    @property
    def poll_every_s(self) -> float:
        """Seconds between a standby's attempts to acquire it."""

    @property
    def renew_every_s(self) -> float:
        """Seconds between renewals."""

    def holds(self) -> bool:
        """True while we may send orders. Cheap: asked before every send."""

    def is_unexpired(self) -> bool:
        """True while our time runs: enough for our own files, since a successor begins files of its own."""

    async def acquire(self) -> float:
        """Try to become the owner: 0 on success, else seconds until the next attempt is worth it."""

    async def renew(self) -> bool:
        """Extend the ownership; False if it is too late or another process has taken over."""

    async def release(self) -> None:
        """Give it up; the successor need not wait."""

    async def refresh(self) -> None:
        """Read the current owner, without trying to acquire."""

    def is_free(self) -> bool:
        """True if nobody owned it at the last refresh."""

    def holder(self) -> str:
        """The owner at the last refresh, in words."""

    def address(self) -> str:
        """`host:port` of the owner's order API; empty if there is no owner or it is not known."""

    def note(self) -> str:
        """Handover note of the previous owner, as of our acquisition; empty if there was none."""

    def hand_over(self, note: str) -> None:
        """Keep a note with the lease for the next owner; the next renewal writes it."""


def boot_time_s() -> float:
    """Seconds since boot, including time in which the machine or the process was suspended."""
    # CLOCK_BOOTTIME (clock_gettime(2)): CLOCK_MONOTONIC stops while a machine sleeps, and a lease must not.
    return time.clock_gettime(time.CLOCK_BOOTTIME)
