from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from broker.domain import OrderStatus
from broker.orders.model.lifecycle import TABLE, OrderEvent, after


def test_every_status_can_be_reached_from_received() -> None:
    reached = {OrderStatus.RECEIVED}
    while more := {end for (start, _), end in TABLE.items() if start in reached} - reached:
        reached |= more
    assert reached == set(OrderStatus)


def test_a_201_with_a_killed_order_is_cancelled() -> None:
    assert after(OrderStatus.SUBMITTED, OrderEvent.CANCEL) is OrderStatus.CANCELLED


def test_presumed_absent_is_adopted_when_it_trades() -> None:
    assert after(OrderStatus.PRESUMED_ABSENT, OrderEvent.FILL) is OrderStatus.FILLED


@given(st.lists(st.sampled_from(OrderEvent)))
def test_a_final_order_stays_as_it_is(events: list[OrderEvent]) -> None:
    status = OrderStatus.RECEIVED
    for event in events:
        following = after(status, event) or status
        assert not status.is_final or following is status
        status = following


@given(st.lists(st.sampled_from(OrderEvent)))
def test_nothing_is_sent_twice(events: list[OrderEvent]) -> None:
    status, submissions = OrderStatus.RECEIVED, 0
    for event in events:
        following = after(status, event)
        submissions += event is OrderEvent.SUBMIT and following is not None
        status = following or status
    assert submissions <= 1
