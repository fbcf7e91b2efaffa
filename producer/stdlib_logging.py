"""A handler for `logging` that turns records into events, so that they outlive a kill.

with Producer(settings, Catalogue(LOG_EVENTS)) as producer:
    logging.getLogger().addHandler(EmittingHandler(producer.emit))
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping
from typing import Any, NamedTuple

from producer.declare import Event, Log
from producer.emitter import Emit
from telemetry_contract.v1 import telemetry_pb2 as pb


class LogLine(NamedTuple):
    """A line was logged."""

    logger: str
    message: str
    exception: str | None
    attributes: str | None
    """Values beside the message, as JSON."""


# One type for each severity: the severity of a log record is part of its event's declaration, not a field.
class DebugLine(LogLine):
    """A line of severity DEBUG was logged."""


class InfoLine(LogLine):
    """A line of severity INFO was logged."""


class WarnLine(LogLine):
    """A line of severity WARN was logged."""


class ErrorLine(LogLine):
    """A line of severity ERROR was logged."""


class FatalLine(LogLine):
    """A line of severity FATAL was logged."""


LOG_EVENTS = (
    Event(DebugLine, "log.debug", log=Log(pb.SEVERITY_DEBUG, "Line logged")),
    Event(InfoLine, "log.info", log=Log(pb.SEVERITY_INFO, "Line logged")),
    Event(WarnLine, "log.warn", log=Log(pb.SEVERITY_WARN, "Line logged")),
    Event(ErrorLine, "log.error", log=Log(pb.SEVERITY_ERROR, "Line logged")),
    Event(FatalLine, "log.fatal", log=Log(pb.SEVERITY_FATAL, "Line logged")),
)
"""Event types of log lines, for the catalogue of the producer."""

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def line_type(severity_number: int) -> type[LogLine]:
    """Event type of an OpenTelemetry severity: 1-8 debug, 9-12 info, 13-16 warn, 17-20 error, 21-24 fatal."""
    bounds = ((8, DebugLine), (12, InfoLine), (16, WarnLine), (20, ErrorLine))
    return next((kind for most, kind in bounds if severity_number <= most), FatalLine)


def as_json(attributes: Mapping[str, Any]) -> str | None:
    """Attributes as one JSON text, None if there are none; a value that JSON has no form for as its `str`."""
    return json.dumps(dict(attributes), default=str, sort_keys=True) if attributes else None


class EmittingHandler(logging.Handler):
    """Emits records as events. Lines that are logged while emitting are left to other handlers."""

    def __init__(self, emit: Emit, level: int = logging.NOTSET) -> None:
        super().__init__(level)
        self._emit = emit
        self._formatter = logging.Formatter()
        self._busy = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        """Takes one record."""
        if getattr(self._busy, "now", False):  # "event lost" of the emitter would come back here without an end
            return
        self._busy.now = True
        try:
            self._emit(self._line(record))
        except Exception:  # noqa: BLE001 - logging's own custom for errors in a handler
            self.handleError(record)
        finally:
            self._busy.now = False

    def _line(self, record: logging.LogRecord) -> LogLine:
        extra = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        exception = self._formatter.formatException(record.exc_info) if record.exc_info else None
        kind = line_type(_severity_number(record.levelno))
        return kind(record.name, record.getMessage(), exception, as_json(extra))


def _severity_number(level: int) -> int:
    """Severity number of a level of `logging`: https://opentelemetry.io/docs/specs/otel/logs/data-model-appendix/."""
    steps = ((logging.INFO, 5), (logging.WARNING, 9), (logging.ERROR, 13), (logging.CRITICAL, 17))
    return next((number for above, number in steps if level < above), 21)
