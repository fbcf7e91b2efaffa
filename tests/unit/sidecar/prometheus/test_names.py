from __future__ import annotations

import pytest

from sidecar.prometheus.names import MetricNames, family_name, label_pairs
from telemetry_contract.v1 import telemetry_pb2 as pb

COUNTER, GAUGE, HISTOGRAM = pb.INSTRUMENT_KIND_COUNTER, pb.INSTRUMENT_KIND_GAUGE, pb.INSTRUMENT_KIND_HISTOGRAM


@pytest.mark.parametrize(
    ("name", "kind", "unit", "wanted"),
    [
        ("broker.orders", COUNTER, "{order}", ("broker_orders", "")),
        ("broker.orders.total", COUNTER, "", ("broker_orders", "")),
        ("broker.order.duration", HISTOGRAM, "s", ("broker_order_duration_seconds", "seconds")),
        ("broker.wait.seconds", COUNTER, "s", ("broker_wait_seconds", "seconds")),
        ("process.memory", GAUGE, "By", ("process_memory_bytes", "bytes")),
        ("disk.io", GAUGE, "By/s", ("disk_io_bytes_per_second", "bytes_per_second")),
        ("risk.used", GAUGE, "1", ("risk_used_ratio", "ratio")),
        ("hits", COUNTER, "1", ("hits", "")),
        ("load", GAUGE, "{thread}", ("load", "")),
        ("a..b__c", GAUGE, "", ("a_b_c", "")),
        ("price", GAUGE, "EUR", ("price_EUR", "EUR")),
    ],
)
def test_a_family_is_named_as_the_specification_says(
    name: str, kind: pb.InstrumentKind.ValueType, unit: str, wanted: tuple[str, str]
) -> None:
    assert family_name(name, kind, unit) == wanted


def test_labels_that_become_one_are_joined_and_stay_distinct() -> None:
    assert label_pairs((("a.b", "2"), ("a_b", "1;x")), ()) == [("a_b", "2;1\\;x")]


def test_a_name_that_somebody_else_writes_is_kept_from_instruments() -> None:
    names = MetricNames()
    assert names.reserve("telemetry_dropped", "counter")
    assert names.name("telemetry.dropped", COUNTER, "{event}") == ("telemetry_dropped_2", "")


def test_a_name_that_an_instrument_has_is_not_given_away() -> None:
    names = MetricNames()
    names.name("telemetry.dropped", COUNTER, "{event}")
    assert not names.reserve("telemetry_dropped", "counter")
    assert names.reserve("other", "gauge")
    assert names.reserve("other", "gauge")


def test_colliding_instruments_keep_their_names_in_a_later_process() -> None:
    names = MetricNames()
    first = [names.name(name, COUNTER, "") for name in ("queue_done", "queue.done")]
    later = MetricNames.restored(names.capture())
    assert [later.name(name, COUNTER, "") for name in ("queue.done", "queue_done")] == first[::-1]
    assert later.name("queue-done", COUNTER, "") == ("queue_done_3", "")
    assert not later.reserve("queue_done", "counter")


@pytest.mark.parametrize("captured", [b"", b"{", b"[[1]]", b"[[0, 99, 0, 0, 0]]"])
def test_names_that_cannot_be_read_are_given_anew(captured: bytes) -> None:
    assert MetricNames.restored(captured).name("jobs", COUNTER, "") == ("jobs", "")


def test_units_that_prometheus_does_not_tell_apart_make_one_family() -> None:
    names = MetricNames()
    assert [names.name("jobs", COUNTER, unit) for unit in ("", "1", "{job}")] == [("jobs", "")] * 3
