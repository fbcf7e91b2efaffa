from __future__ import annotations

import json
import logging
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from producer.declare import Catalogue
from producer.emitter import Emitter
from producer.otel.event_types import MAX_TYPES, contract_name
from producer.otel.install import resource_of
from producer.otel.logs import BridgeLoggerProvider
from producer.otel.metrics import DEFAULT_BUCKETS, BridgeMeterProvider
from producer.settings import TelemetrySettings
from producer.stdlib_logging import LOG_EVENTS, BridgeHandler
from telemetry_contract.v1 import telemetry_pb2 as pb

DEBUG, INFO, WARN, ERROR, FATAL = range(1, 6)
FIRST = 6
"""Id of the first type that a bridge declares, after those of log lines."""


@pytest.fixture
def emitter(tmp_path: Path) -> Iterator[Emitter]:
    settings = TelemetrySettings(spool_directory=tmp_path, strict=True)
    made = Emitter(settings, catalogue=Catalogue(LOG_EVENTS), clock=lambda: 7)
    yield made
    made.close()


@pytest.fixture
def provider(emitter: Emitter) -> BridgeMeterProvider:
    return BridgeMeterProvider(emitter, buckets={"bakery.heat": (100.0, 200.0)})


@pytest.fixture
def meter(provider: BridgeMeterProvider) -> Meter:
    return provider.get_meter("bakery")


def rows(emitter: Emitter) -> list[tuple[Any, ...]]:
    """Event id and fields of all that was emitted."""
    return [(row[0], *row[3:]) for row in emitter.spool.after(0, 99).rows]


def declared(emitter: Emitter) -> list[tuple[Any, ...]]:
    """What the bridge declared: instrument, kind, unit, labels."""
    measured = [item.instruments[0] for item in emitter.spool.meta.defines[FIRST - 1 :]]
    return [(item.name, item.kind, item.unit, tuple(item.labels)) for item in measured]


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


def test_other_attributes_are_another_type_of_the_same_instrument(emitter: Emitter, meter: Meter) -> None:
    loaves = meter.create_counter("bakery.loaves")
    loaves.add(1, {"kind": "rye", "oven.name": "left"})
    loaves.add(1)
    loaves.add(1, {"oven.name": "right", "kind": "rye"})  # the first again, in another order
    assert rows(emitter) == [(FIRST, "rye", "left", 1), (FIRST + 1, 1), (FIRST, "rye", "right", 1)]
    assert [item[3] for item in declared(emitter)] == [("kind", "oven.name"), ()]


def test_an_attribute_may_be_named_as_the_measure_is(emitter: Emitter, meter: Meter) -> None:
    meter.create_counter("bakery.loaves").add(4, {"value": "high"})
    assert rows(emitter) == [(FIRST, "high", 4)]


@pytest.mark.parametrize(
    ("value", "text"), [("rye", "rye"), (7, "7"), (True, "true"), (("a", 1), '["a", 1]'), (None, "None")]
)
def test_labels_are_texts(emitter: Emitter, meter: Meter, value: Any, text: str) -> None:
    meter.create_counter("bakery.loaves").add(1, {"kind": value})
    assert rows(emitter) == [(FIRST, text, 1)]


@pytest.mark.parametrize(
    ("given", "name"),
    [("HTTP-Requests/s", "http_requests_s"), ("9lives", "x9lives"), ("a.b_c", "a.b_c"), ("é", "x_")],
)
def test_names_become_those_of_the_contract(given: str, name: str) -> None:
    assert contract_name(given, 64) == name


def test_of_attributes_with_one_name_in_the_contract_one_stays(emitter: Emitter, meter: Meter) -> None:
    meter.create_counter("bakery.loaves").add(1, {"oven-name": "left", "oven_name": "right"})
    assert rows(emitter) == [(FIRST, "left", 1)]


def test_a_name_with_two_meanings_measures_its_first_only(emitter: Emitter, meter: Meter) -> None:
    meter.create_counter("bakery.loaves").add(1)
    meter.create_histogram("bakery.loaves").record(2)
    assert rows(emitter) == [(FIRST, 1)]


def test_buckets_are_the_owners_then_the_codes_then_the_default(emitter: Emitter, meter: Meter) -> None:
    meter.create_histogram("bakery.heat", explicit_bucket_boundaries_advisory=[1.0]).record(1)
    meter.create_histogram("bakery.duration", explicit_bucket_boundaries_advisory=[1.0, 2.0]).record(1)
    meter.create_histogram("bakery.weight").record(1)
    bounds = [tuple(item.instruments[0].bounds) for item in emitter.spool.meta.defines[FIRST - 1 :]]
    assert bounds == [(100.0, 200.0), (1.0, 2.0), DEFAULT_BUCKETS]


def test_what_no_type_is_left_for_is_dropped_and_counted(emitter: Emitter, meter: Meter) -> None:
    loaves = meter.create_counter("bakery.loaves")
    for number in range(MAX_TYPES + 3):
        loaves.add(1, {f"key{number}": "x"})
    loaves.add(1, {"key0": "y"})
    ledger = emitter.ledger()
    assert ledger.dropped == {("bakery.loaves", "too_many_types"): 3}
    assert ledger.held == MAX_TYPES + 1


def test_the_current_span_is_the_trace_of_the_event(emitter: Emitter, meter: Meter) -> None:
    span = NonRecordingSpan(SpanContext(0xA1, 0xB2, is_remote=False, trace_flags=TraceFlags(1)))
    counter = meter.create_counter("bakery.loaves")
    counter.add(1, {}, set_span_in_context(span))
    counter.add(1)
    traces = [row[2] for row in emitter.spool.after(0, 99).rows]
    assert traces == [bytes(15) + b"\xa1" + bytes(7) + b"\xb2" + b"\x01", None]


def test_an_observed_gauge_is_measured_each_time(
    emitter: Emitter, provider: BridgeMeterProvider, meter: Meter
) -> None:
    meter.create_observable_gauge("bakery.oven", [lambda _: [Observation(230, {"oven": "left"})]])
    provider.observe()
    provider.observe()
    assert rows(emitter) == [(FIRST, "left", 230), (FIRST, "left", 230)]


def test_of_an_observed_sum_the_change_is_measured(
    emitter: Emitter, provider: BridgeMeterProvider, meter: Meter
) -> None:
    sums = iter([5, 7, 7, 4])
    meter.create_observable_counter("bakery.power", [lambda _: [Observation(next(sums))]])
    for _ in range(4):
        provider.observe()
    assert [row[1] for row in rows(emitter)] == [5, 2, 4]  # the last began anew


def test_an_observed_sum_that_may_fall_falls(emitter: Emitter, provider: BridgeMeterProvider, meter: Meter) -> None:
    sums = iter([5, 2])
    meter.create_observable_up_down_counter("bakery.queue", [lambda _: [Observation(next(sums))]])
    provider.observe()
    provider.observe()
    assert [row[1] for row in rows(emitter)] == [5, -3]


def test_a_generator_is_a_callback_too(emitter: Emitter, provider: BridgeMeterProvider, meter: Meter) -> None:
    def heat() -> Generator[Iterable[Observation], CallbackOptions, None]:
        options = yield []
        while True:
            options = yield [Observation(options.timeout_millis)]

    meter.create_observable_gauge("bakery.oven", [heat()])
    provider.observe()
    provider.observe()
    assert [row[1] for row in rows(emitter)] == [10_000, 10_000]


def test_a_callback_that_raises_costs_no_other(emitter: Emitter, provider: BridgeMeterProvider, meter: Meter) -> None:
    def broken(_: CallbackOptions) -> list[Observation]:
        raise OSError("no probe")

    meter.create_observable_gauge("bakery.oven", [broken, lambda _: [Observation(230)]])
    provider.observe()
    assert rows(emitter) == [(FIRST, 230)]


@pytest.mark.parametrize(
    ("surroundings", "resource"),
    [
        ({}, {}),
        ({"OTEL_RESOURCE_ATTRIBUTES": "a=1, b=x%2Cy,,bad"}, {"a": "1", "b": "x,y"}),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=a", "OTEL_SERVICE_NAME": "b"}, {"service.name": "b"}),
    ],
)
def test_the_resource_is_that_of_opentelemetrys_variables(
    surroundings: dict[str, str], resource: dict[str, str]
) -> None:
    assert resource_of(surroundings) == resource


def test_a_log_record_of_opentelemetry_becomes_a_line(emitter: Emitter) -> None:
    logger = BridgeLoggerProvider(emitter.emit).get_logger("bakery")
    logger.emit(LogRecord(body="burnt", severity_number=SeverityNumber.ERROR, attributes={"oven": 3}))
    logger.emit(body="done", severity_number=SeverityNumber.INFO2, event_name="loaf")
    assert rows(emitter) == [
        (ERROR, "bakery", "burnt", None, '{"oven": 3}'),
        (INFO, "bakery", "done", None, '{"event_name": "loaf"}'),
    ]


@pytest.fixture
def log(emitter: Emitter) -> Iterator[logging.Logger]:
    made = logging.getLogger("bakery.test")
    handler = BridgeHandler(emitter.emit)
    made.addHandler(handler)
    made.setLevel(logging.DEBUG)
    made.propagate = False
    yield made
    made.removeHandler(handler)


def test_lines_of_logging_keep_their_severity(emitter: Emitter, log: logging.Logger) -> None:
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL):
        log.log(level, "loaf %d", level)
    assert [(row[0], row[2]) for row in rows(emitter)] == [
        (DEBUG, "loaf 10"),
        (INFO, "loaf 20"),
        (WARN, "loaf 30"),
        (ERROR, "loaf 40"),
        (FATAL, "loaf 50"),
    ]


def test_what_stands_beside_a_line_comes_along(emitter: Emitter, log: logging.Logger) -> None:
    log.info("done", extra={"oven": 3, "place": Path("left")})
    (row,) = rows(emitter)
    assert json.loads(row[4]) == {"oven": 3, "place": "left"}


def test_an_exception_is_told(emitter: Emitter, log: logging.Logger) -> None:
    try:
        int("too hot")
    except ValueError:
        log.exception("burnt")
    (row,) = rows(emitter)
    assert row[3].endswith("ValueError: invalid literal for int() with base 10: 'too hot'")


def test_a_line_that_emitting_logs_is_not_emitted_again(log: logging.Logger) -> None:
    seen: list[tuple[Any, ...]] = []

    def emit(event: tuple[Any, ...]) -> None:
        seen.append(event)
        log.warning("from within")

    log.handlers[0] = BridgeHandler(emit)
    log.info("outer")
    assert [event[1] for event in seen] == ["outer"]
