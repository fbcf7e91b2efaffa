"""Event types made from calls: an instrument, and the names of the attributes of a measurement.

OpenTelemetry's code names attributes when it measures; the contract wants them declared before. So each set of
attribute names that an instrument meets becomes an event type of its own, declared at the first measurement that has
it (docs/decisions/0011). All of them feed the one instrument.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Annotated, Any

from opentelemetry import trace
from opentelemetry.context import Context

from producer.declare import Event, Label, MetricInstrument
from producer.emitter import Emitter
from producer.fork import watch_forks
from producer.plain_values import label_text, plain_number, text_of
from producer.trace import current_trace
from telemetry_contract.v1 import telemetry_pb2 as pb

log = logging.getLogger(__name__)
# Types that the front makes; the sidecar takes 256 a stream (`telemetry.max_event_types`).
MAX_TYPES = 200
MAX_LABELS = 60
# Orders of attribute names that are remembered for each instrument.
MAX_ORDERS = 1000
_NOT_OF_A_NAME = re.compile(r"[^a-z0-9_.]")
VALUE = "value"
# The value's hint: without a value, an event ends the series of an observable instrument.
_OBSERVED: Any = Annotated[float | None, pb.FIELD_ROLE_MEASURE]
Attributes = Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class MeasurementType:
    """Named tuple of a measurement with certain attributes: texts in the order of `keys`, then the value."""

    type: type[tuple[Any, ...]]
    keys: tuple[Any, ...]
    """The attributes' names as the code gives them, which need not be texts."""


def contract_name(text: str, longest: int) -> str:
    """The nearest name that the contract takes: lower case, `_` for characters that it does not have."""
    name = _NOT_OF_A_NAME.sub("_", text.lower())[:longest]
    return name if name[:1].isalpha() else ("x" + name)[:longest]


def measured_event(instrument: MetricInstrument, keys: Iterable[str]) -> tuple[Event, MeasurementType]:
    """The event type of an instrument whose measurements have the attributes `keys`, and its measurements' type.

    Of keys that become the same name the first in the alphabet stays.
    """
    labels: dict[str, str] = {}
    for key in sorted(keys)[:MAX_LABELS]:
        labels.setdefault(contract_name(key, 64), key)
    value = VALUE  # the measure's field; an attribute may have that name
    while value in labels:
        value += "_"
    hints = {**dict.fromkeys(labels, Label[str]), value: _OBSERVED}
    kind = type("Measurement", (tuple,), {"__slots__": (), "_fields": tuple(hints), "__annotations__": hints})
    event = Event(kind, instrument.name, instruments=(replace(instrument, measure=value),))
    return event, MeasurementType(kind, tuple(labels.values()))


@contextmanager
def trace_of(context: Context | None) -> Iterator[None]:
    """Makes the span of `context`, or the current one, the trace of events that are emitted in the block."""
    span = trace.get_current_span(context).get_span_context()
    with trace_ids(span.trace_id, span.span_id, span.trace_flags):
        yield


@contextmanager
def trace_ids(trace_id: int, span_id: int, flags: int) -> Iterator[None]:
    """Makes these ids the trace of events that are emitted in the block, unless they are invalid."""
    if not (trace.INVALID_TRACE_ID < trace_id < 1 << 128 and trace.INVALID_SPAN_ID < span_id < 1 << 64):
        yield
        return
    packed = trace_id.to_bytes(16) + span_id.to_bytes(8) + bytes([int(flags) & 0xFF])
    token = current_trace.set(packed)
    try:
        yield
    finally:
        current_trace.reset(token)


class TypeBudget:
    """The event types that all instruments of a front may still make, and the lock under which one is made."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.left_locked = MAX_TYPES
        watch_forks(self)

    def forked(self) -> None:
        """Makes the lock anew (`producer.fork`)."""
        self.lock = threading.Lock()


class InstrumentTypes:
    """The event types of one instrument, each declared at the first measurement that has its attributes."""

    def __init__(self, instrument: MetricInstrument, emitter: Emitter, budget: TypeBudget) -> None:
        self.instrument, self._emitter, self._budget = instrument, emitter, budget
        self._is_warned = False
        # Code gives its attributes in few orders. The first table saves sorting the names at each measurement.
        self._by_order: dict[tuple[Any, ...], MeasurementType] = {}
        self._by_names: dict[tuple[str, ...], MeasurementType] = {}

    def measure(self, amount: float, attributes: Attributes, context: Context | None) -> None:
        """Emits a measurement. One that cannot be taken is dropped, and the ledger says so; nothing is raised."""
        try:
            reason = self._measure(amount, attributes or {}, context)
        except Exception:
            reason = "internal_error"
            if not self._is_warned:
                self._is_warned = True
                log.exception("measurement lost", extra={"instrument": self.instrument.name})
        if reason is not None:
            self.drop(reason)

    def end(self, attributes: Attributes) -> None:
        """Tells that the series of these attributes is no longer observed."""
        given = attributes or {}
        if (found := self._by_order.get(tuple(given)) or self._learn(tuple(given))) is not None:
            self._emitter.emit(found.type((*[label_text(given[key]) for key in found.keys], None)))

    def _measure(self, amount: float, given: Mapping[Any, Any], context: Context | None) -> str | None:
        order = tuple(given)
        found = self._by_order.get(order) or self._learn(order)
        if found is None:
            return "too_many_types"
        number = plain_number(amount)
        if number is None:
            return "wrong_type"
        with trace_of(context):
            self._emitter.emit(found.type((*[label_text(given[key]) for key in found.keys], number)))
        return None

    def drop(self, reason: str) -> None:
        """Counts a measurement that cannot be taken."""
        self._emitter.drop(self.instrument.name, reason)

    def _learn(self, order: tuple[Any, ...]) -> MeasurementType | None:
        keys = {text_of(key): key for key in order}
        with self._budget.lock:
            names = tuple(sorted(keys))
            if names not in self._by_names and self._budget.left_locked:
                self._budget.left_locked -= 1
                event, made = measured_event(self.instrument, names)
                self._emitter.declare(event)
                self._by_names[names] = made
            found = self._by_names.get(names)
            if found is not None:
                found = replace(found, keys=tuple(keys[name] for name in found.keys))
            if found is not None and len(self._by_order) < MAX_ORDERS:
                self._by_order[order] = found
            return found
