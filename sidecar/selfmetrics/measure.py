"""A figure that the sidecar says of itself: its name, its words, and where it is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

Reading = tuple[Mapping[str, str], float]
Read = Callable[[], Iterable[Reading]]


def alone(value: float) -> list[Reading]:
    """The reading of a figure without labels."""
    return [({}, value)]


def each(label: str, values: Iterable[tuple[str, float | None]]) -> list[Reading]:
    """A reading for every name, as the value of the label; none where a name has no value."""
    return [({label: name}, value) for name, value in values if value is not None]


@dataclass(frozen=True, slots=True)
class Measure:
    """A figure that is read when somebody looks; `kind` is counter or gauge, `read` gives labels and values."""

    kind: str
    name: str
    unit: str
    description: str
    read: Read


def counter(name: str, unit: str, description: str, read: Read) -> Measure:
    """A figure that only grows while the process lives."""
    return Measure("counter", name, unit, description, read)


def gauge(name: str, unit: str, description: str, read: Read) -> Measure:
    """A figure that goes up and down."""
    return Measure("gauge", name, unit, description, read)
