"""Diagnostics bundle: one zip file to attach to a question, with no secret in it."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import platform
import zipfile
from collections import deque
from collections.abc import Mapping
from importlib import metadata
from typing import TYPE_CHECKING, Any

from pod_runtime.config import effective
from pod_runtime.log import JsonFormatter
from sidecar.prometheus.page import MetricsPage
from sidecar.prometheus.render import Format

if TYPE_CHECKING:
    from sidecar.console.document import StatusDocument

# Packages whose versions explain most faults; the whole list would be longer than the rest of the file.
PACKAGES = ("aiohttp", "grpcio", "protobuf", "hvac", "opentelemetry-sdk", "uvloop")
LOG_LINES = 1000
HIDDEN = "***"
# Tables into whose values a person may have put a secret: an API key for the collector, a password for an engine.
# Secrets of our own are never in the configuration: it names files.
_SECRET_TABLES = ("headers", "parameters")
# A template is a text of a secret's file, and may hold the password itself.
_SECRET_TEXTS = ("template",)


class RecentLog(logging.Handler):
    """Keeps the latest lines of the process's own log in memory, formatted as they are written."""

    def __init__(self, service: str, lines: int = LOG_LINES) -> None:
        super().__init__()
        self.setFormatter(JsonFormatter(service))
        self._lines: deque[str] = deque(maxlen=lines)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        # Formatted now: a record holds references to its arguments, which may change or be large.
        self._lines.append(self.format(record))

    def text(self) -> str:
        """Return all kept lines."""
        return "".join(line + "\n" for line in self._lines)


async def bundle_files(
    config: Any, status: StatusDocument, recent: RecentLog, page: MetricsPage | None
) -> dict[str, str]:
    """Return name and text of each file of the bundle; `page` is None before the journal is open."""
    metrics = b"" if page is None else await page.render(Format.TEXT)
    return {
        "status.json": _json_text(json.loads(status.encode())),
        "configuration.json": _json_text(redacted(effective(config))),
        "log.jsonl": recent.text(),
        "metrics.txt": metrics.decode(),
        "tasks.json": _json_text(_tasks()),
        "versions.json": _json_text(_versions()),
    }


def redacted(tree: Any) -> Any:
    """Hide the values of a configuration that may be secret; their names stay."""
    if isinstance(tree, Mapping):
        return {key: _shown(key, value) for key, value in tree.items()}
    return [redacted(item) for item in tree] if isinstance(tree, list) else tree


def _shown(key: str, value: Any) -> Any:
    if key in _SECRET_TABLES and isinstance(value, Mapping):
        return dict.fromkeys(value, HIDDEN)
    return HIDDEN if key in _SECRET_TEXTS and value else redacted(value)


def zipped(files: Mapping[str, str]) -> bytes:
    """Pack text files into a zip archive."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return target.getvalue()


def _json_text(value: Any) -> str:
    return json.dumps(value, indent=2, default=str, ensure_ascii=False) + "\n"


def _tasks() -> list[dict[str, str]]:
    """List the tasks of the event loop: a part that hangs shows here by its name and place."""
    # Neither stacks nor locals: they could hold a secret.
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
