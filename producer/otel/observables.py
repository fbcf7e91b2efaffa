"""Observable instruments: callbacks are asked at an interval, and what they say becomes measurements."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterable, Sequence

from opentelemetry.metrics import CallbackOptions, Observation

from producer.declare import Counter
from producer.otel.event_types import Shapes, as_text
from producer.otel.trace import trace_of

log = logging.getLogger(__name__)
Callback = (
    Callable[[CallbackOptions], Iterable[Observation]] | Generator[Iterable[Observation], CallbackOptions, None]
)
TIMEOUT_MS = 10_000
MAX_SETS = 2000
"""Sets of attributes whose last sum is remembered; the sidecar has as many series of an instrument."""
Key = frozenset[tuple[str, str]]


class Observed:
    """One observable instrument. `sums`: what is observed is a running sum, of which the change is measured.

    A sum that falls, of a counter, is one that began anew: all of it is measured.
    """

    def __init__(self, shapes: Shapes, callbacks: Sequence[Callback], *, sums: bool) -> None:
        self._shapes = shapes
        self._callbacks = [_asked(item) for item in callbacks]
        self._sums = sums
        self._last: dict[Key, float] = {}

    def observe(self) -> None:
        """Asks the callbacks once."""
        for callback in self._callbacks:
            try:
                for item in callback(CallbackOptions(timeout_millis=TIMEOUT_MS)):
                    self._take(item)
            except Exception:
                log.exception("observing failed", extra={"instrument": self._shapes.instrument.name})

    def _take(self, item: Observation) -> None:
        amount = self._change(item) if self._sums else item.value
        if amount is not None:
            with trace_of(item.context):
                self._shapes.measure(amount, item.attributes)

    def _change(self, item: Observation) -> float | None:
        key = frozenset((name, as_text(value)) for name, value in (item.attributes or {}).items())
        known = key in self._last
        if not known and len(self._last) >= MAX_SETS:
            self._shapes.refuse("too_many_series")
            return None
        change = change_of(self._last.get(key, 0.0), item.value, falls=not self._counts)
        self._last[key] = item.value
        return change if change or not known else None

    @property
    def _counts(self) -> bool:
        return isinstance(self._shapes.instrument, Counter)


def change_of(before: float, now: float, *, falls: bool) -> float:
    """What to add so that a sum at `before` stands at `now`; one that may not fall and did began anew at zero."""
    return now - before if falls or now >= before else now


def _asked(callback: Callback) -> Callable[[CallbackOptions], Iterable[Observation]]:
    """A generator is asked by `send`, as the specification's Python API says."""
    if not isinstance(callback, Generator):
        return callback
    next(callback)
    return callback.send
