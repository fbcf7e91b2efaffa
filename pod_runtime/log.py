"""Structured logs on standard output: one JSON object a line, constant event names."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

# The fields that every record has; the others came with `extra=`.
_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON: timestamp, severity, event, logger, context, then the extra fields.

    `context` gives fields of the place where a record is made, such as the ids of its trace.
    """

    def __init__(self, service: str, context: Callable[[], Mapping[str, str]] = dict) -> None:
        super().__init__()
        self._service = service
        self._context = context

    def format(self, record: logging.LogRecord) -> str:
        """Format a record."""
        line: dict[str, Any] = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds"),
            "severity": record.levelname,
            "event": record.getMessage(),
            "service": self._service,
            "logger": record.name,
            **self._context(),
        }
        line.update({key: value for key, value in record.__dict__.items() if key not in _STANDARD})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        # `default=str`: a value that is no JSON must not lose the line that names the fault.
        return json.dumps(line, default=str, ensure_ascii=False)


def configure(
    service: str, level: str = "INFO", stream: TextIO | None = None, context: Callable[[], Mapping[str, str]] = dict
) -> None:
    """Send every log record of the process to `stream` (standard output). A program calls it once, at its start."""
    handler = logging.StreamHandler(stream or sys.stdout)
    handler.setFormatter(JsonFormatter(service, context))
    # `force` also removes handlers that a library added at import, whose lines would not be JSON.
    logging.basicConfig(level=level, handlers=[handler], force=True)
