"""Dependencies of an account's order path, shared by all of its ownership terms, and the lease that they need."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from broker.orders.checks.prices import PriceFeed
from broker.orders.conditions import Conditions
from broker.orders.settings import OrderSettings
from broker.orders.updates import Updates
from broker.venue.rest.client import VenueRest
from producer.emitter import Emit

NOBODY = "nobody"


class Lease(Protocol):
    """Ownership of one account, which one process has at a time; `lease` and `cluster_lease` implement it."""

    epoch: int
    """Number of our term; rises with every acquisition by anybody; 0 if we are not the owner."""
    poll_every_s: float
    """Seconds between a standby's attempts to acquire it."""
    renew_every_s: float
    """Seconds between renewals."""
    note_changed: asyncio.Event
    """Set by `hand_over`; whoever renews clears it."""

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

    def quiet_s(self) -> float:
        """Seconds since the owner's last sign, a renewal or the release, at the last refresh."""

    def holder(self) -> str:
        """The owner at the last refresh, in words; NOBODY also where the last one was this process."""

    def address(self) -> str:
        """`host:port` of the owner's order API; empty if there is no owner or it is not known."""

    def note(self) -> str:
        """Handover note of the previous owner, as of our acquisition; empty if there was none."""

    def hand_over(self, note: str) -> None:
        """Keep a note with the lease for the next owner; the next renewal writes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineDependencies:
    """The outside of one account's order path; see `broker.order_wiring`."""

    settings: OrderSettings
    lease: Lease
    venue: VenueRest
    """Of this account, with its settings and token."""
    prices: PriceFeed
    conditions: Conditions
    updates: Updates
    """Receives every change in the journal."""
    emit: Emit
    clock: Callable[[], datetime]
    """Aware datetimes, UTC."""
    chance: Callable[[], float]
    """Random numbers in [0, 1), for ids and back-off."""
