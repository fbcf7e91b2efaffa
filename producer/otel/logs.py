"""OpenTelemetry's logs API: records become the events of `producer.stdlib_logging.LOG_EVENTS`."""

from __future__ import annotations

import logging
import traceback
from typing import Any

from opentelemetry._logs import Logger, LoggerProvider, LogRecord

from producer.emitter import Emitter
from producer.otel.event_types import trace_ids
from producer.plain_values import as_json, label_text
from producer.stdlib_logging import LogLine, line_type

log = logging.getLogger(__name__)
# Severity number of a record that gives none.
INFO = 9
# What is no field of a log line goes among its attributes: under the first of these names that is free.
EVENT_NAMES = ("event_name", "event.name")
SEVERITY_TEXTS = ("severity_text", "log.severity_text")


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
        self._is_warned = False

    def emit(self, record: LogRecord | None = None, **parts: Any) -> None:
        """Emits a record, or one of these parts. A record that cannot be taken is dropped and counted, never raised."""
        try:
            found = record if record is not None else LogRecord(**parts)
            line = _line(self._name, found)
            with trace_ids(found.trace_id or 0, found.span_id or 0, found.trace_flags or 0):
                if found.timestamp:
                    self._emitter.emit_at(line, found.timestamp)
                else:
                    self._emitter.emit(line)
        except Exception:
            self._emitter.drop("log", "internal_error")
            if not self._is_warned:  # the line itself may come back here
                self._is_warned = True
                log.exception("log record lost")

    def enabled(self, **_: Any) -> bool:
        """True: the sidecar decides what is dropped."""
        return True


def _line(logger: str, found: LogRecord) -> LogLine:
    number = found.severity_number.value if found.severity_number is not None else 0
    attributes: dict[Any, Any] = dict(found.attributes or {})
    for names, value in ((EVENT_NAMES, found.event_name), (SEVERITY_TEXTS, found.severity_text)):
        if value:
            attributes.setdefault(next((name for name in names if name not in attributes), names[-1]), value)
    exception = "".join(traceback.format_exception(found.exception)) if found.exception is not None else None
    text = "" if found.body is None else label_text(found.body)
    return line_type(number or INFO)(label_text(logger), text, exception, as_json(attributes))
