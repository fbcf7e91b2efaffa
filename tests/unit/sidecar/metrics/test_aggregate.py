from __future__ import annotations

import math

import pytest

from sidecar.journal.segment import event_type
from sidecar.metrics.aggregate import OVERFLOW, Aggregate, SeriesLimits
from sidecar.telemetry.model import Distribution, Exemplar, Number, Session
from telemetry_contract.v1 import telemetry_pb2 as pb
from tests.unit.sidecar.batches import TIME_NS, batch, order_define, orders, sample_define, samples

BROKER = Session(producer_id="broker", session_id="s1")
NEXT = Session(producer_id="broker", session_id="s2")


def started(limit: SeriesLimits | None = None) -> Aggregate:
    aggregate = Aggregate(limit)
    aggregate.begin(BROKER)
    for define in (order_define(), sample_define()):
        assert aggregate.define(1, BROKER, event_type(define), recovery=False) == ()
    return aggregate


def points(aggregate: Aggregate, name: str) -> dict[tuple[str, ...], Number | Distribution]:
    return {
        tuple(value for _, value in point.labels): point
        for producer in aggregate.snapshot(TIME_NS).producers
        for family in producer.families
        if family.name == name
        for point in family.points
    }


def test_a_counter_counts_by_label() -> None:
    aggregate = started()
    rows = [("filled", "buy", 0.5, "1"), ("new", "buy", 0.5, "2"), ("filled", "sell", 0.5, "3")]
    aggregate.apply(1, batch(1, orders(rows)), 10)
    aggregate.apply(1, batch(4, orders(rows[:1])), 20)
    assert points(aggregate, "broker.orders") == {
        ("filled", "oanda"): Number((("status", "filled"), ("broker", "oanda")), 10, 20, 3),
        ("new", "oanda"): Number((("status", "new"), ("broker", "oanda")), 10, 10, 1),
    }


def test_a_value_at_a_bound_lies_in_the_bucket_below_it() -> None:
    aggregate = started()
    rows = [("filled", "buy", value, "1") for value in (0.05, 0.1, 0.2, 0.5, 1.0, 1.5, 9.0)]
    aggregate.apply(1, batch(1, orders(rows)), 10)
    (point,) = points(aggregate, "broker.order.duration").values()
    assert isinstance(point, Distribution)
    assert point.buckets == (2, 2, 1, 2)
    assert (point.count, point.sum) == (7, 12.35)


def test_a_gauge_keeps_the_highest_sequence_whatever_the_clock_says() -> None:
    aggregate = started()
    first = samples([("rest", 1), ("rest", 0)])
    first.time_offsets_nano[:] = [5, -5]
    aggregate.apply(1, batch(1, first), 10)
    assert points(aggregate, "connection.status") == {("rest",): Number((("channel", "rest"),), 10, TIME_NS - 5, 0)}


def test_an_up_down_counter_falls() -> None:
    aggregate = started()
    aggregate.apply(1, batch(1, samples([("rest", 3), ("rest", -1)])), 10)
    assert points(aggregate, "connections")[()].value == 2  # type: ignore[union-attr] # a number


def test_a_new_session_ends_the_gauges_of_the_one_before() -> None:
    aggregate = started()
    aggregate.apply(1, batch(1, orders([("filled", "buy", 0.5, "1")])), 10)
    aggregate.apply(1, batch(2, samples([("rest", 1)])), 10)
    aggregate.begin(NEXT)
    assert points(aggregate, "connection.status") == {}
    assert points(aggregate, "connections") == {}
    assert points(aggregate, "broker.orders") != {}


def test_a_session_that_goes_on_keeps_its_gauges() -> None:
    aggregate = started()
    aggregate.apply(1, batch(1, samples([("rest", 1)])), 10)
    aggregate.begin(BROKER)
    assert points(aggregate, "connection.status") != {}


def test_an_absent_measure_makes_no_measurement_and_an_absent_label_is_empty() -> None:
    aggregate = started()
    group = orders([("filled", "buy", 0.5, "1"), ("filled", "buy", 0.7, "2"), ("new", "buy", 0.9, "3")])
    group.columns[0].absent.append(1)
    group.columns[2].absent.append(2)
    aggregate.apply(1, batch(1, group), 10)
    assert {key[0] for key in points(aggregate, "broker.orders")} == {"filled", "", "new"}
    assert set(points(aggregate, "broker.order.duration")) == {("buy", "filled"), ("buy", "")}


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_refused_and_counted_and_the_rest_is_taken(bad: float) -> None:
    aggregate = started()
    rows = [("filled", "buy", 0.5, "1"), ("filled", "buy", bad, "2")]
    aggregate.apply(1, batch(1, orders(rows)), 10)
    (point,) = points(aggregate, "broker.order.duration").values()
    assert isinstance(point, Distribution)
    assert (point.count, point.sum) == (1, 0.5)
    assert aggregate.refused == {("broker", "broker.order.duration", "bad_number"): 1}


def test_a_negative_increment_of_a_counter_is_refused() -> None:
    define = sample_define()
    define.instruments[1].kind = pb.INSTRUMENT_KIND_COUNTER
    aggregate = Aggregate()
    aggregate.begin(BROKER)
    aggregate.define(1, BROKER, event_type(define), recovery=False)
    aggregate.apply(1, batch(1, samples([("rest", 3), ("rest", -1)])), 10)
    assert points(aggregate, "connections")[()].value == 3  # type: ignore[union-attr] # a number
    assert aggregate.refused == {("broker", "connections", "bad_number"): 1}


def test_only_when_measures_the_events_with_the_wanted_label() -> None:
    define = order_define()
    define.instruments[0].only_when["side"] = "buy"
    aggregate = Aggregate()
    aggregate.begin(BROKER)
    aggregate.define(1, BROKER, event_type(define), recovery=False)
    aggregate.apply(1, batch(1, orders([("filled", "buy", 1, "1"), ("filled", "sell", 1, "2")])), 10)
    assert points(aggregate, "broker.orders")["filled", "oanda"].value == 1  # type: ignore[union-attr] # a number


def test_a_constant_label_of_one_event_and_a_value_of_another_are_one_series() -> None:
    bringing, fixed = order_define(), order_define(event_id=7, name="order.filled")
    del fixed.instruments[0].labels[:]
    fixed.instruments[0].constant_labels["status"] = "filled"
    aggregate = Aggregate()
    aggregate.begin(BROKER)
    for define in (bringing, fixed):
        aggregate.define(1, BROKER, event_type(define), recovery=False)
    one, other = (orders([("filled", "buy", 1, "1")]) for _ in range(2))
    other.event_id = 7
    aggregate.apply(1, pb.Batch(first_sequence=1, count=2, groups=[one, other]), 10)
    (point,) = points(aggregate, "broker.orders").values()
    assert point.value == 2  # type: ignore[union-attr] # a number


def test_more_series_than_the_limit_overflow_into_one_and_are_counted() -> None:
    aggregate = started(SeriesLimits(instrument=2))
    rows = [(f"status{number}", "buy", 0.5, "1") for number in range(5)]
    aggregate.apply(1, batch(1, orders(rows)), 10)
    found = points(aggregate, "broker.orders")
    assert len(found) == 3
    assert found["true",] == Number(OVERFLOW, 10, 10, 3)
    assert aggregate.overflow["broker", "broker.orders"] == 3


def test_an_idle_series_is_forgotten_and_its_place_is_free_again() -> None:
    aggregate = started(SeriesLimits(instrument=1))
    aggregate.apply(1, batch(1, orders([("old", "buy", 0.5, "1")])), 10)
    assert not aggregate.has_idle(110, 100)
    assert aggregate.has_idle(111, 100)
    assert aggregate.expire(111, 100) == 2
    aggregate.apply(1, batch(2, orders([("new", "buy", 0.5, "1")])), 120)
    assert points(aggregate, "broker.orders") == {
        ("new", "oanda"): Number((("status", "new"), ("broker", "oanda")), 120, 120, 1)
    }


def test_a_definition_that_differs_is_refused_within_a_session() -> None:
    aggregate = started()
    other = order_define(7, name="other")
    other.instruments[1].bounds[:] = [1.0]
    assert aggregate.define(1, BROKER, event_type(other), recovery=False) == ("broker.order.duration",)
    group = orders([("filled", "buy", 0.5, "1")])
    group.event_id = 7
    aggregate.apply(1, batch(1, group), 10)
    assert points(aggregate, "broker.order.duration") == {}
    assert aggregate.refused == {("broker", "broker.order.duration", "definition_conflict"): 1}
    assert points(aggregate, "broker.orders") != {}


def test_a_newer_sessions_definition_takes_the_place_of_the_older_ones() -> None:
    aggregate = started()
    aggregate.apply(1, batch(1, orders([("filled", "buy", 0.5, "1")])), 10)
    other = order_define()
    other.instruments[1].bounds[:] = [1.0]
    aggregate.begin(NEXT)
    assert aggregate.define(2, NEXT, event_type(other), recovery=False) == ()
    aggregate.apply(2, batch(1, orders([("filled", "buy", 0.5, "1")])), 20)
    (point,) = points(aggregate, "broker.order.duration").values()
    assert isinstance(point, Distribution)
    assert (point.buckets, point.start_ns) == ((1, 0), 20)
    assert points(aggregate, "broker.orders")["filled", "oanda"].value == 2  # type: ignore[union-attr] # a number


def test_two_types_that_name_labels_in_another_order_feed_the_same_series() -> None:
    aggregate = started()
    other = order_define(7, name="other")
    other.instruments[1].labels[:] = ["status", "side"]
    assert aggregate.define(1, BROKER, event_type(other), recovery=False) == ()
    group = orders([("filled", "buy", 0.5, "1")])
    aggregate.apply(1, batch(1, group), 10)
    group.event_id = 7
    aggregate.apply(1, batch(2, group), 10)
    (point,) = points(aggregate, "broker.order.duration").values()
    assert isinstance(point, Distribution)
    assert point.count == 2


def test_a_sampled_trace_becomes_an_exemplar_of_its_bucket() -> None:
    aggregate = started()
    group = orders([("filled", "buy", 0.05, "1"), ("filled", "buy", 5.0, "2")])
    group.trace.trace_ids = bytes(16) + b"t" * 16
    group.trace.span_ids = bytes(8) + b"s" * 8
    group.trace.flags = b"\x00\x01"
    aggregate.apply(1, batch(1, group), 10)
    (point,) = points(aggregate, "broker.order.duration").values()
    assert isinstance(point, Distribution)
    assert point.exemplars == (None, None, None, Exemplar(5.0, TIME_NS + 1, b"t" * 16, b"s" * 8))


def test_a_trace_that_is_not_sampled_leaves_no_exemplar() -> None:
    aggregate = started()
    group = orders([("filled", "buy", 0.05, "1")])
    group.trace.trace_ids, group.trace.span_ids, group.trace.flags = b"t" * 16, b"s" * 8, b"\x00"
    aggregate.apply(1, batch(1, group), 10)
    (point,) = points(aggregate, "broker.order.duration").values()
    assert isinstance(point, Distribution)
    assert point.exemplars == ()


def test_a_snapshot_does_not_change_and_shares_what_has_not_changed() -> None:
    aggregate = started()
    aggregate.apply(1, batch(1, orders([("filled", "buy", 0.5, "1")])), 10)
    before = aggregate.snapshot(20)
    kept = repr(before)
    aggregate.apply(1, batch(2, samples([("rest", 1)])), 30)
    after = aggregate.snapshot(40)
    assert repr(before) == kept
    assert after.producers[0].families[:2] == before.producers[0].families
    assert after.producers[0].families[1] is before.producers[0].families[1]


def test_a_clock_that_was_set_back_makes_no_series_begin_after_its_snapshot() -> None:
    aggregate = started()
    aggregate.apply(1, batch(1, orders([("filled", "buy", 0.5, "1")])), 1000)
    families = aggregate.snapshot(400).producers[0].families
    assert [point.start_ns for family in families for point in family.points] == [400, 400]


def test_a_label_that_is_a_text_overflows() -> None:
    aggregate = started()
    aggregate.apply(1, batch(1, orders([("s" * 1025, "buy", 0.5, "1"), ("s" * 1024, "buy", 0.5, "1")])), 10)
    assert {key[0][:4] for key in points(aggregate, "broker.orders")} == {"true", "ssss"}


def observed(*places: int) -> Aggregate:
    """An aggregate with two channels of a gauge that ends where a sample has no value, after samples of both."""
    aggregate = Aggregate()
    aggregate.begin(BROKER)
    define = sample_define()
    for instrument in define.instruments:
        instrument.absent_ends = True
    assert aggregate.define(1, BROKER, event_type(define), recovery=False) == ()
    aggregate.apply(1, batch(1, samples([("rest", 1), ("stream", 2)])), 10)
    again = samples([("rest", 3), ("rest", 4)])
    again.columns[1].absent.extend(places)
    aggregate.apply(1, batch(3, again), 20)
    return aggregate


@pytest.mark.parametrize(
    ("places", "left"),
    [((1,), {"stream": 2}), ((0, 1), {"stream": 2}), ((0,), {"rest": 4, "stream": 2}), ((), {"rest": 4, "stream": 2})],
    ids=["last", "all", "first", "none"],
)
def test_a_series_whose_last_event_has_no_value_leaves_where_its_instrument_says_so(
    places: tuple[int, ...], left: dict[str, float]
) -> None:
    aggregate = observed(*places)
    found = points(aggregate, "connection.status")
    assert {channel: point.value for (channel,), point in found.items()} == left  # type: ignore[union-attr] # numbers
    # The other instrument of the event, which has no labels, ends with it.
    assert (points(aggregate, "connections") == {}) is (1 in places)


def test_a_series_that_left_begins_anew() -> None:
    aggregate = observed(1)
    aggregate.apply(1, batch(5, samples([("rest", 7)])), 30)
    point = points(aggregate, "connection.status")[("rest",)]
    assert (point.start_ns, point.value) == (30, 7)  # type: ignore[union-attr] # a number
    assert aggregate.series_count() == {"broker": 3}


def test_an_event_without_a_value_ends_no_series_of_other_instruments() -> None:
    aggregate = started()
    again = samples([("rest", 3), ("rest", 4)])
    again.columns[1].absent.append(1)
    aggregate.apply(1, batch(1, again), 20)
    assert points(aggregate, "connection.status")[("rest",)].value == 3  # type: ignore[union-attr] # a number
