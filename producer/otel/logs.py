"""OpenTelemetry's logs API: records become the events of `producer.stdlib_logging.LOG_EVENTS`."""

from __future__ import annotations

import traceback
from typing import Any

from opentelemetry._logs import Logger, LoggerProvider, LogRecord

from producer.emitter import Emitter
from producer.otel.event_types import trace_of
from producer.stdlib_logging import as_json, line_type

# Severity number of a record that gives none.
INFO = 9


class EventLoggerProvider(LoggerProvider):
    """Gives loggers whose records are emitted as events of log lines."""

    def __init__(self, emitter: Emitter) -> None:
        self._emitter = emitter

    def get_logger(self, name: str, *_: Any, **__: Any) -> Logger:
        """A logger of that name."""
        return _EventLogger(self._emitter, name)


class _EventLogger(Logger):
    def __init__(self, emitter: Emitter, name: str) -> None:
        super().__init__(name)
        self._emitter = emitter

    def emit(self, record: LogRecord | None = None, **parts: Any) -> None:
        """Emits a record, or one of these parts."""
        found = record if record is not None else LogRecord(**parts)
        number = found.severity_number.value if found.severity_number is not None else 0
        attributes = dict(found.attributes or {})
        if found.event_name:
            attributes["event_name"] = found.event_name
        exception = "".join(traceback.format_exception(found.exception)) if found.exception is not None else None
        text = found.body if isinstance(found.body, str) else str(found.body or "")
        with trace_of(found.context):
            self._emitter.emit(line_type(number or INFO)(self._name, text, exception, as_json(attributes)))

    def enabled(self, **_: Any) -> bool:
        """True: the sidecar decides what is dropped."""
        return True
