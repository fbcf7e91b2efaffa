from __future__ import annotations

from opentelemetry._logs import LogRecord, SeverityNumber

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
