"""What a taking of an account promises, wherever it is kept."""

from __future__ import annotations

import time
from typing import Protocol

MARGIN_SHARE = 0.2
"""Part of the lease in which the owner already holds back and the successor still waits."""


class Lease(Protocol):
    """One process at a time trades the account. `release` it."""

    @property
    def epoch(self) -> int:
        """Of our taking; rises with each taking by anybody; 0 is none."""

    @property
    def look_every_s(self) -> float:
        """How often one that waits for its turn looks whether the owner is gone."""

    @property
    def renew_every_s(self) -> float:
        """How often to renew."""

    def holds(self) -> bool:
        """Whether we may send now. Cheap enough to ask before every send."""

    def is_in_time(self) -> bool:
        """Whether our time runs: enough for our own files."""

    def is_wanted(self) -> bool:
        """Whether it is ours to keep: False asks for an orderly hand-over."""

    async def take(self) -> float:
        """Tries to become the owner: 0 where we are, else seconds until it is worth trying again."""

    async def renew(self) -> bool:
        """Goes on owning; False where it is too late or another has taken over."""

    async def release(self) -> None:
        """Gives it up; the successor need not wait."""

    def is_free(self) -> bool:
        """Whether nobody has it, as far as the last look told."""

    def holder(self) -> str:
        """Who owns it as far as we know, in words."""

    def address(self) -> str:
        """`host:port` of the order API of who owns it; empty where nobody does or it is not known."""

    async def look(self) -> None:
        """Learns who owns it, without taking it."""

    def note(self) -> str:
        """What the owner before us handed on, as of our taking; empty is nothing."""

    def hand_on(self, note: str) -> None:
        """Keeps a text with the taking for whoever comes after us; written with the next renewal."""


def boot_time_s() -> float:
    """Seconds since boot, suspension of the machine or the process included (CLOCK_BOOTTIME)."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
