from __future__ import annotations

import json
from typing import Any

import pytest
from opentelemetry._logs import Logger, LogRecord, SeverityNumber
from opentelemetry.trace import TraceFlags

from producer.emitter import Emitter
from producer.otel.logs import EventLoggerProvider
from tests.unit.producer.otel.emitted import ERROR, INFO, rows


def test_a_log_record_of_opentelemetry_becomes_a_line(emitter: Emitter) -> None:
    logger = EventLoggerProvider(emitter).get_logger("bakery")
    logger.emit(LogRecord(body="burnt", severity_number=SeverityNumber.ERROR, attributes={"oven": 3}))
    logger.emit(body="done", severity_number=SeverityNumber.INFO2, event_name="loaf")
    assert rows(emitter) == [
        (ERROR, "bakery", "burnt", None, '{"oven": 3}'),
        (INFO, "bakery", "done", None, '{"event_name": "loaf"}'),
    ]


@pytest.fixture
def logger(emitter: Emitter) -> Logger:
    return EventLoggerProvider(emitter).get_logger("bakery")


@pytest.mark.parametrize(
    ("body", "text"),
    [(0, "0"), (False, "false"), (None, ""), (1.5, "1.5"), ({"b": 1, 2: [None]}, '{"2": [null], "b": 1}'), (b"x", "x")],
    ids=["zero", "false", "none", "number", "map", "bytes"],
)
def test_a_body_that_is_no_text_becomes_json(emitter: Emitter, logger: Logger, body: Any, text: str) -> None:
    logger.emit(LogRecord(body=body))
    assert [row[2] for row in rows(emitter)] == [text]


def test_a_record_keeps_its_time_and_trace(emitter: Emitter, logger: Logger) -> None:
    logger.emit(LogRecord(timestamp=5, trace_id=0xA1, span_id=0xB2, trace_flags=TraceFlags(1), body="old"))
    (row,) = emitter.spool.queue.after(0, 9).rows
    assert row[1:3] == (5, bytes(15) + b"\xa1" + bytes(7) + b"\xb2\x01")


def test_what_is_no_field_of_a_line_stands_among_its_attributes(emitter: Emitter, logger: Logger) -> None:
    attributes: Any = {"event_name": "own", 3: "x"}
    logger.emit(body="done", severity_text="NOTICE", event_name="loaf", attributes=attributes)
    (row,) = rows(emitter)
    told = {"event_name": "own", "event.name": "loaf", "severity_text": "NOTICE", "3": "x"}
    assert json.loads(row[4]) == told


def test_a_record_that_cannot_be_taken_is_counted_never_raised(emitter: Emitter, logger: Logger) -> None:
    logger.emit(attributes=3, body="x")  # type: ignore[call-overload]
    logger.emit(nonsense=True)  # type: ignore[call-overload]
    assert emitter.ledger().dropped == {("log", "internal_error"): 2}
