"""Every event type of the broker, in the order of their ids; `docs/telemetry.md` is made from it."""

from __future__ import annotations

from broker.events.orders import ORDERS
from broker.events.process import PROCESS
from broker.events.venue import VENUE
from producer.declare import Catalogue

CATALOGUE = Catalogue((*ORDERS.events, *VENUE.events, *PROCESS.events))
