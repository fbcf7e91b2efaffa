from __future__ import annotations

from collections.abc import Callable

import pytest

from sidecar.ingest.definition import check_define
from sidecar.journal.segment import event_type
from sidecar.telemetry.settings import TelemetrySettings
from telemetry_contract.v1 import telemetry_pb2 as pb
from tests.unit.sidecar.batches import order_define


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
        (lambda define: setattr(define.instruments[0], "name", "up"), "reserved_name"),
        (lambda define: setattr(define.instruments[0], "name", "sidecar.condition"), "reserved_name"),
        (lambda define: setattr(define.instruments[0], "name", "target_info"), "reserved_name"),
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
