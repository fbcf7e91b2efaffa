"""Reads back what the front emitted and declared."""

from __future__ import annotations

from typing import Any

from producer.emitter import Emitter

DEBUG, INFO, WARN, ERROR, FATAL = range(1, 6)
FIRST = 6
"""Id of the first type that the front declares, after those of log lines."""


def rows(emitter: Emitter) -> list[tuple[Any, ...]]:
    """Event id and fields of all that was emitted."""
    return [(row[0], *row[3:]) for row in emitter.spool.queue.after(0, 99).rows]


def declared(emitter: Emitter) -> list[tuple[Any, ...]]:
    """Declarations of the bridge: instrument, kind, unit, labels."""
    measured = [item.instruments[0] for item in emitter.spool.queue.meta.defines[FIRST - 1 :]]
    return [(item.name, item.kind, item.unit, tuple(item.labels)) for item in measured]
