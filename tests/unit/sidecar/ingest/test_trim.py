from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sidecar.ingest.accept import trimmed
from sidecar.ingest.tail import TailEvent, events
from sidecar.ingest.validate import check_cover, check_group
from sidecar.journal.segment import event_type
from sidecar.telemetry.model import EventType, Position, Session, StoredBatch
from telemetry_contract.v1 import telemetry_pb2 as pb
from tests.unit.sidecar.batches import order_define, sample_define
from tests.unit.sidecar.checkpoint.test_crash import mixed

TYPES: dict[int, EventType] = {1: event_type(order_define()), 2: event_type(sample_define())}


def events_of(message: pb.Batch) -> list[TailEvent]:
    session = Session(producer_id="a", session_id="s")
    return events(StoredBatch(end=Position(), session=session, batch=message, types=TYPES, received_ns=0))


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


def test_an_absent_value_is_left_out_of_the_tail() -> None:
    whole = mixed(1, 2)
    whole.groups[0].columns[3].absent.append(1)
    first, second = events_of(whole)
    assert first.attributes["order_id"] == "o1"
    assert "order_id" not in second.attributes
    assert (first.severity, first.name) == (9, "order.transition")
