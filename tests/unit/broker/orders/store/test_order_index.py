from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from broker.domain import OrderStatus, OrderType
from broker.orders.model.ids import ClientTag, caller_digest
from broker.orders.model.lifecycle import OrderAction, OrderRecord
from broker.orders.store.order_index import OPEN, OrderIndex
from tests.unit.broker.orders.samples import NOW, created, filled, make_record

FINAL = [status for status in OrderStatus if status.is_final]


def make(**limits: float) -> OrderIndex:
    return OrderIndex(int(limits.get("orders", 3)), limits.get("seconds", 60.0))


def numbered(number: int, status: OrderStatus, age_s: float = 0.0) -> OrderRecord:
    return make_record(
        status,
        order_id=f"order-{number}",
        client_id=f"bk.broker.1.order-{number}.caller{number}",
        client_order_id=f"client-{number}",
        type=OrderType.LIMIT,
        venue_order_id=str(number),
        updated_at=NOW - timedelta(seconds=age_s),
    )


def test_an_order_is_found_by_each_of_its_names() -> None:
    index, record = make(), numbered(7, OrderStatus.PENDING)
    index.put(record)
    assert index.get("order-7") is record
    assert index.by_key("flow", "client-7") is record
    assert index.by_venue_id("7") is record
    assert index.about(filled(8, 7, client_id=None)) is record
    assert index.about(created(7, client_id="bk.broker.1.order-7.caller7")) is record


def test_too_many_finished_orders_go_the_oldest_first_and_open_ones_stay() -> None:
    index = make(orders=2)
    for number in range(1, 6):
        index.put(numbered(number, OrderStatus.PENDING if number == 1 else OrderStatus.FILLED))
    index.forget(NOW)
    assert [record.id for record in index] == ["order-1", "order-4", "order-5"]
    assert index.by_key("flow", "client-2") is None
    assert index.by_venue_id("2") is None


def test_old_finished_orders_go() -> None:
    index = make(orders=10)
    index.put(numbered(1, OrderStatus.FILLED, age_s=61))
    index.put(numbered(2, OrderStatus.FILLED, age_s=59))
    index.forget(NOW)
    assert [record.id for record in index] == ["order-2"]


def test_adopted_order_of_ours_is_known_by_its_caller() -> None:
    index = make()
    tag = ClientTag(owner="broker", epoch=1, order_id="01A", caller=caller_digest("flow", "mine"))
    record = make_record(OrderStatus.FILLED, order_id="01A", client_id=str(tag), action=OrderAction.ADOPTED)
    index.put(record)
    assert index.by_key("flow", "mine") is record
    assert index.by_key("other", "mine") is None


def test_orders_that_close_a_trade_are_known_until_their_transactions_are() -> None:
    index = make()
    first = make_record(action=OrderAction.CLOSE_TRADE, target="3")
    second = make_record(order_id="another", client_id="x", action=OrderAction.CLOSE_TRADE, target="3")
    index.put(first)
    index.put(second)
    assert index.closing("3") == [first, second]
    index.put(replace(first, order=replace(first.order, venue_order_id="9")))
    assert index.closing("3") == [second]
    index.put(second.moved(OrderStatus.DENIED, NOW))
    assert index.closing("3") == []


def test_copy_of_our_client_id_leads_to_our_order_all_the_same() -> None:
    index, record = make(), make_record()
    index.put(record)
    index.put(make_record(OrderStatus.PENDING, order_id="venue-9", venue_order_id="9", action=OrderAction.ADOPTED))
    assert index.about(filled(8, 7)) is record
    copied = index.about(filled(10, 9))
    assert copied is not None
    assert copied.id == "venue-9"


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(OrderStatus)), max_size=40))
def test_counts_agree_with_what_is_held(puts: list[tuple[int, OrderStatus]]) -> None:
    index = make(orders=3)
    final: set[int] = set()
    for number, status in puts:
        if number not in final:
            index.put(numbered(number, status))
            final |= {number} if status.is_final else set()
    index.forget(NOW)
    held = [record for record in index if record.status in OPEN]
    assert index.count(OPEN) == len(held) == index.open_of("flow")
    assert sum(len(index.with_status(status)) for status in OrderStatus) == len(index)
    assert sum(record.status in FINAL for record in index) <= 3


def test_order_whose_client_becomes_known_leaves_nothing_behind() -> None:
    index, record = make(orders=0), numbered(1, OrderStatus.FILLED)
    request = replace(record.order.request, client="external")
    index.put(replace(record, order=replace(record.order, request=request)))
    index.put(record)
    assert index.by_key("external", "client-1") is None
    index.forget(NOW)
    assert sizes(index) == [0] * len(sizes(index))


def test_venues_id_that_no_record_names_goes_with_its_order() -> None:
    index, record = make(orders=0), numbered(1, OrderStatus.DENIED)
    nameless = replace(record, order=replace(record.order, venue_order_id=None))
    index.put(nameless)
    index.note_venue_id(nameless.id, "77")
    index.forget(NOW)
    assert index.by_venue_id("77") is None
    assert sizes(index) == [0] * len(sizes(index))


def sizes(index: OrderIndex) -> list[int]:
    """Numbers of what each of its tables holds."""
    tables = [value for value in vars(index).values() if isinstance(value, dict)]
    return [len(table) for table in tables if not any(isinstance(value, dict) for value in table.values())]
