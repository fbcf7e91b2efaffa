"""A figure that the sidecar says of itself: its name, its words, and where it is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

Reading = tuple[Mapping[str, str], float]
Read = Callable[[], Iterable[Reading]]


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
