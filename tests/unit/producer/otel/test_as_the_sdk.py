"""The front beside the SDK: random calls of the API give both the same to tell."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.prometheus import _CustomCollector
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from producer.declare import Catalogue
from producer.emitter import Emitter
from producer.otel.logs import EventLoggerProvider
from producer.otel.metrics import EventMeterProvider
from producer.settings import ProducerSettings
from producer.stdlib_logging import LOG_EVENTS

# Texts that a page and a log record can hold; NUL and lone surrogates have tests of their own.
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
NAMES = st.from_regex(r"[a-z][a-z0-9_.]{0,10}", fullmatch=True)
SCALARS = TEXTS | st.booleans() | st.integers(-(1 << 53), 1 << 53) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = SCALARS | st.lists(SCALARS, max_size=4)
ATTRIBUTES = st.dictionaries(NAMES, VALUES, max_size=4)
ANY_VALUE = st.recursive(
    SCALARS | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS.filter(bool), inner, max_size=3),
)
AMOUNTS = st.integers(0, 1 << 53) | st.floats(0, 1e9, allow_nan=False)


def emitter_in(place: str) -> Emitter:
    settings = ProducerSettings(producer_id="bakery", spool_directory=Path(place), strict=True)
    return Emitter(settings, catalogue=Catalogue(LOG_EVENTS), clock=lambda: 7)


def as_sdk_tells(value: Any) -> Any:
    """The SDK's value as JSON gives it back: tuples are lists."""
    return json.loads(json.dumps(value, default=dict))


@given(AMOUNTS, ATTRIBUTES)
def test_a_measurement_has_the_amount_and_the_labels_that_the_sdk_gives_it(
    amount: float, attributes: Mapping[str, Any]
) -> None:
    reader = InMemoryMetricReader()
    sdk = MeterProvider([reader], shutdown_on_exit=False)
    sdk.get_meter("m").create_counter("loaves").add(amount, attributes)
    found = reader.get_metrics_data()
    assert found is not None
    (point,) = found.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points
    sdk.shutdown()
    text: Callable[[Any], str] = _CustomCollector(disable_target_info=True)._check_value
    with tempfile.TemporaryDirectory() as place:
        emitter = emitter_in(place)
        EventMeterProvider(emitter).get_meter("m").create_counter("loaves").add(amount, attributes)
        (row,) = emitter.spool.queue.after(0, 9).rows
        labels = emitter.spool.queue.meta.defines[-1].instruments[0].labels
        emitter.close()
    assert row[-1] == point.value  # type: ignore[union-attr]
    assert dict(zip(labels, row[3:-1], strict=True)) == {
        key: text(value) for key, value in (point.attributes or {}).items()
    }


@given(
    ANY_VALUE, st.dictionaries(NAMES, ANY_VALUE, max_size=3), st.integers(1, 1 << 60), st.sampled_from(SeverityNumber)
)
def test_a_log_record_tells_what_the_sdk_exports(
    body: Any, attributes: Mapping[str, Any], timestamp: int, severity: SeverityNumber
) -> None:
    exporter = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]
    sdk = LoggerProvider(shutdown_on_exit=False)
    sdk.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    record = LogRecord(timestamp=timestamp, severity_number=severity, body=body, attributes=attributes)
    sdk.get_logger("l").emit(record)
    (exported,) = exporter.get_finished_logs()
    sdk.shutdown()
    with tempfile.TemporaryDirectory() as place:
        emitter = emitter_in(place)
        EventLoggerProvider(emitter).get_logger("l").emit(record)
        (row,) = emitter.spool.queue.after(0, 9).rows
        emitter.close()
    log_record = exported.log_record
    told = "" if body is None else body if isinstance(body, str) else as_sdk_tells(body)
    assert (row[4] if isinstance(told, str) else json.loads(row[4])) == told
    assert json.loads(row[6] or "{}") == as_sdk_tells(dict(log_record.attributes or {}))
    assert row[1] == log_record.timestamp
