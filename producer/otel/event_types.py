"""Event types that are made from calls: an instrument, and the names of the attributes of a measurement."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from producer.declare import Event, Label, Measure, MetricInstrument

MAX_TYPES = 200
"""Types that a bridge makes; the sidecar takes 256 a stream (`telemetry.max_event_types`)."""
MAX_LABELS = 60
MAX_ORDERS = 1000
"""Orders of attribute names that are remembered for each instrument."""
_NOT_OF_A_NAME = re.compile(r"[^a-z0-9_.]")
VALUE = "value"
Attributes = Mapping[str, Any] | None


class Declares(Protocol):
    """What an emitter and a producer offer to one who declares while the program runs."""

    @property
    def emit(self) -> Callable[[tuple[Any, ...]], None]:
        """Takes an event."""

    def declare(self, event: Event) -> None:
        """Takes a further event type."""

    def refuse(self, name: str, reason: str) -> None:
        """Counts an event that cannot be taken."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How a measurement with these attributes becomes an event: texts in the order of `keys`, then the value."""

    type: type[tuple[Any, ...]]
    keys: tuple[str, ...]


def contract_name(text: str, longest: int) -> str:
    """The nearest name that the contract takes: lower case, `_` for what it has no letter for."""
    name = _NOT_OF_A_NAME.sub("_", text.lower())[:longest]
    return name if name[:1].isalpha() else ("x" + name)[:longest]


def measured_event(instrument: MetricInstrument, keys: Iterable[str]) -> tuple[Event, Shape]:
    """The event type of an instrument whose measurements have the attributes `keys`, and how one is made.

    Of keys that mean the same name the first in the alphabet stays.
    """
    labels: dict[str, str] = {}
    for key in sorted(keys)[:MAX_LABELS]:
        labels.setdefault(contract_name(key, 64), key)
    value = VALUE
    while value in labels:
        value += "_"
    hints = {**dict.fromkeys(labels, Label[str]), value: Measure[float]}
    kind = type("Measurement", (tuple,), {"__slots__": (), "_fields": tuple(hints), "__annotations__": hints})
    measured = replace(instrument, labels=tuple(labels), measure=value)
    event = Event(kind, instrument.name, instruments=(measured,))
    return event, Shape(kind, tuple(labels.values()))


def as_text(value: Any) -> str:
    """A label's value: as OpenTelemetry's exporter for Prometheus writes it, and booleans and lists as JSON does."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | list | tuple | Mapping):
        return json.dumps(value, default=str, sort_keys=True)
    return str(value)


class Budget:
    """How many event types may still be made; shared by all instruments of a bridge."""

    def __init__(self, most: int = MAX_TYPES) -> None:
        self.lock = threading.Lock()
        self._left = most

    def take(self) -> bool:
        """Whether there was one left; `lock` is held."""
        self._left -= 1
        return self._left >= 0


class Shapes:
    """The event types of one instrument, each declared at the first measurement that has its attributes."""

    def __init__(self, instrument: MetricInstrument, producer: Declares, budget: Budget) -> None:
        self.instrument = instrument
        self._producer = producer
        self._budget = budget
        self._by_order: dict[tuple[str, ...], Shape] = {}
        self._by_names: dict[tuple[str, ...], Shape] = {}

    def measure(self, amount: float, attributes: Attributes) -> None:
        """Emits a measurement; one that no type is left for is dropped, and the ledger says so."""
        given = attributes or {}
        shape = self._by_order.get(tuple(given)) or self._learn(tuple(given))
        if shape is None:
            self.refuse("too_many_types")
            return
        self._producer.emit(shape.type((*[as_text(given[key]) for key in shape.keys], amount)))

    def refuse(self, reason: str) -> None:
        """Counts a measurement that cannot be taken."""
        self._producer.refuse(self.instrument.name, reason)

    def _learn(self, order: tuple[str, ...]) -> Shape | None:
        with self._budget.lock:
            names = tuple(sorted(order))
            if names not in self._by_names and (shape := self._made(names)) is not None:
                self._by_names[names] = shape
            found = self._by_names.get(names)
            if found is not None and len(self._by_order) < MAX_ORDERS:
                self._by_order[order] = found
            return found

    def _made(self, names: tuple[str, ...]) -> Shape | None:
        if not self._budget.take():
            return None
        event, shape = measured_event(self.instrument, names)
        self._producer.declare(event)
        return shape
