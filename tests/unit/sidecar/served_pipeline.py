"""A telemetry pipeline that serves while a test talks to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sidecar.pipeline import TelemetryPipeline
from sidecar.telemetry.settings import TelemetrySettings


def pipeline_settings(place: Path, **changes: Any) -> TelemetrySettings:
    values: dict[str, Any] = {
        "socket": place / "run" / "t.sock",
        "journal_directory": place / "journal",
        "ack_delay_ms": 0.0,
    }
    return TelemetrySettings(**{**values, "checkpoint_interval_s": 0.05, "drain_s": 0.0, **changes})


@asynccontextmanager
async def served(pipeline: TelemetryPipeline) -> AsyncIterator[None]:
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(pipeline.serve(stop))
        await pipeline.wait_listening()
        yield
        stop.set()
