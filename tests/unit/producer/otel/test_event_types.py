from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from opentelemetry.metrics import Meter
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from producer.emitter import Emitter
from producer.otel.event_types import MAX_TYPES, contract_name
from tests.unit.producer.otel.emitted import FIRST, declared, rows


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
    ("value", "text"), [("rye", "rye"), (7, "7"), (True, "true"), (("a", 1), '["a", 1]'), (None, "null")]
)
def test_labels_are_texts(emitter: Emitter, meter: Meter, value: Any, text: str) -> None:
    meter.create_counter("bakery.loaves").add(1, {"kind": value})
    assert rows(emitter) == [(FIRST, text, 1)]


@pytest.mark.parametrize(
    ("given", "name"), [("HTTP-Requests/s", "http_requests_s"), ("9lives", "x9lives"), ("a.b_c", "a.b_c"), ("é", "x_")]
)
def test_names_become_those_of_the_contract(given: str, name: str) -> None:
    assert contract_name(given, 64) == name


def test_of_attributes_with_one_name_in_the_contract_one_stays(emitter: Emitter, meter: Meter) -> None:
    meter.create_counter("bakery.loaves").add(1, {"oven-name": "left", "oven_name": "right"})
    assert rows(emitter) == [(FIRST, "left", 1)]


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
    traces = [row[2] for row in emitter.spool.queue.after(0, 99).rows]
    assert traces == [bytes(15) + b"\xa1" + bytes(7) + b"\xb2" + b"\x01", None]


def test_names_of_attributes_that_are_no_texts_become_texts(emitter: Emitter, meter: Meter) -> None:
    loaves = meter.create_counter("bakery.loaves")
    loaves.add(1, {1: "a", "b": {1: "c", "d": 2}})  # type: ignore[dict-item]
    loaves.add(2, {"1": "e", "b": "f"})
    assert rows(emitter) == [(FIRST, "a", '{"1": "c", "d": 2}', 1), (FIRST, "e", "f", 2)]
    assert declared(emitter)[0][3] == ("x1", "b")


@pytest.mark.parametrize(
    "amount", [np.float64(2.5), np.float32(2.5), Decimal("2.5")], ids=["float64", "float32", "decimal"]
)
def test_amounts_of_other_kinds_are_numbers(emitter: Emitter, meter: Meter, amount: Any) -> None:
    meter.create_histogram("bakery.heat").record(amount, {"kind": np.str_("rye")})
    assert rows(emitter) == [(FIRST, "rye", 2.5)]


@pytest.mark.parametrize("amount", ["2", None, np.array([1.0, 2.0])], ids=["text", "none", "array"])
def test_what_is_no_amount_is_counted_never_raised(emitter: Emitter, meter: Meter, amount: Any) -> None:
    meter.create_counter("bakery.loaves").add(amount)
    assert emitter.ledger().dropped == {("bakery.loaves", "wrong_type"): 1}


def test_attributes_that_are_none_are_counted_never_raised(emitter: Emitter, meter: Meter) -> None:
    meter.create_counter("bakery.loaves").add(1, 3)  # type: ignore[arg-type]
    assert emitter.ledger().dropped == {("bakery.loaves", "internal_error"): 1}


@pytest.mark.parametrize(
    ("given", "shown"), [("up", "app.up"), ("telemetry.sdk", "app.telemetry.sdk"), ("upper", "upper")]
)
def test_names_of_prometheus_and_the_sidecar_get_a_word_before_them(
    emitter: Emitter, meter: Meter, given: str, shown: str
) -> None:
    meter.create_counter(given).add(1)
    assert declared(emitter)[0][0] == shown
