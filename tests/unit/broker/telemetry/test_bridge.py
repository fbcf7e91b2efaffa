from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from broker.telemetry.bridge import BridgeLoggerProvider, BridgeMeterProvider, metric_events
from broker.telemetry.declare import Catalogue, Counter, Gauge, Histogram, UpDownCounter
from broker.telemetry.emitter import Emitter
from broker.telemetry.log_bridge import LOG_EVENTS, BridgeHandler
from broker.telemetry.settings import TelemetrySettings

EVENTS = metric_events(
    [
        Counter(name="bakery.loaves", description="Loaves.", labels=("kind", "oven_name")),
        UpDownCounter(name="bakery.queue", description="Waiting."),
        Gauge(name="bakery.heat", description="Heat."),
        Histogram(name="bakery.duration", description="Time.", labels=("kind",), buckets=(1.0, 2.0)),
    ]
)
CATALOGUE = Catalogue((*EVENTS, *LOG_EVENTS))
FIRST_LOG = len(EVENTS) + 1
DEBUG, INFO, WARN, ERROR, FATAL = range(FIRST_LOG, FIRST_LOG + 5)


@pytest.fixture
def emitter(tmp_path: Path) -> Iterator[Emitter]:
    made = Emitter(TelemetrySettings(spool_directory=tmp_path, strict=True), catalogue=CATALOGUE, clock=lambda: 7)
    yield made
    made.close()


def rows(emitter: Emitter) -> list[tuple[Any, ...]]:
    """Event id and fields of all that was emitted."""
    return [(row[0], *row[3:]) for row in emitter.spool.after(0, 99).rows]


def test_each_kind_of_instrument_emits_its_event(emitter: Emitter) -> None:
    meter = BridgeMeterProvider(emitter.emit, EVENTS).get_meter("bakery")
    meter.create_counter("bakery.loaves").add(2, {"kind": "rye", "oven.name": "left"})
    meter.create_up_down_counter("bakery.queue").add(-1)
    meter.create_gauge("bakery.heat").set(230)
    meter.create_histogram("bakery.duration", "s", "Time.").record(1.5, {"kind": "rye"})
    assert rows(emitter) == [(1, "rye", "left", 2.0), (2, -1.0), (3, 230.0), (4, "rye", 1.5)]


def test_a_label_that_is_missing_is_empty(emitter: Emitter) -> None:
    BridgeMeterProvider(emitter.emit, EVENTS).get_meter("bakery").create_counter("bakery.loaves").add(1)
    assert rows(emitter) == [(1, "", "", 1.0)]


def test_what_nobody_declared_measures_nothing_and_is_counted(emitter: Emitter) -> None:
    provider = BridgeMeterProvider(emitter.emit, EVENTS)
    meter = provider.get_meter("bakery")
    meter.create_counter("bakery.crumbs").add(1)
    meter.create_histogram("bakery.loaves").record(1)  # declared, as a counter
    meter.create_counter("bakery.loaves").add(1, {"kind": "rye", "colour": "brown"})
    assert rows(emitter) == [(1, "rye", "", 1.0)]
    assert provider.undeclared == {"bakery.crumbs": 1, "bakery.loaves": 1, "bakery.loaves: colour": 1}


def test_the_current_span_is_the_trace_of_the_event(emitter: Emitter) -> None:
    span = NonRecordingSpan(SpanContext(0xA1, 0xB2, is_remote=False, trace_flags=TraceFlags(1)))
    counter = BridgeMeterProvider(emitter.emit, EVENTS).get_meter("bakery").create_counter("bakery.loaves")
    counter.add(1, {}, set_span_in_context(span))
    counter.add(1)
    traces = [row[2] for row in emitter.spool.after(0, 99).rows]
    assert traces == [bytes(15) + b"\xa1" + bytes(7) + b"\xb2" + b"\x01", None]


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
