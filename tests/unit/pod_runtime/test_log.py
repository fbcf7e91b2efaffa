from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from pod_runtime.log import JsonFormatter, LineHandler
from producer.trace import current_trace, parse_traceparent, trace_fields

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def output() -> Iterator[io.StringIO]:
    """Line of the logger `tests.line`, as the broker's process formats it."""
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


class FullFile(io.RawIOBase):
    """A file on a volume with `room` bytes left."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room
        self.content = b""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        if not self.room:
            raise OSError(28, "No space left on device")
        taken = bytes(data[: self.room])
        self.room -= len(taken)
        self.content += taken
        return len(taken)


def lines(file: FullFile, *messages: str) -> LineHandler:
    handler = LineHandler(io.TextIOWrapper(io.BufferedWriter(file)))
    handler.setFormatter(logging.Formatter("%(message)s"))
    for message in messages:
        handler.handle(logging.makeLogRecord({"msg": message}))
    return handler


def test_lines_that_a_full_volume_does_not_take_are_counted_in_silence(capfd: pytest.CaptureFixture[str]) -> None:
    handler = lines(FullFile(room=0), "one", "two", "three")
    assert handler.lost == 3
    assert capfd.readouterr() == ("", "")


def test_the_first_line_that_is_taken_again_is_followed_by_their_number() -> None:
    file = FullFile(room=0)
    handler = lines(file, "one", "two")
    file.room = 1000
    handler.handle(logging.makeLogRecord({"msg": "three"}))
    assert file.content == b"three\nlog lines lost\n"
    assert handler.lost == 0


def test_a_line_that_was_cut_does_not_spoil_the_next_one() -> None:
    file = FullFile(room=2)
    handler = lines(file, "one")
    file.room = 1000
    handler.handle(logging.makeLogRecord({"msg": "two"}))
    assert file.content.splitlines() == [b"on", b"two", b"log lines lost"]


def test_a_text_with_line_ends_is_one_line_that_reads_back(output: io.StringIO) -> None:
    text = 'x"}\n{"event": "forged"}\r\u2028\x1b[2J'
    logging.getLogger("tests.line").warning("order_taken", extra={"order_id": text})
    assert output.getvalue().count("\n") == 1
    assert "\x1b" not in output.getvalue()
    assert json.loads(output.getvalue())["order_id"] == text
