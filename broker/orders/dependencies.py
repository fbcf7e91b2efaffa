"""Dependencies of an account's order path: those that every ownership term shares, and the rights of one term."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from broker.domain import Order, Quote
from broker.orders.checks.prices import PriceFeed
from broker.orders.conditions import Conditions
from broker.orders.settings import OrderSettings
from broker.orders.updates import Updates
from broker.venue.rest.client import VenueRest
from producer.emitter import Emit


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineDependencies:
    """The outside of one account's order path; see `broker.order_wiring`."""

    settings: OrderSettings
    venue: VenueRest
    """Of this account, with its settings and token."""
    prices: PriceFeed
    conditions: Conditions
    updates: Updates[Order | Quote]
    """Receives every change of an order."""
    emit: Emit
    clock: Callable[[], datetime]
    """Aware datetimes, UTC."""
    chance: Callable[[], float]
    """Random numbers in [0, 1), for ids and back-off."""


class OwnershipTerm(Protocol):
    """Rights of one ownership term; see `broker.orders.ownership.leadership`."""

    @property
    def epoch(self) -> int:
        """Number of the term."""

    def may_send(self) -> bool:
        """True while we may write to the venue: asked before every send, after the last wait."""

    def may_write(self) -> bool:
        """True while we may write to our own journal."""

    def hand_over(self, note: str) -> None:
        """Leave a note for the next owner, with the lease."""
