from __future__ import annotations

from collections.abc import Generator, Iterable

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from producer.emitter import Emitter
from producer.otel.metrics import EventMeterProvider
from tests.unit.producer.otel.emitted import FIRST, rows


def test_an_observed_gauge_is_measured_each_time(
    emitter: Emitter, provider: EventMeterProvider, meter: Meter
) -> None:
    meter.create_observable_gauge("bakery.oven", [lambda _: [Observation(230, {"oven": "left"})]])
    provider.observe()
    provider.observe()
    assert rows(emitter) == [(FIRST, "left", 230), (FIRST, "left", 230)]


def test_of_an_observed_sum_the_change_is_measured(
    emitter: Emitter, provider: EventMeterProvider, meter: Meter
) -> None:
    sums = iter([5, 7, 7, 4])
    meter.create_observable_counter("bakery.power", [lambda _: [Observation(next(sums))]])
    for _ in range(4):
        provider.observe()
    assert [row[1] for row in rows(emitter)] == [5, 2, 4]  # the last began anew


def test_an_observed_sum_that_may_fall_falls(emitter: Emitter, provider: EventMeterProvider, meter: Meter) -> None:
    sums = iter([5, 2])
    meter.create_observable_up_down_counter("bakery.queue", [lambda _: [Observation(next(sums))]])
    provider.observe()
    provider.observe()
    assert [row[1] for row in rows(emitter)] == [5, -3]


def test_a_generator_is_a_callback_too(emitter: Emitter, provider: EventMeterProvider, meter: Meter) -> None:
    def heat() -> Generator[Iterable[Observation], CallbackOptions, None]:
        options = yield []
        while True:
            options = yield [Observation(options.timeout_millis)]

    meter.create_observable_gauge("bakery.oven", [heat()])
    provider.observe()
    provider.observe()
    assert [row[1] for row in rows(emitter)] == [10_000, 10_000]


def test_a_callback_that_raises_costs_no_other(emitter: Emitter, provider: EventMeterProvider, meter: Meter) -> None:
    def broken(_: CallbackOptions) -> list[Observation]:
        raise OSError("no probe")

    meter.create_observable_gauge("bakery.oven", [broken, lambda _: [Observation(230)]])
    provider.observe()
    assert rows(emitter) == [(FIRST, 230)]
