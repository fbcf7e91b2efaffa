from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from producer.declare import Catalogue
from producer.emitter import Emitter
from producer.settings import ProducerSettings
from producer.stdlib_logging import LOG_EVENTS, EmittingHandler
from tests.unit.producer.otel.emitted import DEBUG, ERROR, FATAL, INFO, WARN, rows


@pytest.fixture
def emitter(tmp_path: Path) -> Iterator[Emitter]:
    settings = ProducerSettings(producer_id="bakery", spool_directory=tmp_path, strict=True)
    made = Emitter(settings, catalogue=Catalogue(LOG_EVENTS), clock=lambda: 7)
    yield made
    made.close()


@pytest.fixture
def log(emitter: Emitter) -> Iterator[logging.Logger]:
    made = logging.getLogger("bakery.test")
    handler = EmittingHandler(emitter.emit)
    made.addHandler(handler)
    made.setLevel(logging.DEBUG)
    made.propagate = False
    yield made
    made.handlers.clear()


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

    log.handlers[0] = EmittingHandler(emit)
    log.info("outer")
    assert [event[1] for event in seen] == ["outer"]


@pytest.mark.parametrize(
    "extra",
    [
        {"codes": {200: 1, "other": 2}},
        {"pairs": {("EUR", "USD"): 1.1}},
        {"p": {None: 1, "b": 2}},
        {"not": {"finite": float("nan")}},
    ],
    ids=["mixed", "pairs", "none", "nan"],
)
def test_no_line_is_lost_for_what_stands_beside_it(
    emitter: Emitter, log: logging.Logger, capsys: pytest.CaptureFixture[str], extra: dict[str, Any]
) -> None:
    log.warning("kept", extra=extra)
    (row,) = rows(emitter)
    assert row[2] == "kept"
    json.loads(row[4])
    assert capsys.readouterr().err == ""


def test_a_line_whose_arguments_do_not_fit_is_kept(emitter: Emitter) -> None:
    EmittingHandler(emitter.emit).emit(
        logging.makeLogRecord({"name": "a", "levelno": 20, "msg": "loaf %d", "args": ("rye",)})
    )
    assert [row[2] for row in rows(emitter)] == ["loaf %d ('rye',)"]


def test_the_stack_of_a_line_comes_along(emitter: Emitter, log: logging.Logger) -> None:
    log.warning("here", stack_info=True)
    (row,) = rows(emitter)
    assert json.loads(row[4])["stack_info"].startswith("Stack (most recent call last)")


def test_a_line_that_waited_in_a_queue_keeps_its_time(emitter: Emitter) -> None:
    handler = EmittingHandler(emitter.emit, emit_at=emitter.emit_at)
    record = logging.makeLogRecord(
        {"name": "bakery", "levelno": logging.INFO, "msg": "old", "created": 1_577_836_800.5}
    )
    handler.emit(record)
    assert [row[1] for row in emitter.spool.queue.after(0, 9).rows] == [1_577_836_800_500_000_000]
