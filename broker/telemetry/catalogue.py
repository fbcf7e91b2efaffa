"""Every event type of the broker; `docs/telemetry.md` is made from it."""

from __future__ import annotations

from broker.telemetry.catalogue_orders import LIFECYCLE, RISK, SAMPLES
from broker.telemetry.catalogue_process import PROCESS
from broker.telemetry.catalogue_venue import ACCOUNT, REQUESTS, STREAMS
from broker.telemetry.declare import Catalogue

CATALOGUE = Catalogue((*LIFECYCLE, *RISK, *SAMPLES, *REQUESTS, *STREAMS, *ACCOUNT, *PROCESS))
