"""Event types that the broker emits, and their declarations; `docs/telemetry.md` is made from them."""

from __future__ import annotations

from broker.events.orders import ORDERS
from broker.events.process import PROCESS
from broker.events.venue import VENUE
from producer.declare import Catalogue

CATALOGUE = Catalogue((*ORDERS.events, *VENUE.events, *PROCESS.events))
"""Every event type of the broker, in the order of their ids."""
