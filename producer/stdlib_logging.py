"""`logging` as a front of the emitter: records become events, and with that outlive a kill.

with Producer(settings, Catalogue(LOG_EVENTS)) as producer:
    logging.getLogger().addHandler(BridgeHandler(producer.emit))
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


class Line(NamedTuple):
    """A line was logged."""

    logger: str
    message: str
    exception: str | None
    attributes: str | None
    """What came beside the message, as JSON."""


class DebugLine(Line):
    """A line of severity DEBUG was logged."""


class InfoLine(Line):
    """A line of severity INFO was logged."""


class WarnLine(Line):
    """A line of severity WARN was logged."""


class ErrorLine(Line):
    """A line of severity ERROR was logged."""


class FatalLine(Line):
    """A line of severity FATAL was logged."""


LOG_EVENTS = (
    Event(DebugLine, "log.debug", log=Log(pb.SEVERITY_DEBUG, "Line logged")),
    Event(InfoLine, "log.info", log=Log(pb.SEVERITY_INFO, "Line logged")),
    Event(WarnLine, "log.warn", log=Log(pb.SEVERITY_WARN, "Line logged")),
    Event(ErrorLine, "log.error", log=Log(pb.SEVERITY_ERROR, "Line logged")),
    Event(FatalLine, "log.fatal", log=Log(pb.SEVERITY_FATAL, "Line logged")),
)
"""One type for each severity, for the catalogue of the producer."""

_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def line_type(severity_number: int) -> type[Line]:
    """The event for a number of OpenTelemetry's: 1-8 debug, 9-12 info, 13-16 warn, 17-20 error, 21-24 fatal."""
    bounds = ((8, DebugLine), (12, InfoLine), (16, WarnLine), (20, ErrorLine))
    return next((kind for most, kind in bounds if severity_number <= most), FatalLine)


def as_json(attributes: Mapping[str, Any]) -> str | None:
    """Attributes as one text; None where there are none. What JSON has no form for is told by its `str`."""
    return json.dumps(dict(attributes), default=str, sort_keys=True) if attributes else None


class BridgeHandler(logging.Handler):
    """Hands records to `emit`. Lines that the emitting itself logs are left to other handlers."""

    def __init__(self, emit: Emit, level: int = logging.NOTSET) -> None:
        super().__init__(level)
        self._emit = emit
        self._formatter = logging.Formatter()
        self._busy = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        """Takes one record."""
        if getattr(self._busy, "now", False):
            return
        self._busy.now = True
        try:
            self._emit(self._line(record))
        except Exception:  # noqa: BLE001 - logging's own way with what goes wrong in a handler
            self.handleError(record)
        finally:
            self._busy.now = False

    def _line(self, record: logging.LogRecord) -> Line:
        beside = {name: value for name, value in vars(record).items() if name not in _OWN}
        fault = self._formatter.formatException(record.exc_info) if record.exc_info else None
        kind = line_type(_severity_number(record.levelno))
        return kind(record.name, record.getMessage(), fault, as_json(beside))


def _severity_number(level: int) -> int:
    """Of `logging`'s level: https://opentelemetry.io/docs/specs/otel/logs/data-model-appendix/."""
    steps = ((logging.INFO, 5), (logging.WARNING, 9), (logging.ERROR, 13), (logging.CRITICAL, 17))
    return next((number for above, number in steps if level < above), 21)
