"""The latest lines of the process's own log, for the diagnostics bundle."""

from __future__ import annotations

import logging
from collections import deque

from pod_runtime.log import JsonFormatter

LINES = 1000


class RecentLog(logging.Handler):
    """Keeps the last lines in memory, formatted as they are written."""

    def __init__(self, service: str, lines: int = LINES) -> None:
        super().__init__()
        self.setFormatter(JsonFormatter(service))
        self._lines: deque[str] = deque(maxlen=lines)

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps a record."""
        self._lines.append(self.format(record))

    def text(self) -> str:
        """All kept lines."""
        return "".join(line + "\n" for line in self._lines)
