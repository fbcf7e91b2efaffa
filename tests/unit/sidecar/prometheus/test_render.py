from __future__ import annotations

import re
from collections import Counter

import pytest
from hypothesis import given
from prometheus_client.parser import text_string_to_metric_families as parse_text

from sidecar.prometheus.names import MetricNames
from sidecar.prometheus.render import Exposition, Format, negotiate
from sidecar.telemetry.model import Number, Snapshot
from tests.unit.sidecar.snapshots import (
    NOW,
    START,
    counter,
    family,
    gauge,
    histogram,
    parse_openmetrics,
    snapshot,
    snapshots,
)


def page(snapshot_: Snapshot, format_: Format = Format.TEXT) -> str:
    return "".join(Exposition(format_, MetricNames()).chunks(snapshot_))


def test_a_counter_in_the_text_format() -> None:
    assert page(snapshot(broker=[counter()])) == (
        "# HELP broker_orders_total About broker.orders\n"
        "# TYPE broker_orders_total counter\n"
        'broker_orders_total{status="filled",producer="broker"} 7\n'
    )


def test_a_counter_in_openmetrics_has_its_exemplar_and_when_it_began() -> None:
    assert page(snapshot(broker=[counter()]), Format.OPENMETRICS) == (
        "# HELP broker_orders About broker.orders\n"
        "# TYPE broker_orders counter\n"
        'broker_orders_total{status="filled",producer="broker"} 7'
        ' # {trace_id="000102030405060708090a0b0c0d0e0f",span_id="0001020304050607"} 0.25 1699999999.000000000\n'
        'broker_orders_created{status="filled",producer="broker"} 1699999940.000000000\n'
    )


def test_a_histogram_in_the_text_format_has_cumulated_buckets() -> None:
    assert page(snapshot(broker=[histogram()])) == (
        "# HELP broker_order_duration_seconds About broker.order.duration\n"
        "# TYPE broker_order_duration_seconds histogram\n"
        'broker_order_duration_seconds_bucket{producer="broker",le="0.1"} 1\n'
        'broker_order_duration_seconds_bucket{producer="broker",le="1.0"} 3\n'
        'broker_order_duration_seconds_bucket{producer="broker",le="+Inf"} 6\n'
        'broker_order_duration_seconds_sum{producer="broker"} 4.5\n'
        'broker_order_duration_seconds_count{producer="broker"} 6\n'
    )


def test_a_histogram_in_openmetrics_names_its_unit() -> None:
    text = page(snapshot(broker=[histogram()]), Format.OPENMETRICS)
    assert "# UNIT broker_order_duration_seconds seconds\n" in text
    assert 'le="0.1"} 1 # {trace_id="000102030405060708090a0b0c0d0e0f"' in text
    assert 'broker_order_duration_seconds_created{producer="broker"} 1699999940.000000000\n' in text


def test_a_histogram_below_zero_keeps_its_series_in_openmetrics_which_allows_it_no_sum() -> None:
    both = snapshot(broker=[histogram("broker.slippage", bounds=(-1.0, 0.0), unit="")])
    series = {
        (s.name, s.labels.get("le")): s.value
        for f in parse_openmetrics(page(both, Format.OPENMETRICS) + "# EOF\n")
        for s in f.samples
    }
    assert series == {(s.name, s.labels.get("le")): s.value for f in parse_text(page(both)) for s in f.samples}
    assert series["broker_slippage_sum", None] == 4.5


def test_labels_and_help_are_escaped() -> None:
    odd = family("a", 3, "", (Number((("why", 'a"b\\c\nd'),), START, NOW, 1.5),), description='x\\y\n"z"')
    assert page(snapshot(p=[odd])) == (
        '# HELP a x\\\\y\\n"z"\n# TYPE a gauge\na{why="a\\"b\\\\c\\nd",producer="p"} 1.5\n'
    )


def test_a_percent_sign_in_a_label_is_only_text() -> None:
    text = page(snapshot(p=[counter(labels=(("ratio", "50%s %d"),))]), Format.OPENMETRICS)
    assert 'broker_orders_total{ratio="50%s %d",producer="p"} 7' in text


def test_an_instrument_without_a_description_still_has_help() -> None:
    assert page(snapshot(p=[family("a", 3, "", (Number((), START, NOW, 1),), description="")])).startswith(
        "# HELP a a\n"
    )


def test_a_producers_own_producer_label_is_exported() -> None:
    text = page(snapshot(p=[gauge("a", 1, (("producer", "other"),))]))
    assert 'a{exported_producer="other",producer="p"} 1\n' in text


def test_one_instrument_of_two_producers_is_one_family() -> None:
    text = page(snapshot(p=[counter()], q=[counter(value=8)]))
    assert text.count("# TYPE broker_orders_total counter") == 1
    assert 'producer="p"} 7\n' in text
    assert 'producer="q"} 8\n' in text


def test_two_instruments_with_one_prometheus_name_both_stand() -> None:
    text = page(snapshot(p=[gauge("a.b", 1), gauge("a_b", 2), counter("a.b", 3, ()), histogram("a.b", unit="")]))
    found = {sample.name: sample.value for each in parse_text(text) for sample in each.samples}
    assert found["a_b"] == 1
    assert found["a_b_2"] == 2
    assert found["a_b_3_total"] == 3
    assert found["a_b_4_count"] == 6


def test_who_came_first_keeps_the_name() -> None:
    exposition = Exposition(Format.TEXT, MetricNames())
    "".join(exposition.chunks(snapshot(p=[gauge("a_b", 2)])))
    text = "".join(exposition.chunks(snapshot(p=[gauge("a.b", 1), gauge("a_b", 2)])))
    assert 'a_b{producer="p"} 2\n' in text
    assert 'a_b_2{producer="p"} 1\n' in text


def test_series_that_prometheus_could_not_tell_apart_are_numbered() -> None:
    points = (Number((("x", ""),), START, NOW, 1), Number((), START, NOW, 2))
    text = page(snapshot(p=[family("a", 3, "", points)]))
    assert 'a{x="",producer="p"} 1\n' in text
    assert 'a{otel_series="2",producer="p"} 2\n' in text


def test_a_page_shows_what_changed_and_forgets_what_is_gone() -> None:
    exposition = Exposition(Format.TEXT, MetricNames())
    first = "".join(exposition.chunks(snapshot(p=[counter(value=1), gauge("b", 1)])))
    second = "".join(exposition.chunks(snapshot(p=[counter(value=2)])))
    assert 'producer="p"} 1\n' in first
    assert second.splitlines()[2:] == ['broker_orders_total{status="filled",producer="p"} 2']


def test_infinite_gauges_are_written_as_prometheus_reads_them() -> None:
    text = page(snapshot(p=[gauge("a", float("inf")), gauge("b", float("-inf")), gauge("c", float("nan"))]))
    assert re.findall(r"\} (.*)", text) == ["+Inf", "-Inf", "NaN"]


@given(snapshots)
def test_any_snapshot_is_a_page_that_both_parsers_read_with_every_series_once(given_: Snapshot) -> None:
    names = MetricNames()
    text = "".join(Exposition(Format.TEXT, names).chunks(given_))
    opened = "".join(Exposition(Format.OPENMETRICS, names).chunks(given_)) + "# EOF\n"
    read_text = [sample for each in parse_text(text) for sample in each.samples]
    read_open = [
        sample for each in parse_openmetrics(opened) for sample in each.samples if not sample.name.endswith("_created")
    ]
    for samples in (read_text, read_open):
        identities = Counter(
            (sample.name, frozenset(item for item in sample.labels.items() if item[1])) for sample in samples
        )
        assert set(identities.values()) <= {1}
    assert {(s.name, frozenset(s.labels.items())): s.value for s in read_text} == {
        (s.name, frozenset(s.labels.items())): s.value for s in read_open
    }
    wanted = sum(
        len(each.bounds) + 3 if each.kind == 4 else 1
        for producer in given_.producers
        for each in producer.families
        for _ in each.points
    )
    assert len(read_text) == wanted


@pytest.mark.parametrize(
    ("accept", "format_"),
    [
        ("", Format.TEXT),
        ("*/*", Format.TEXT),
        ("text/plain;version=0.0.4", Format.TEXT),
        ("application/json", Format.TEXT),
        ("application/openmetrics-text", Format.OPENMETRICS),
        ("application/openmetrics-text; version=1.0.0; q=0.75, text/plain;q=0.5, */*;q=0.1", Format.OPENMETRICS),
        ("application/openmetrics-text;version=1.0.0;q=0.2,text/plain;version=0.0.4;q=0.3", Format.TEXT),
        ("application/openmetrics-text;version=2.0.0,text/plain;q=0.1", Format.TEXT),
        ("application/openmetrics-text;q=0, text/plain;q=0.1", Format.TEXT),
        ("application/openmetrics-text;q=nan, text/plain;q=0.1", Format.TEXT),
        (
            "application/vnd.google.protobuf;proto=x;q=0.6,application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.2",
            Format.OPENMETRICS,
        ),
    ],
)
def test_the_format_follows_the_accept_header(accept: str, format_: Format) -> None:
    assert negotiate(accept) is format_
