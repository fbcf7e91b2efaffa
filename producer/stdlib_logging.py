"""A handler for `logging` that turns records into events, so that they outlive a kill.

with Producer(settings, Catalogue(LOG_EVENTS)) as producer:
    logging.getLogger().addHandler(EmittingHandler(producer.emit, emit_at=producer.emit_at))
"""

from __future__ import annotations

import logging
import threading
from typing import NamedTuple

from producer.declare import Event, Log
from producer.emitter import Emit, EmitAt
from producer.plain_values import as_json, text_of
from telemetry_contract.v1 import telemetry_pb2 as pb


class LogLine(NamedTuple):
    """A line was logged."""

    logger: str
    message: str
    exception: str | None
    attributes: str | None
    """Values beside the message, as JSON."""


# Name, severity, and the highest OpenTelemetry severity number of it
# (https://opentelemetry.io/docs/specs/otel/logs/data-model/#field-severitynumber).
SEVERITIES = (
    ("debug", pb.SEVERITY_DEBUG, 8),
    ("info", pb.SEVERITY_INFO, 12),
    ("warn", pb.SEVERITY_WARN, 16),
    ("error", pb.SEVERITY_ERROR, 20),
    ("fatal", pb.SEVERITY_FATAL, 24),
)
# One type for each severity: the severity of a log record is part of its event's declaration, not a field.
LINE_TYPES: tuple[type[LogLine], ...] = tuple(
    type(f"{name.title()}Line", (LogLine,), {"__doc__": f"A line of severity {name.upper()} was logged."})
    for name, _, _ in SEVERITIES
)
# Event types of log lines, for the catalogue of the producer.
LOG_EVENTS = tuple(
    Event(kind, f"log.{name}", log=Log(severity, "Line logged"))
    for kind, (name, severity, _) in zip(LINE_TYPES, SEVERITIES, strict=True)
)

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def line_type(severity_number: int) -> type[LogLine]:
    """Event type of an OpenTelemetry severity number; one beyond the last counts as fatal."""
    known = zip(LINE_TYPES, SEVERITIES, strict=True)
    return next((kind for kind, (_, _, most) in known if severity_number <= most), LINE_TYPES[-1])


class EmittingHandler(logging.Handler):
    """Emits records as events. Lines that are logged while emitting are left to other handlers.

    With `emit_at` an event has the time of its record, which a queue of `logging` may have held back; else that of
    its emission.
    """

    def __init__(self, emit: Emit, level: int = logging.NOTSET, *, emit_at: EmitAt | None = None) -> None:
        super().__init__(level)
        self._emit, self._emit_at = emit, emit_at
        self._formatter = logging.Formatter()
        self._busy = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        """Takes one record."""
        if getattr(self._busy, "now", False):  # "event lost" of the emitter would come back here without an end
            return
        self._busy.now = True
        try:
            line = self._line(record)
            if self._emit_at is None:
                self._emit(line)
            else:
                self._emit_at(line, int(record.created * 1e9))
        except Exception:  # noqa: BLE001 - logging's own custom for errors in a handler
            self.handleError(record)
        finally:
            self._busy.now = False

    def _line(self, record: logging.LogRecord) -> LogLine:
        extra = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.stack_info:
            extra.setdefault("stack_info", record.stack_info)
        exception = self._formatter.formatException(record.exc_info) if record.exc_info else None
        kind = LINE_TYPES[min(max(record.levelno // 10 - 1, 0), len(LINE_TYPES) - 1)]  # DEBUG is 10, CRITICAL 50
        return kind(record.name, _message(record), exception, as_json(extra))


def _message(record: logging.LogRecord) -> str:
    try:
        return str(record.getMessage())
    except Exception:  # noqa: BLE001 - arguments that do not fit their message; `logging` would lose the line
        return f"{text_of(record.msg)} {text_of(record.args)}"
