from __future__ import annotations

from collections.abc import Callable

import pytest

from sidecar.ingest.validate import check_batch, check_cover, check_group, check_hello, cut_strings
from sidecar.journal.segment import event_type
from sidecar.telemetry.settings import TelemetrySettings
from telemetry_contract.v1 import telemetry_pb2 as pb
from tests.unit.sidecar.batches import batch, filled, hello, order_define, samples


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (hello(protocol_version=2), "protocol_version"),
        (hello("UPPER"), "producer_id"),
        (hello("p" * 65), "producer_id"),
        (hello(session=""), "session_id"),
        (hello(first_sequence=0), "first_sequence"),
        (hello(resource={f"k{number}": "" for number in range(65)}), "resource"),
        (hello(resource={"": "x"}), "resource"),
        (hello(resource={"k": "x" * 4097}), "resource"),
    ],
)
def test_each_broken_rule_of_a_hello_is_named(message: pb.Hello, reason: str) -> None:
    fault = check_hello(message)
    assert fault is not None
    assert fault.reason == reason


def test_a_sound_hello_breaks_no_rule() -> None:
    assert check_hello(hello(resource={"service.name": "broker"})) is None


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (pb.Batch(first_sequence=0, count=1), "first_sequence"),
        (pb.Batch(first_sequence=1 << 63, count=1), "first_sequence"),
        (pb.Batch(first_sequence=1), "batch_events"),
        (pb.Batch(first_sequence=1, count=8193), "batch_events"),
    ],
)
def test_a_batch_with_impossible_numbers_breaks_the_stream(message: pb.Batch, reason: str) -> None:
    fault = check_batch(message, TelemetrySettings())
    assert fault is not None
    assert fault.reason == reason


@pytest.mark.parametrize(
    ("groups", "count", "reason"),
    [
        ([filled(2)], 3, "count_mismatch"),
        ([], 1, "offset_cover"),
        ([filled(1), samples([("a", 1)])], 2, "offset_length"),
        ([pb.Group(count=2, offsets=[1, 0])], 2, "offset_order"),
        ([pb.Group(count=2, offsets=[1, 1])], 2, "offset_order"),
        ([pb.Group(count=1, offsets=[0]), pb.Group(count=1, offsets=[0])], 2, "offset_cover"),
        ([pb.Group(count=1, offsets=[0]), pb.Group(count=1, offsets=[2])], 2, "offset_cover"),
        ([pb.Group(count=1, offsets=[0])], 2, "offset_cover"),
    ],
)
def test_groups_must_name_each_event_once(groups: list[pb.Group], count: int, reason: str) -> None:
    fault = check_cover(pb.Batch(first_sequence=1, count=count, groups=groups))
    assert fault is not None
    assert fault.reason == reason


def test_groups_that_share_a_batch_cover_it() -> None:
    mixed = [pb.Group(count=2, offsets=[0, 2]), pb.Group(count=1, offsets=[1])]
    assert check_cover(pb.Batch(first_sequence=1, count=3, groups=mixed)) is None


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda group: group.time_offsets_nano.pop(), "time_length"),
        (lambda group: setattr(group, "base_time_unix_nano", 1 << 63), "time_range"),
        (lambda group: group.time_offsets_nano.__setitem__(0, -(1 << 62)), "time_range"),
        (lambda group: group.columns.pop(), "column_count"),
        (lambda group: group.columns[0].indexes.append(0), "column_length"),
        (lambda group: group.columns[0].indexes.__setitem__(0, 7), "index_range"),
        (lambda group: group.columns[2].doubles.append(0), "column_length"),
        (lambda group: group.columns[2].integers.append(0), "column_kind"),
        (lambda group: group.columns[3].values.pop(), "column_length"),
        (lambda group: group.columns[3].doubles.append(0), "column_kind"),
        (lambda group: group.columns[3].absent.append(3), "absent_range"),
        (lambda group: group.columns[3].absent.extend([1, 0]), "absent_range"),
        (lambda group: setattr(group.trace, "trace_ids", b"1"), "trace_length"),
    ],
)
def test_each_broken_rule_of_a_group_is_named(spoil: Callable[[pb.Group], None], reason: str) -> None:
    group = filled(3)
    spoil(group)
    fault = check_group(group, event_type(order_define()))
    assert fault is not None
    assert fault.reason == reason


def test_a_sound_group_breaks_no_rule() -> None:
    group = filled(3)
    group.columns[3].absent.append(2)
    group.trace.trace_ids, group.trace.span_ids, group.trace.flags = bytes(48), bytes(24), bytes(3)
    assert check_group(group, event_type(order_define())) is None


def test_an_empty_group_is_refused() -> None:
    fault = check_group(pb.Group(), event_type(order_define()))
    assert fault is not None
    assert fault.reason == "time_length"


def test_a_string_is_cut_at_a_characters_border() -> None:
    group = pb.Group(columns=[pb.Column(values=["short", "ääää"])])
    assert cut_strings(group, 7) == 1
    assert list(group.columns[0].values) == ["short", "äää"]


def test_the_batch_of_the_tests_is_sound() -> None:
    sound = batch(1, filled(3))
    assert check_batch(sound, TelemetrySettings()) is None
    assert check_cover(sound) is None
