from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.ingest.accept import trimmed
from sidecar.ingest.protocol import StreamRefusedError
from sidecar.ingest.tail import TailEvent, events
from sidecar.ingest.validate import check_cover, check_group
from sidecar.journal.segment import event_type
from sidecar.telemetry.model import EventType, JournalPosition, Session, StoredBatch
from telemetry_contract.v1 import telemetry_pb2 as pb
from tests.unit.sidecar.batches import batch, order_define, orders, sample_define
from tests.unit.sidecar.sick_volume import SickVolume
from tests.unit.sidecar.telemetry_core import TelemetryCore, mixed


def test_sessions_that_are_silent_or_too_many_are_forgotten_but_not_connected_ones() -> None:
    core = TelemetryCore()
    for session in ("s1", "s2", "s3"):
        core.send("a", session, 1, 1)
    core.intake.close_stream(core.streams["a", "s1"])
    core.intake.close_stream(core.streams["a", "s2"])
    core.intake.forget_sessions(before_ns=0, most=2)
    assert set(core.telemetry_state.sessions) == {("a", "s2"), ("a", "s3")}
    core.intake.forget_sessions(before_ns=core.now_ns + 1, most=2)
    assert set(core.telemetry_state.sessions) == {("a", "s3")}


def test_a_gap_ends_the_stream_and_takes_nothing() -> None:
    core = TelemetryCore()
    core.send("a", "s1", 3, 1)
    with pytest.raises(StreamRefusedError, match="sequence_gap"):
        core.send("a", "s1", 3, 5)
    assert core.counts.ledger(0).events.received == 3


def test_recovery_takes_counters_and_no_gauges() -> None:
    core = TelemetryCore()
    core.send("a", "old", 3, 1, recovery=True)
    names = [family.name for producer in core.aggregate.snapshot(1).producers for family in producer.families]
    assert names == ["broker.order.duration", "broker.orders"]


TYPES: dict[int, EventType] = {1: event_type(order_define()), 2: event_type(sample_define())}


def events_of(message: pb.Batch) -> list[TailEvent]:
    session = Session(producer_id="a", session_id="s")
    return events(StoredBatch(end=JournalPosition(), session=session, batch=message, types=TYPES, received_ns=0))


@given(st.integers(1, 1000), st.integers(1, 20), st.data())
def test_what_is_left_of_a_batch_is_its_later_events_unchanged(first: int, count: int, data: st.DataObject) -> None:
    whole = mixed(first, count)
    for group in whole.groups:
        group.trace.trace_ids = bytes(range(16)) * group.count
        group.trace.span_ids = bytes(range(8)) * group.count
        group.trace.flags = bytes(group.count)
        group.columns[0].absent[:] = sorted(data.draw(st.sets(st.integers(0, group.count - 1))))
    taken = data.draw(st.integers(0, count - 1))
    left = trimmed(whole, taken)
    assert (left.first_sequence, left.count) == (first + taken, count - taken)
    assert check_cover(left) is None
    assert [check_group(group, TYPES[group.event_id]) for group in left.groups] == [None] * len(left.groups)
    assert events_of(left) == events_of(whole)[taken:]


def test_a_batch_that_the_volume_rejects_is_counted_when_it_is_accepted() -> None:
    volume = SickVolume()
    core = TelemetryCore(volume)
    stream = core.stream("a", "s1")
    core.send("a", "s1", 2, 1)
    long = batch(2, orders([("filled", "buy", 0.5, "o" * 65), ("filled", "buy", 0.5, "o")])).SerializeToString()
    volume.error = errno.ENOSPC
    for _ in range(3):
        with pytest.raises(OSError, match="No space left"):
            core.intake.batch(stream, long, core.tick())
    volume.error = 0
    core.intake.batch(stream, long, core.tick())
    ledger = core.counts.ledger(0).events
    assert (ledger.received, ledger.duplicate, core.intake.cut_strings) == (4, 1, 1)
