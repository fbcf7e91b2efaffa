"""OpenTelemetry's logs API as a front of the emitter."""

from __future__ import annotations

import traceback
from typing import Any

from opentelemetry._logs import Logger, LoggerProvider, LogRecord

from producer.emitter import Emit
from producer.otel.event_types import Attributes
from producer.otel.trace import trace_of
from producer.stdlib_logging import as_json, line_type


class BridgeLoggerProvider(LoggerProvider):
    """Loggers whose records become the events of `log_bridge.LOG_EVENTS`."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit

    def get_logger(
        self,
        name: str,
        version: str | None = None,  # noqa: ARG002 - the API's signature
        schema_url: str | None = None,  # noqa: ARG002 - the API's signature
        attributes: Attributes = None,  # noqa: ARG002 - the API's signature
    ) -> Logger:
        """A logger of that name."""
        return _BridgeLogger(self._emit, name)


class _BridgeLogger(Logger):
    def __init__(self, emit: Emit, name: str) -> None:
        super().__init__(name)
        self._emit_event = emit

    def emit(self, record: LogRecord | None = None, **parts: Any) -> None:
        """Takes a record, or its parts."""
        found = record if record is not None else LogRecord(**parts)
        number = found.severity_number.value if found.severity_number is not None else 0
        attributes = dict(found.attributes or {})
        if found.event_name:
            attributes["event_name"] = found.event_name
        fault = "".join(traceback.format_exception(found.exception)) if found.exception is not None else None
        text = found.body if isinstance(found.body, str) else str(found.body or "")
        with trace_of(found.context):
            self._emit_event(line_type(number or 9)(self._name, text, fault, as_json(attributes)))

    def enabled(self, **_: Any) -> bool:
        """Always: what is dropped is the sidecar's to say."""
        return True
