from __future__ import annotations

import pytest

from sidecar.ingest.definition import check_define
from sidecar.journal.segment import event_type
from sidecar.metrics.aggregate import Aggregate, SeriesLimits
from sidecar.telemetry.model import Number, Session
from sidecar.telemetry.settings import TelemetrySettings
from telemetry_contract.v1 import telemetry_pb2 as pb

SESSION = Session(producer_id="p", session_id="s")
DAY_NS = 86_400 * 10**9


def define(*presets: tuple[str, ...], kind: pb.InstrumentKind.ValueType = pb.INSTRUMENT_KIND_COUNTER) -> pb.Define:
    message = pb.Define(event_id=1, name="rare")
    message.fields.add(name="reason", type=pb.FIELD_TYPE_STRING, role=pb.FIELD_ROLE_LABEL)
    instrument = message.instruments.add(name="rare.events", kind=kind, labels=["reason"])
    for values in presets:
        instrument.presets.add(values=values)
    return message


def batch(*reasons: str) -> pb.Batch:
    column = pb.Column(values=reasons)
    group = pb.Group(
        event_id=1, count=len(reasons), base_time_unix_nano=1, time_offsets_nano=[0] * len(reasons), columns=[column]
    )
    return pb.Batch(first_sequence=1, count=len(reasons), groups=[group])


def counted(aggregate: Aggregate) -> dict[str, float]:
    (producer,) = aggregate.snapshot(10).producers
    points = [point for family in producer.families for point in family.points]
    return {point.labels[0][1]: point.value for point in points if isinstance(point, Number)}


def taken(message: pb.Define, *reasons: str, limit: SeriesLimits | None = None) -> Aggregate:
    aggregate = Aggregate(limit)
    aggregate.begin(SESSION)
    aggregate.define(1, SESSION, event_type(message), recovery=False)
    aggregate.apply(1, batch(*reasons), 5)
    return aggregate


def test_presets_stand_at_zero_beside_what_was_counted() -> None:
    assert counted(taken(define(("a",), ("b",)), "a", "a", "c")) == {"a": 2, "b": 0, "c": 1}


def test_a_preset_does_not_expire() -> None:
    aggregate = taken(define(("a",)), "c")
    assert aggregate.expire(2 * DAY_NS, DAY_NS) == 1
    assert counted(aggregate) == {"a": 0}
    assert not aggregate.has_idle(9 * DAY_NS, DAY_NS)


def test_presets_count_against_the_limit_of_series() -> None:
    aggregate = taken(define(*((str(number),) for number in range(5))), "0", limit=SeriesLimits(instrument=2))
    assert len(aggregate.snapshot(10).producers[0].families[0].points) == 3


def test_a_stream_that_defines_again_changes_no_count() -> None:
    aggregate = taken(define(("a",)), "a")
    aggregate.define(2, SESSION, event_type(define(("a",), ("b",))), recovery=False)
    aggregate.apply(2, batch("a"), 6)
    assert counted(aggregate) == {"a": 2, "b": 0}


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (define(("a", "b")), "preset_length"),
        (define(*((str(number),) for number in range(257))), "too_many_presets"),
        (define(("a",), kind=pb.INSTRUMENT_KIND_GAUGE), "preset_kind"),
    ],
)
def test_a_preset_that_cannot_be_is_refused_by_name(message: pb.Define, reason: str) -> None:
    assert reason in {fault.reason for fault in check_define(message, TelemetrySettings())}
