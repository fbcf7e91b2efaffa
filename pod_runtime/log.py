"""Structured logs on standard output: one JSON object a line, constant event names.

A log may lie on a volume that is full, or in a pipe that nobody reads any more. A line that cannot be written is
lost, and counted; the first line that can be written again is followed by one that tells how many were lost. Python's
own handler would instead print a traceback for each to standard error, which often lies on the same volume.
"""

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


class LineHandler(logging.Handler):
    """Writes each record as one line, unbuffered, and counts in `lost` those that the stream does not take."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        buffer = getattr(stream, "buffer", None)
        # Below the buffers: what they hold back at a full volume is tried again at the interpreter's end, whose exit
        # code is 120 if it fails again (Py_FinalizeEx).
        self._file = getattr(buffer, "raw", buffer)
        self._stream = stream
        self._torn = False
        self.lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001 - as every handler of `logging` does: a program must not fail by its log
            self.handleError(record)
            return
        try:
            self._write(line)
        except OSError:
            self.lost += 1
            return
        if self.lost:
            lost, self.lost = self.lost, 0
            words = {"name": __name__, "levelno": logging.WARNING, "levelname": "WARNING", "msg": "log lines lost"}
            self.emit(logging.makeLogRecord({**words, "lines": lost}))

    def _write(self, line: str) -> None:
        if self._file is None:
            self._stream.write(line + "\n")
            self._stream.flush()
            return
        # A line that was written in part ends before the next one begins.
        data = memoryview((("\n" if self._torn else "") + line + "\n").encode(errors="backslashreplace"))
        while data:
            if (count := self._file.write(data)) is None:
                raise BlockingIOError  # a pipe that is full, and does not block
            self._torn = count < len(data)
            data = data[count:]


def configure(
    service: str, level: str = "INFO", stream: TextIO | None = None, context: Callable[[], Mapping[str, str]] = dict
) -> None:
    """Send every log record of the process to `stream` (standard output). A program calls it once, at its start."""
    handler = LineHandler(stream or sys.stdout)
    handler.setFormatter(JsonFormatter(service, context))
    # `force` also removes handlers that a library added at import, whose lines would not be JSON.
    logging.basicConfig(level=level, handlers=[handler], force=True)
