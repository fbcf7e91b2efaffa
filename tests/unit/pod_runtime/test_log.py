from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from pod_runtime.log import JsonFormatter
from producer.trace import current_trace, parse_traceparent, trace_fields

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def output() -> Iterator[io.StringIO]:
    """What the logger `tests.line` prints, as the broker's process formats it."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter("broker", trace_fields))
    logger = logging.getLogger("tests.line")
    logger.addHandler(handler)
    logger.setLevel("INFO")
    yield stream
    logger.removeHandler(handler)


def test_a_line_within_a_trace_has_its_ids(output: io.StringIO) -> None:
    token = current_trace.set(parse_traceparent(TRACEPARENT))
    logging.getLogger("tests.line").info("order_taken", extra={"order_id": "7"})
    current_trace.reset(token)
    line = json.loads(output.getvalue())
    assert (line["event"], line["order_id"], line["service"]) == ("order_taken", "7", "broker")
    assert (line["trace_id"], line["span_id"]) == ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")


def test_a_line_outside_a_trace_has_none(output: io.StringIO) -> None:
    logging.getLogger("tests.line").warning("price_stale")
    assert json.loads(output.getvalue()).keys() == {"timestamp", "severity", "event", "service", "logger"}


def test_a_text_with_line_ends_is_one_line_that_reads_back(output: io.StringIO) -> None:
    text = 'x"}\n{"event": "forged"}\r\u2028\x1b[2J'
    logging.getLogger("tests.line").warning("order_taken", extra={"order_id": text})
    assert output.getvalue().count("\n") == 1
    assert "\x1b" not in output.getvalue()
    assert json.loads(output.getvalue())["order_id"] == text
