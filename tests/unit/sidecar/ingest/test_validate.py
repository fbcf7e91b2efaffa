from __future__ import annotations

from collections.abc import Callable

import pytest

from sidecar.ingest.definition import check_define
from sidecar.ingest.validate import check_batch, check_cover, check_group, check_hello, cut_strings
from sidecar.journal.segment import event_type
from sidecar.telemetry.settings import TelemetrySettings
from telemetry_contract.v1 import telemetry_pb2 as pb
from tests.unit.sidecar.batches import batch, filled, hello, order_define, samples


def reasons(define: pb.Define) -> list[str]:
    return [fault.reason for fault in check_define(define, TelemetrySettings())]


def test_a_sound_definition_becomes_an_event_type() -> None:
    define = order_define()
    assert reasons(define) == []
    kind = event_type(define)
    assert (kind.event_id, kind.name, kind.reserved) == (1, "order.transition", True)
    assert [item.name for item in kind.fields] == ["status", "side", "duration_s", "order_id"]
    assert kind.instruments[1].bounds == (0.1, 0.5, 1.0)
    assert kind.instruments[0].constant_labels == (("broker", "oanda"),)
    assert kind.log is not None
    assert kind.log.severity == 9


def test_a_log_template_without_severity_is_info() -> None:
    kind = event_type(pb.Define(event_id=1, name="a", log=pb.LogTemplate()))
    assert kind.log is not None
    assert kind.log.severity == pb.SEVERITY_INFO


def spoil_type(define: pb.Define) -> None:
    define.fields[0].type = 99  # type: ignore[assignment] # an enum of a later version


def spoil_role(define: pb.Define) -> None:
    define.fields[3].role = 0  # type: ignore[assignment] # not set


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda define: setattr(define, "event_id", 0), "bad_event_id"),
        (lambda define: setattr(define, "event_id", 65_536), "bad_event_id"),
        (lambda define: setattr(define, "name", "Order"), "bad_name"),
        (lambda define: setattr(define, "name", "o" * 129), "bad_name"),
        (lambda define: define.fields.extend([pb.Field()] * 65), "too_many_fields"),
        (lambda define: define.instruments.extend([pb.Instrument()] * 33), "too_many_instruments"),
        (lambda define: setattr(define.fields[3], "name", "9"), "bad_field_name"),
        (lambda define: setattr(define.fields[3], "name", "status"), "duplicate_field"),
        (spoil_type, "bad_field_type"),
        (spoil_role, "bad_field_role"),
        (lambda define: setattr(define.fields[2], "type", pb.FIELD_TYPE_STRING), "measure_not_number"),
        (lambda define: setattr(define.instruments[0], "name", "broker orders"), "bad_instrument_name"),
        (lambda define: setattr(define.instruments[0], "kind", 9), "bad_instrument_kind"),
        (lambda define: setattr(define.instruments[0], "unit", "u" * 65), "text_too_long"),
        (lambda define: setattr(define.instruments[1], "measure", "status"), "unknown_measure"),
        (lambda define: setattr(define.instruments[1], "measure", ""), "measure_required"),
        (lambda define: define.instruments[0].labels.append("order_id"), "unknown_label"),
        (lambda define: define.instruments[0].only_when.update({"order_id": "1"}), "unknown_label"),
        (lambda define: define.instruments[0].labels.append("status"), "duplicate_label"),
        (lambda define: define.instruments[0].constant_labels.update({"status": "x"}), "duplicate_label"),
        (lambda define: define.instruments[0].constant_labels.update({"Bad": "x"}), "bad_constant_label"),
        (lambda define: define.instruments[0].bounds.append(1.0), "bad_bounds"),
        (lambda define: define.instruments[1].bounds.append(1.0), "bad_bounds"),
        (lambda define: define.instruments[1].bounds.append(float("inf")), "bad_bounds"),
        (lambda define: define.instruments[1].bounds.extend(range(2, 90)), "bad_bounds"),
        (
            lambda define: define.instruments.add(name="broker.orders", kind=2, measure="duration_s"),
            "definition_conflict",
        ),
        (lambda define: setattr(define.log, "severity", 25), "bad_severity"),
        (lambda define: setattr(define.log, "severity_field", "order_id"), "unknown_label"),
        (lambda define: setattr(define.log, "body", "b" * 4097), "text_too_long"),
    ],
)
def test_each_broken_rule_of_a_definition_is_named(spoil: Callable[[pb.Define], None], reason: str) -> None:
    define = order_define()
    spoil(define)
    assert reason in reasons(define)


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
