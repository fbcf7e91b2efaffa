"""Every event type of the broker; `docs/telemetry.md` is made from it."""

from __future__ import annotations

from broker.events.orders import LIFECYCLE, RISK, SAMPLES
from broker.events.process import PROCESS
from broker.events.venue import ACCOUNT, REQUESTS, STREAMS
from producer.declare import Catalogue

CATALOGUE = Catalogue((*LIFECYCLE, *RISK, *SAMPLES, *REQUESTS, *STREAMS, *ACCOUNT, *PROCESS))
