"""Dependencies shared by every ownership term of an account; see `broker.order_wiring`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from broker.domain import Order, Quote
from broker.orders.checks.prices import PriceFeed
from broker.orders.conditions import Conditions
from broker.orders.settings import OrderSettings
from broker.orders.updates import Updates
from broker.venue.rest.client import VenueRest
from producer.emitter import Emit


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineDependencies:
    """The outside of one account's order path."""

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
