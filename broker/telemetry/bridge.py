"""OpenTelemetry's metrics and logs API as fronts of the emitter; needs `opentelemetry-api` and no SDK.

    events = metric_events([Counter(name="bakery.loaves", description="Loaves baked.", labels=("kind",))])
    with Producer(settings, Catalogue((*events, *LOG_EVENTS))) as producer:
        set_meter_provider(BridgeMeterProvider(producer.emit, events))
        set_logger_provider(BridgeLoggerProvider(producer.emit))

The contract says an instrument and its labels once, before the first measurement, so both are declared. Observable
instruments are not bridged.
"""

from __future__ import annotations

import traceback
import typing
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from opentelemetry import metrics as api
from opentelemetry import trace
from opentelemetry._logs import Logger, LoggerProvider, LogRecord
from opentelemetry.context import Context

from broker.telemetry.declare import Counter, Event, Gauge, Histogram, Instrument, UpDownCounter
from broker.telemetry.emitter import Emit
from broker.telemetry.log_bridge import as_json, line_type
from broker.telemetry.trace import current_trace

VALUE = "value"
Attributes = Mapping[str, Any] | None


def metric_events(instruments: Iterable[Instrument]) -> tuple[Event, ...]:
    """One event type for each instrument: its labels and the value. Labels are written with `_` for each dot.

    Raises:
        DeclarationError: with every fault of an instrument.
    """
    return tuple(map(_metric_event, instruments))


def _metric_event(item: Instrument) -> Event:
    fields = [*((label, str) for label in item.labels), (VALUE, float)]
    kind = typing.NamedTuple("Measurement", fields)  # type: ignore[misc] # the fields are those of the declaration
    measured = replace(item, measure=VALUE)
    return Event(kind, item.name, labels=item.labels, measures=(VALUE,), instruments=(measured,))


class _Front:
    """Takes measurements of one declared instrument."""

    def __init__(self, event: Event, emit: Emit, undeclared: Tally[str]) -> None:
        self._make: Callable[..., tuple[Any, ...]] = event.type
        self._labels = event.labels
        self._known = frozenset(event.labels)
        self._emit_event = emit
        self._undeclared = undeclared
        self._event_name = event.name

    def _take(self, amount: float, attributes: Attributes, context: Context | None) -> None:
        given = {key.replace(".", "_"): value for key, value in (attributes or {}).items()}
        for key in given.keys() - self._known:
            self._undeclared[f"{self._event_name}: {key}"] += 1
        with _trace_of(context):
            self._emit_event(self._make(*(str(given.get(label, "")) for label in self._labels), amount))


class _BridgeCounter(_Front, api.Counter):
    def add(self, amount: float, attributes: Attributes = None, context: Context | None = None) -> None:
        self._take(amount, attributes, context)


class _BridgeUpDownCounter(_Front, api.UpDownCounter):
    def add(self, amount: float, attributes: Attributes = None, context: Context | None = None) -> None:
        self._take(amount, attributes, context)


class _BridgeHistogram(_Front, api.Histogram):
    def record(self, amount: float, attributes: Attributes = None, context: Context | None = None) -> None:
        self._take(amount, attributes, context)


class _BridgeGauge(_Front, api._Gauge):  # noqa: SLF001 - the API's own name for it
    def set(self, amount: float, attributes: Attributes = None, context: Context | None = None) -> None:
        self._take(amount, attributes, context)


class BridgeMeterProvider(api.MeterProvider):
    """Meters whose declared instruments emit events; `undeclared` counts the rest, labels too."""

    def __init__(self, emit: Emit, events: Iterable[Event]) -> None:
        self.undeclared: Tally[str] = Tally()
        self._emit = emit
        self._events = {event.name: event for event in events}

    def get_meter(
        self,
        name: str,
        version: str | None = None,
        schema_url: str | None = None,
        attributes: Attributes = None,  # noqa: ARG002 - the API's signature
    ) -> api.Meter:
        """A meter. The declarations are the same for all: an instrument has one name."""
        return _BridgeMeter(self, name, version, schema_url)

    def front(self, kind: type[Instrument], made: type[_Front], name: str) -> _Front | None:
        """The front of a declared instrument; None where none of that name and kind is declared."""
        event = self._events.get(name)
        if event is None or not isinstance(event.instruments[0], kind):
            self.undeclared[name] += 1
            return None
        return made(event, self._emit, self.undeclared)


class _BridgeMeter(api.NoOpMeter):
    """What is not declared falls back to the API's instruments that do nothing."""

    def __init__(self, provider: BridgeMeterProvider, name: str, version: str | None, schema_url: str | None) -> None:
        super().__init__(name, version=version, schema_url=schema_url)
        self._provider = provider

    def create_counter(self, name: str, *args: Any, **options: Any) -> Any:
        return self._provider.front(Counter, _BridgeCounter, name) or super().create_counter(name, *args, **options)

    def create_up_down_counter(self, name: str, *args: Any, **options: Any) -> Any:
        found = self._provider.front(UpDownCounter, _BridgeUpDownCounter, name)
        return found or super().create_up_down_counter(name, *args, **options)

    def create_histogram(self, name: str, *args: Any, **options: Any) -> Any:
        found = self._provider.front(Histogram, _BridgeHistogram, name)
        return found or super().create_histogram(name, *args, **options)

    def create_gauge(self, name: str, *args: Any, **options: Any) -> Any:
        return self._provider.front(Gauge, _BridgeGauge, name) or super().create_gauge(name, *args, **options)


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
        with _trace_of(found.context):
            self._emit_event(line_type(number or 9)(self._name, text, fault, as_json(attributes)))

    def enabled(self, **_: Any) -> bool:
        """Always: what is dropped is the sidecar's to say."""
        return True


@contextmanager
def _trace_of(context: Context | None) -> Iterator[None]:
    """The span that is current for OpenTelemetry becomes the trace of the event."""
    span = trace.get_current_span(context).get_span_context()
    if not span.is_valid:
        yield
        return
    packed = span.trace_id.to_bytes(16) + span.span_id.to_bytes(8) + bytes([int(span.trace_flags) & 0xFF])
    token = current_trace.set(packed)
    try:
        yield
    finally:
        current_trace.reset(token)
