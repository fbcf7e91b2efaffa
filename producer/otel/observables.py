"""Observable instruments: callbacks are asked at an interval, and their observations become measurements."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterable, Sequence

from opentelemetry.metrics import CallbackOptions, Observation

from producer.declare import Counter
from producer.otel.event_types import InstrumentTypes, as_text

log = logging.getLogger(__name__)
Callback = (
    Callable[[CallbackOptions], Iterable[Observation]] | Generator[Iterable[Observation], CallbackOptions, None]
)
TIMEOUT_MS = 10_000
# Sets of attributes whose last sum is remembered; the sidecar has as many series of an instrument.
MAX_SETS = 2000
Key = frozenset[tuple[str, str]]


class ObservedInstrument:
    """One observable instrument. With `sums` its callbacks observe running sums, of which the change is measured.

    A counter's sum that falls began anew at zero: all of it is measured.
    """

    def __init__(self, types: InstrumentTypes, callbacks: Sequence[Callback], *, sums: bool) -> None:
        self._types = types
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
                log.exception("observing failed", extra={"instrument": self._types.instrument.name})

    def _take(self, item: Observation) -> None:
        amount = self._change(item) if self._sums else item.value
        if amount is not None:
            self._types.measure(amount, item.attributes, item.context)

    def _change(self, item: Observation) -> float | None:
        key = frozenset((name, as_text(value)) for name, value in (item.attributes or {}).items())
        known = key in self._last
        if not known and len(self._last) >= MAX_SETS:
            self._types.drop("too_many_series")
            return None
        falls = not isinstance(self._types.instrument, Counter)
        change = change_of(self._last.get(key, 0.0), item.value, falls=falls)
        self._last[key] = item.value
        return change if change or not known else None  # a first sum of zero makes its series exist


def change_of(before: float, now: float, *, falls: bool) -> float:
    """The amount that takes a sum from `before` to `now`; a sum that may not fall and did began anew at zero."""
    return now - before if falls or now >= before else now


def _asked(callback: Callback) -> Callable[[CallbackOptions], Iterable[Observation]]:
    """A generator is asked by `send`, as the specification's Python API says."""
    if not isinstance(callback, Generator):
        return callback
    next(callback)
    return callback.send
