"""OpenTelemetry's metrics API: measurements become events, whose types are declared when code first uses them.

Callbacks of observable instruments are asked at an interval; their observations become measurements like the others.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from opentelemetry import metrics as api
from opentelemetry.context import Context

from pod_runtime.reserved_metrics import is_reserved
from producer.declare import Counter, DeclarationError, Gauge, Histogram, MetricInstrument, UpDownCounter, sound_bounds
from producer.emitter import Emitter
from producer.fork import watch_forks
from producer.otel.event_types import Attributes, InstrumentTypes, TypeBudget, contract_name
from producer.otel.observed_sums import MAX_SETS, LabelSet, LastSums, ObservedSums, label_set
from producer.plain_values import plain_number

log = logging.getLogger(__name__)
# https://opentelemetry.io/docs/specs/otel/metrics/sdk/#explicit-bucket-histogram-aggregation
DEFAULT_BUCKETS = (
    0.0, 5.0, 10.0, 25.0, 50.0, 75.0, 100.0, 250.0, 500.0, 750.0, 1000.0, 2500.0, 5000.0, 7500.0, 10_000.0,
)  # fmt: skip
MAX_UNIT, MAX_DESCRIPTION = 63, 1000
Asked = Callable[[api.CallbackOptions], Iterable[api.Observation]]
Callback = Asked | Generator[Iterable[api.Observation], api.CallbackOptions, None]
TIMEOUT_MS = 10_000


class _EventInstrument:
    """Mixed into the API's instruments; each names the one method that its kind measures by."""

    def __init__(self, types: InstrumentTypes) -> None:
        self._types = types

    def measure(self, amount: float, attributes: Attributes = None, context: Context | None = None) -> None:
        """Emits one measurement."""
        self._types.measure(amount, attributes, context)


class _EventCounter(_EventInstrument, api.Counter):
    add = _EventInstrument.measure


class _EventUpDownCounter(_EventInstrument, api.UpDownCounter):
    add = _EventInstrument.measure


class _EventHistogram(_EventInstrument, api.Histogram):
    record = _EventInstrument.measure


class _EventGauge(_EventInstrument, api._Gauge):  # noqa: SLF001 - the API's own name for it
    set = _EventInstrument.measure


class ObservedInstrument:
    """One observable instrument. With `last` its callbacks observe running sums, of which the change is measured.

    `last` has the sums that were observed last; a counter's sum that falls began anew at zero: all of it is measured.
    A series that the callbacks observe no more ends.
    """

    def __init__(self, types: InstrumentTypes, callbacks: Sequence[Callback], last: LastSums | None) -> None:
        self._types, self._last = types, last
        self._callbacks = [_asked(item) for item in callbacks]
        self._seen: dict[LabelSet, Attributes] = {}

    def observe(self) -> None:
        """Asks the callbacks once."""
        seen: dict[LabelSet, Attributes] = {}
        whole = True
        for callback in self._callbacks:
            try:
                for item in callback(api.CallbackOptions(timeout_millis=TIMEOUT_MS)):
                    self._take(item, seen)
            except Exception:
                log.exception("observing failed", extra={"instrument": self._types.instrument.name})
                whole = False
        if not whole:  # what was not told may still be there
            seen = {**self._seen, **seen}
        for key in self._seen.keys() - seen.keys():
            self._end(key)
        self._seen = seen

    def _take(self, item: api.Observation, seen: dict[LabelSet, Attributes]) -> None:
        key = label_set(item.attributes or {})
        amount = item.value if self._last is None else self._change(self._last, key, item.value)
        # Beyond the limit the sidecar has one series for the rest, which does not end.
        if len(seen) < MAX_SETS:
            seen[key] = item.attributes
        if amount is not None:
            self._types.measure(amount, item.attributes, item.context)

    def _change(self, last: LastSums, key: LabelSet, observed: Any) -> float | None:
        now = plain_number(observed)
        if now is None or (key not in last and len(last) >= MAX_SETS):
            self._types.drop("wrong_type" if now is None else "too_many_series")
            return None
        falls = not isinstance(self._types.instrument, Counter)
        change = change_of(last.get(key, 0.0), now, falls=falls)
        last[key] = now
        return change if change or key not in self._seen else None  # a first change of zero makes its series exist

    def _end(self, key: LabelSet) -> None:
        attributes = self._seen[key]
        # A counter's sum is kept: the totals of a device that comes back are not added again. A sum that may fall is
        # taken back, so that a sidecar which knows no end of a series has it right, too.
        if self._last and not isinstance(self._types.instrument, Counter):
            self._types.measure(-self._last.pop(key, 0.0), attributes, None)
        self._types.end(attributes)


def change_of(before: float, now: float, *, falls: bool) -> float:
    """The amount that takes a sum from `before` to `now`; a sum that may not fall and did began anew at zero."""
    return now - before if falls or now >= before else now


def _asked(callback: Callback) -> Asked:
    """A generator is asked by `send`, as the specification's Python API says."""
    if not isinstance(callback, Generator):
        return callback
    next(callback)
    return callback.send


class EventMeterProvider(api.MeterProvider):
    """Gives meters whose instruments emit events. `buckets` bound histograms by name, as a view of the SDK would.

    `sums` outlive the process. `observe` asks all observable instruments once; the owner of the provider calls it at an
    interval.
    """

    def __init__(
        self,
        emitter: Emitter,
        *,
        buckets: Mapping[str, Sequence[float]] | None = None,
        sums: ObservedSums | None = None,
    ) -> None:
        self._emitter = emitter
        self._sums = sums or ObservedSums()
        self._buckets = dict(buckets or {})
        self._budget = TypeBudget()
        self._lock = threading.Lock()
        self._types: dict[str, InstrumentTypes] = {}
        self._observed: list[ObservedInstrument] = []
        watch_forks(self)

    def forked(self) -> None:
        """Makes the lock anew (`producer.fork`)."""
        self._lock = threading.Lock()

    def get_meter(
        self, name: str, version: str | None = None, schema_url: str | None = None, *_: Any, **__: Any
    ) -> api.Meter:
        """A meter. An instrument's name means the same in all of them, as it does on a page of metrics."""
        return _EventMeter(self, name, version=version, schema_url=schema_url)

    def types_of(self, wanted: MetricInstrument) -> InstrumentTypes | None:
        """The event types of an instrument; None if its name means another kind, unit or buckets already."""
        with self._lock:
            found = self._types.setdefault(wanted.name, InstrumentTypes(wanted, self._emitter, self._budget))
        if found.instrument.meaning == wanted.meaning:
            return found
        log.warning("instrument means something else already", extra={"instrument": wanted.name})
        return None

    def bounds(self, name: str, advised: Sequence[float] | None) -> tuple[float, ...]:
        """The buckets of a histogram: the owner's, or those that the code advises, or OpenTelemetry's default."""
        chosen = tuple(map(float, self._buckets.get(name) or advised or DEFAULT_BUCKETS))
        if sound_bounds(chosen):
            return chosen
        if name in self._buckets:  # the owner hears of a mistake; code that advises such must not fail
            raise DeclarationError([f"buckets of {name!r} must be 1 to 64, finite and ascending"])
        return DEFAULT_BUCKETS

    def watch(self, observed: ObservedInstrument) -> None:
        """Adds an observable instrument."""
        with self._lock:
            self._observed.append(observed)

    def observe(self) -> None:
        """Asks every callback once; one that raises is logged, and costs no other."""
        with self._lock:
            every = list(self._observed)
        for item in every:
            item.observe()
        self._sums.save()

    def last_sums(self, instrument: MetricInstrument) -> LastSums:
        """The sums that were observed last of an instrument: a counter's outlive the process, as the counter does."""
        return self._sums.of(instrument.name) if isinstance(instrument, Counter) else {}


class _EventMeter(api.NoOpMeter):
    """Meter of an `EventMeterProvider`. An instrument whose name has another meaning already does nothing."""

    def __init__(self, provider: EventMeterProvider, name: str, **about: Any) -> None:
        super().__init__(name, **about)
        self._provider = provider

    def _emitting(self, kind: type[_EventInstrument], wanted: MetricInstrument) -> Any:
        return kind(types) if (types := self._provider.types_of(wanted)) is not None else None

    def create_counter(self, name: str, unit: str = "", description: str = "") -> api.Counter:
        found = self._emitting(_EventCounter, Counter(**_about(name, unit, description)))
        return found or super().create_counter(name, unit, description)

    def create_up_down_counter(self, name: str, unit: str = "", description: str = "") -> api.UpDownCounter:
        found = self._emitting(_EventUpDownCounter, UpDownCounter(**_about(name, unit, description)))
        return found or super().create_up_down_counter(name, unit, description)

    def create_histogram(
        self,
        name: str,
        unit: str = "",
        description: str = "",
        *,
        explicit_bucket_boundaries_advisory: Sequence[float] | None = None,
    ) -> api.Histogram:
        buckets = self._provider.bounds(name, explicit_bucket_boundaries_advisory)
        found = self._emitting(_EventHistogram, Histogram(**_about(name, unit, description), buckets=buckets))
        return found or super().create_histogram(name, unit, description)

    def create_gauge(self, name: str, unit: str = "", description: str = "") -> api._Gauge:
        found = self._emitting(_EventGauge, Gauge(**_about(name, unit, description)))
        return found or super().create_gauge(name, unit, description)

    def create_observable_counter(
        self, name: str, callbacks: Sequence[Callback] | None = None, unit: str = "", description: str = ""
    ) -> api.ObservableCounter:
        self._watch(Counter(**_about(name, unit, description)), callbacks, sums=True)
        return super().create_observable_counter(name, callbacks, unit, description)

    def create_observable_up_down_counter(
        self, name: str, callbacks: Sequence[Callback] | None = None, unit: str = "", description: str = ""
    ) -> api.ObservableUpDownCounter:
        self._watch(UpDownCounter(**_about(name, unit, description)), callbacks, sums=True)
        return super().create_observable_up_down_counter(name, callbacks, unit, description)

    def create_observable_gauge(
        self, name: str, callbacks: Sequence[Callback] | None = None, unit: str = "", description: str = ""
    ) -> api.ObservableGauge:
        self._watch(Gauge(**_about(name, unit, description)), callbacks, sums=False)
        return super().create_observable_gauge(name, callbacks, unit, description)

    def _watch(self, wanted: MetricInstrument, callbacks: Sequence[Callback] | None, *, sums: bool) -> None:
        types = self._provider.types_of(replace(wanted, absent_ends=True))
        if types is not None and callbacks:
            last = self._provider.last_sums(types.instrument) if sums else None
            self._provider.watch(ObservedInstrument(types, callbacks, last))


def _about(name: str, unit: str, description: str) -> dict[str, Any]:
    told = (description or name)[:MAX_DESCRIPTION]
    shown = contract_name(name, 128)
    # Code of somebody else cannot rename its instrument: the sidecar would refuse the name.
    if is_reserved(shown):
        shown = f"app.{shown}"[:128]
    return {"name": shown, "unit": (unit or "")[:MAX_UNIT], "description": told}
