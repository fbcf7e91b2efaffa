from __future__ import annotations

from collections.abc import Generator, Iterable
from functools import partial
from pathlib import Path

import pytest
from opentelemetry.metrics import CallbackOptions, Meter, Observation

from producer.declare import Catalogue
from producer.emitter import Emitter
from producer.otel.metrics import DEFAULT_BUCKETS, EventMeterProvider
from producer.otel.observed_sums import ObservedSums
from producer.settings import ProducerSettings
from producer.stdlib_logging import LOG_EVENTS
from telemetry_contract.v1 import telemetry_pb2 as pb
from tests.unit.producer.otel.emitted import FIRST, declared, rows


def test_an_instrument_is_declared_at_its_first_measurement(emitter: Emitter, meter: Meter) -> None:
    loaves = meter.create_counter("bakery.loaves", "{loaf}", "Loaves baked.")
    assert declared(emitter) == []
    loaves.add(2, {"kind": "rye"})
    loaves.add(3, {"kind": "spelt"})
    assert rows(emitter) == [(FIRST, "rye", 2), (FIRST, "spelt", 3)]
    assert declared(emitter) == [("bakery.loaves", pb.INSTRUMENT_KIND_COUNTER, "{loaf}", ("kind",))]


def test_each_kind_of_instrument_emits_its_event(emitter: Emitter, meter: Meter) -> None:
    meter.create_up_down_counter("bakery.queue").add(-1)
    meter.create_gauge("bakery.oven").set(230)
    meter.create_histogram("bakery.duration", "s", "Time.").record(1.5, {"kind": "rye"})
    assert rows(emitter) == [(FIRST, -1), (FIRST + 1, 230), (FIRST + 2, "rye", 1.5)]
    assert [item[1] for item in declared(emitter)] == [
        pb.INSTRUMENT_KIND_UP_DOWN_COUNTER,
        pb.INSTRUMENT_KIND_GAUGE,
        pb.INSTRUMENT_KIND_HISTOGRAM,
    ]


def test_a_name_with_two_meanings_measures_its_first_only(emitter: Emitter, meter: Meter) -> None:
    meter.create_counter("bakery.loaves").add(1)
    meter.create_histogram("bakery.loaves").record(2)
    assert rows(emitter) == [(FIRST, 1)]


def test_buckets_are_the_owners_then_the_codes_then_the_default(emitter: Emitter, meter: Meter) -> None:
    meter.create_histogram("bakery.heat", explicit_bucket_boundaries_advisory=[1.0]).record(1)
    meter.create_histogram("bakery.duration", explicit_bucket_boundaries_advisory=[1.0, 2.0]).record(1)
    meter.create_histogram("bakery.weight").record(1)
    bounds = [tuple(item.instruments[0].bounds) for item in emitter.spool.queue.meta.defines[FIRST - 1 :]]
    assert bounds == [(100.0, 200.0), (1.0, 2.0), DEFAULT_BUCKETS]


def test_an_observed_gauge_is_measured_each_time(emitter: Emitter, provider: EventMeterProvider, meter: Meter) -> None:
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


def total(observed: int, _: CallbackOptions) -> list[Observation]:
    return [Observation(observed, {"device": "lo", "up": True})]


def test_a_total_of_a_restarted_program_is_not_added_again(tmp_path: Path) -> None:
    told = []
    for observed in (1000, 1000, 1007, 5):
        settings = ProducerSettings(producer_id="bakery", spool_directory=tmp_path, strict=True)
        emitter = Emitter(settings, catalogue=Catalogue(LOG_EVENTS))
        provider = EventMeterProvider(emitter, sums=ObservedSums(tmp_path / "bakery.observed"))
        meter = provider.get_meter("bakery")
        meter.create_observable_counter("host.net.io", [partial(total, observed)])
        provider.observe()
        told += [row[-1] for row in rows(emitter)]
        emitter.close()
    assert told == [1000, 0, 7, 5]


@pytest.mark.parametrize(
    "content", [b"", b"[]", b'{"version": 9, "sums": [["a", [], 1]]}', b'{"version": 1, "sums": [1]}']
)
def test_sums_that_cannot_be_read_are_added_once(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "sums").write_bytes(content)
    assert ObservedSums(tmp_path / "sums").of("a") == {}


def test_a_volume_that_refuses_the_sums_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    sums = ObservedSums(tmp_path / "file" / "sums")
    sums.of("a")[frozenset()] = 1.0
    sums.save()


def test_a_series_that_is_no_longer_observed_is_told_to_end(
    emitter: Emitter, provider: EventMeterProvider, meter: Meter
) -> None:
    pods = iter([("p1", "p2"), ("p2",), ("p2",), ("p1", "p2")])

    def observe(_: CallbackOptions) -> list[Observation]:
        return [Observation(1, {"pod": pod}) for pod in next(pods)]

    meter.create_observable_gauge("pods", [observe])
    for _ in range(4):
        provider.observe()
    told = [row[1:] for row in rows(emitter)]
    assert told == [("p1", 1), ("p2", 1), ("p2", 1), ("p1", None), ("p2", 1), ("p1", 1), ("p2", 1)]
    (define,) = emitter.spool.queue.meta.defines[FIRST - 1 :]
    assert define.instruments[0].absent_ends


def test_a_sum_that_may_fall_is_taken_back_before_its_series_ends(
    emitter: Emitter, provider: EventMeterProvider, meter: Meter
) -> None:
    answers = iter([[Observation(5)], [], [Observation(2)]])
    meter.create_observable_up_down_counter("queue", [lambda _: next(answers)])
    for _ in range(3):
        provider.observe()
    assert [row[1] for row in rows(emitter)] == [5, -5, None, 2]


def test_a_counter_that_comes_back_is_not_added_again(
    emitter: Emitter, provider: EventMeterProvider, meter: Meter
) -> None:
    answers = iter([[Observation(5)], [], [Observation(7)]])
    meter.create_observable_counter("bytes", [lambda _: next(answers)])
    for _ in range(3):
        provider.observe()
    assert [row[1] for row in rows(emitter)] == [5, None, 2]


def test_a_callback_that_fails_ends_no_series(emitter: Emitter, provider: EventMeterProvider, meter: Meter) -> None:
    heats = iter([1, None, 1])

    def observe(_: CallbackOptions) -> list[Observation]:
        if (heat := next(heats)) is None:
            raise OSError("no probe")
        return [Observation(heat)]

    meter.create_observable_gauge("heat", [observe])
    for _ in range(3):
        provider.observe()
    assert [row[1] for row in rows(emitter)] == [1, 1]
