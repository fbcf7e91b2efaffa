"""OpenTelemetry's metrics API as a front of the emitter: instruments are declared when code creates and uses them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry import metrics as api
from opentelemetry.context import Context

from producer.declare import (
    Counter,
    DeclarationError,
    Gauge,
    Histogram,
    MetricInstrument,
    UpDownCounter,
    sound_bounds,
)
from producer.otel.event_types import Attributes, Budget, Declares, Shapes, contract_name
from producer.otel.observables import Callback, Observed
from producer.otel.trace import trace_of

log = logging.getLogger(__name__)
DEFAULT_BUCKETS = (
    0.0, 5.0, 10.0, 25.0, 50.0, 75.0, 100.0, 250.0, 500.0, 750.0, 1000.0, 2500.0, 5000.0, 7500.0, 10_000.0,
)  # fmt: skip
"""https://opentelemetry.io/docs/specs/otel/metrics/sdk/#explicit-bucket-histogram-aggregation"""
MAX_UNIT, MAX_DESCRIPTION = 63, 1000


class _Front:
    """Takes measurements of one instrument."""

    def __init__(self, shapes: Shapes) -> None:
        self._shapes = shapes

    def _take(self, amount: float, attributes: Attributes, context: Context | None) -> None:
        with trace_of(context):
            self._shapes.measure(amount, attributes)


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
    """Meters whose instruments emit events. `buckets` bound histograms by name, as a view of the SDK would.

    `observe` asks all observable instruments once; who owns the provider calls it at an interval.
    """

    def __init__(self, producer: Declares, *, buckets: Mapping[str, Sequence[float]] | None = None) -> None:
        self._producer = producer
        self._buckets = dict(buckets or {})
        self._budget = Budget()
        self._shapes: dict[str, Shapes] = {}
        self._observed: list[Observed] = []

    def get_meter(
        self,
        name: str,
        version: str | None = None,
        schema_url: str | None = None,
        attributes: Attributes = None,  # noqa: ARG002 - the API's signature
    ) -> api.Meter:
        """A meter. An instrument's name means the same in all of them, as it does on a page of metrics."""
        return _BridgeMeter(self, name, version=version, schema_url=schema_url)

    def shapes(self, wanted: MetricInstrument) -> Shapes | None:
        """The event types of an instrument; None where its name means another kind, unit or buckets already."""
        with self._budget.lock:
            found = self._shapes.setdefault(wanted.name, Shapes(wanted, self._producer, self._budget))
        known = found.instrument
        if (known.kind, known.unit, known.bounds) == (wanted.kind, wanted.unit, wanted.bounds):
            return found
        log.warning("instrument means something else already", extra={"instrument": wanted.name})
        return None

    def bounds(self, name: str, advised: Sequence[float] | None) -> tuple[float, ...]:
        """The buckets of a histogram: the owner's, the code's, or OpenTelemetry's default.

        Raises:
            DeclarationError: the owner's cannot be.
        """
        chosen = tuple(map(float, self._buckets.get(name) or advised or DEFAULT_BUCKETS))
        if sound_bounds(chosen):
            return chosen
        if name in self._buckets:
            raise DeclarationError([f"buckets of {name!r} must be 1 to 64, finite and ascending"])
        return DEFAULT_BUCKETS

    def watch(self, observed: Observed) -> None:
        """Takes an observable instrument."""
        with self._budget.lock:
            self._observed.append(observed)

    def observe(self) -> None:
        """Asks every callback once; one that raises is logged, and costs no other."""
        with self._budget.lock:
            every = list(self._observed)
        for item in every:
            item.observe()


class _BridgeMeter(api.NoOpMeter):
    """What cannot be bridged (a name with two meanings) falls back to the API's instruments that do nothing."""

    def __init__(self, provider: BridgeMeterProvider, name: str, **about: Any) -> None:
        super().__init__(name, **about)
        self._provider = provider

    def _front(self, made: type[_Front], wanted: MetricInstrument) -> Any:
        shapes = self._provider.shapes(wanted)
        return made(shapes) if shapes is not None else None

    def create_counter(self, name: str, unit: str = "", description: str = "") -> api.Counter:
        found = self._front(_BridgeCounter, Counter(**_about(name, unit, description)))
        return found or super().create_counter(name, unit, description)

    def create_up_down_counter(self, name: str, unit: str = "", description: str = "") -> api.UpDownCounter:
        found = self._front(_BridgeUpDownCounter, UpDownCounter(**_about(name, unit, description)))
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
        found = self._front(_BridgeHistogram, Histogram(**_about(name, unit, description), buckets=buckets))
        return found or super().create_histogram(name, unit, description)

    def create_gauge(self, name: str, unit: str = "", description: str = "") -> api._Gauge:
        found = self._front(_BridgeGauge, Gauge(**_about(name, unit, description)))
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
        shapes = self._provider.shapes(wanted)
        if shapes is not None and callbacks:
            self._provider.watch(Observed(shapes, callbacks, sums=sums))


def _about(name: str, unit: str, description: str) -> dict[str, Any]:
    told = (description or name)[:MAX_DESCRIPTION]
    return {"name": contract_name(name, 128), "unit": (unit or "")[:MAX_UNIT], "description": told}
