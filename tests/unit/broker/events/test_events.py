from __future__ import annotations

import inspect

import pytest

from broker.events import CATALOGUE, orders, process, venue
from producer.declare import Counter
from telemetry_contract.v1 import telemetry_pb2 as pb
from tools.reference.events import PLACE, document, exposed, main

RESERVED = {
    "broker.order.transition",
    "broker.order.filled",
    "broker.order.refused",
    "broker.order.cancelled",
    "broker.trading.state_changed",
    "broker.mass_action",
}


def test_every_event_is_declared() -> None:
    found = [item for module in (orders, venue, process) for item in vars(module).values()]
    types = {item for item in found if inspect.isclass(item) and hasattr(item, "_fields")}
    assert {event.type for event in CATALOGUE.events} == types


def test_orders_fills_and_refusals_are_reserved() -> None:
    assert {event.name for event in CATALOGUE.events if event.reserved} == RESERVED


def test_ids_and_texts_are_never_labels() -> None:
    unbounded = {"order_id", "client_order_id", "venue_order_id", "transaction_id", "message", "price", "request_id"}
    assert not {label for event in CATALOGUE.events for label in event.labels} & unbounded


def test_a_transition_counts_statuses_and_times_answers() -> None:
    define = CATALOGUE.defines({"broker": "oanda"})[0]
    counter, histogram = define.instruments
    assert (counter.name, counter.unit, list(counter.labels)) == ("broker.orders", "{order}", ["status"])
    assert (histogram.name, histogram.measure, histogram.unit) == ("broker.order.duration", "duration_s", "s")
    assert histogram.kind == pb.INSTRUMENT_KIND_HISTOGRAM
    assert (min(histogram.bounds), max(histogram.bounds)) == (0.01, 30.0)


def test_metrics_have_the_names_that_dashboards_hold_on_to() -> None:
    names = {exposed(item) for event in CATALOGUE.events for item in event.instruments}
    assert {
        "broker_orders_total",
        "broker_order_duration_seconds",
        "broker_slippage_pips",
        "broker_orders_unknown",
        "broker_connection_status",
        "broker_reconcile_last_success_timestamp_seconds",
        "broker_http_429_total",
    } <= names


def test_every_counter_of_a_closed_set_begins_at_zero() -> None:
    open_sets = {"broker.api.requests", "broker.http.requests"}  # as many as there are operations, routes and statuses
    counters = [item for event in CATALOGUE.events for item in event.instruments if isinstance(item, Counter)]
    assert {item.name for item in counters if not item.presets} == open_sets


def test_the_page_says_every_metric_and_event() -> None:
    page = document(CATALOGUE)
    for event in CATALOGUE.events:
        assert f"### `{event.name}`" in page
        for item in event.instruments:
            assert f"| `{item.name}` | `{exposed(item)}` |" in page


def test_the_page_is_as_the_declarations_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert PLACE.read_text(encoding="utf-8") == document(CATALOGUE)
    assert main(["--check"]) == 0


def test_a_page_that_differs_is_named(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(str(tmp_path))
    assert main(["--check"]) == 1
    assert "docs/telemetry.md differs" in capsys.readouterr().err
