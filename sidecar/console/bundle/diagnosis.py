"""Gathers what the diagnostics bundle holds."""

from __future__ import annotations

import asyncio
import platform
from importlib import metadata
from typing import Any

from pod_runtime.config import effective
from sidecar.console.bundle.bundle import json_text, redacted
from sidecar.console.bundle.recent import RecentLog
from sidecar.prometheus.page import MetricsPage
from sidecar.prometheus.render import Format

PACKAGES = ("aiohttp", "grpcio", "protobuf", "hvac", "opentelemetry-sdk", "uvloop")


async def bundle(config: Any, status: dict[str, Any], recent: RecentLog, page: MetricsPage | None) -> dict[str, str]:
    """Name and text of each file."""
    metrics = b"" if page is None else await page.render(Format.TEXT)
    return {
        "status.json": json_text(status),
        "configuration.json": json_text(redacted(effective(config))),
        "log.jsonl": recent.text(),
        "metrics.txt": metrics.decode(),
        "tasks.json": json_text(_tasks()),
        "versions.json": json_text(_versions()),
    }


def _tasks() -> list[dict[str, str]]:
    """What the event loop is at: name and place of each task."""
    return sorted(
        ({"name": task.get_name(), "at": str(task.get_coro())} for task in asyncio.all_tasks()),
        key=lambda item: item["name"],
    )


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "system": platform.platform()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "absent"
    return found
