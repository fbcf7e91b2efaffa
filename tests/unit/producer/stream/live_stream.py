"""A producer's stream that runs for the length of a block."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from producer.emitter import Emitter
from producer.health import Condition
from producer.stream.client import TelemetryStream
from tests.unit.producer.samples import settings

SINCE = datetime(2026, 1, 2, tzinfo=UTC)
FAST: dict[str, Any] = {
    "batch_age_ms": 1.0,
    "backoff_s": 0.01,
    "backoff_cap_s": 0.02,
    "drain_s": 5.0,
    "connect_deadline_s": 0.5,
    "ack_deadline_s": 0.5,
}


def venue_is_away() -> list[Condition]:
    return [Condition(name="VenueReachable", ok=False, reason="TimedOut", message="no answer", since=SINCE)]


@asynccontextmanager
async def streaming(place: Path, made: Emitter, **changes: Any) -> AsyncIterator[TelemetryStream]:
    stream = TelemetryStream(made, settings(place, **{**FAST, **changes}), venue_is_away)
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(stream.run(stop))
        yield stream
        stop.set()
