"""What the order path of an account works with and does not own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from broker.domain import Order
from broker.orders.conditions import Conditions
from broker.orders.settings import OrderSettings
from broker.venue.rest.client import VenueRest
from broker.venue.settings import VenueSettings
from broker.venue.streams.line_stream import LineStream
from broker.venue.streams.quote_book import QuoteBook
from producer.emitter import Emit


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """The same over all takings of the account."""

    settings: OrderSettings
    venue_settings: VenueSettings
    venue: VenueRest
    book: QuoteBook
    prices: LineStream
    conditions: Conditions
    emit: Emit
    clock: Callable[[], datetime]
    chance: Callable[[], float]
    on_change: Callable[[Order], None]
