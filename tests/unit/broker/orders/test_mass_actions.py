from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest
from msgspec.structs import replace

from broker.domain import Operation, OrderStatus, OrderType
from broker.orders.errors import ClientIdConflictError, NotReadyError
from broker.orders.mass_actions import OrderFilter, failure_outcome
from broker.orders.model.operations import OperationRecord
from broker.orders.model.trading_state import TradingState
from broker.orders.store.journal import OrderJournalError
from broker.venue.errors import AnswerLostError, NotSentError, VenueRefusedError
from tests.unit.broker.orders.fake_venue import FakeVenue
from tests.unit.broker.orders.order_service_fixture import MakeRequest, OrderServiceHarness, wait_until
from tests.unit.broker.orders.samples import NOW

LIMIT = {"type": OrderType.LIMIT, "price": Decimal("1.09")}


async def test_cancel_all_takes_each_order_that_its_filter_admits(
    harness: OrderServiceHarness, make_request: MakeRequest
) -> None:
    async with harness.service() as service:
        mine = (await service.place(make_request("a", **LIMIT))).order
        other = (await service.place(make_request("b", client="other", **LIMIT))).order
        found = await service.mass_actions.cancel_all("flow", "key", OrderFilter(client="flow"))
        nothing = await service.mass_actions.cancel_all("flow", "key-2", OrderFilter(instrument="USD_JPY"))
        rest = await service.mass_actions.cancel_all("boss", "key", OrderFilter())

    assert [(item.subject, item.outcome) for item in found.outcomes] == [(mine.id, "done")]
    assert (found.complete, nothing.outcomes) == (True, ())
    assert [item.subject for item in rest.outcomes] == [other.id]
    assert [event.action for event in harness.of("MassActionEnded")] == ["cancel_all"] * 3


async def test_cancel_all_waits_for_an_order_on_its_way(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with harness.service() as service:
        venue.gate.clear()
        placing = asyncio.create_task(service.place(make_request(**LIMIT)))
        await wait_until(lambda: bool(venue.writes))
        cancelling = asyncio.create_task(service.mass_actions.cancel_all("flow", "key", OrderFilter()))
        await asyncio.sleep(0)
        venue.gate.set()
        (found,) = (await cancelling).outcomes
        order = (await placing).order

    assert (found.subject, found.outcome) == (order.id, "done")
    assert venue.pending == {}


async def test_cancel_all_finds_an_order_whose_answer_is_lost(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    venue.faults.append("quiet")
    async with harness.service() as service:
        placing = asyncio.create_task(service.place(make_request(**LIMIT)))
        await wait_until(lambda: bool(venue.writes))
        (found,) = (await service.mass_actions.cancel_all("flow", "key", OrderFilter())).outcomes
        await placing

    assert found.outcome == "done"
    assert venue.pending == {}


async def test_one_failure_stops_no_other_cancel(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with harness.service() as service:
        orders = [(await service.place(make_request(name, **LIMIT))).order for name in ("a", "b")]
        venue.broken.add(orders[0].venue_order_id or "")
        found = await service.mass_actions.cancel_all("flow", "key", OrderFilter())
        venue.broken.clear()
        again = await service.mass_actions.cancel_all("flow", "key", OrderFilter())

    assert [(item.subject, item.outcome) for item in found.outcomes] == [
        (orders[0].id, "failed"),
        (orders[1].id, "done"),
    ]
    assert not found.complete
    assert {item.subject for item in again.outcomes} == {item.subject for item in found.outcomes}
    assert (again.replayed, again.complete, venue.pending) == (True, True, {})


async def test_repeated_cancel_all_cancels_no_later_order(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with harness.service() as service:
        await service.place(make_request("a", **LIMIT))
        first = await service.mass_actions.cancel_all("flow", "key", OrderFilter())
        await service.place(make_request("b", **LIMIT))
    async with harness.service() as service:
        again = await service.mass_actions.cancel_all("flow", "key", OrderFilter())

    assert [item.order for item in again.outcomes] == [item.order for item in first.outcomes]
    assert len(venue.pending) == 1


async def test_same_key_at_once_closes_once(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with harness.service() as service:
        await service.place(make_request())
        results = await asyncio.gather(*(service.mass_actions.close_all("flow", "key", None, None) for _ in range(5)))

    assert [item.outcome for result in results for item in result.outcomes] == ["done"] * 5
    assert venue.position == 0
    assert len(venue.writes) == 2


async def test_close_all_after_a_restart_gives_the_same_orders(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with harness.service() as service:
        await service.place(make_request("a"))
        first = await service.mass_actions.close_all("flow", "key", None, None)
        await service.place(make_request("b"))
    async with harness.service() as service:
        again = await service.mass_actions.close_all("flow", "key", None, None)

    assert [item.order for item in again.outcomes] == [item.order for item in first.outcomes]
    assert venue.position == 100


async def test_close_all_whose_answer_is_lost_closes_once(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with harness.service() as service:
        await service.place(make_request())
        venue.faults.append("lose")
        (found,) = (await service.mass_actions.close_all("flow", "key", None, None)).outcomes

    assert (found.subject, found.outcome) == ("EUR_USD", "done")
    assert venue.position == 0


@pytest.mark.parametrize("before", TradingState)
async def test_kill_switch_halts_cancels_entries_and_closes_in_every_state(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest, before: TradingState
) -> None:
    async with harness.service() as service:
        await service.place(make_request("a"))
        resting = (await service.place(make_request("b", **LIMIT))).order
        service.set_state(before, "test", "test")
        found = await service.mass_actions.kill("boss", "key", "wrong prices")
        denied = (await service.place(make_request("c"))).order
        state = service.state

    assert {(item.subject, item.outcome) for item in found.outcomes} == {(resting.id, "done"), ("EUR_USD", "done")}
    assert (state, venue.pending) == (TradingState.HALTED, {})
    assert venue.position == 0
    assert (denied.status, denied.reason) == (OrderStatus.DENIED, "TRADING_HALTED")


async def test_kill_switch_leaves_the_stop_of_a_position_that_it_cannot_close(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with harness.service() as service:
        await service.place(make_request("a"))
        stop = make_request("b", type=OrderType.STOP_LOSS, price=Decimal("1.05"), trade_id="1")
        stop_id = (await service.place(stop)).order.venue_order_id
        venue.broken.add("EUR_USD")
        found = await service.mass_actions.kill("boss", "key", "wrong prices")

    assert not found.complete
    assert list(venue.pending) == [stop_id]


async def test_kill_switch_cancels_entries_whatever_keys_its_caller_used_before(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with harness.service() as service:
        await service.mass_actions.cancel_all("boss", "key/orders", OrderFilter())
        await service.place(make_request("a", **LIMIT))
        await service.mass_actions.kill("boss", "key", "wrong prices")

    assert venue.pending == {}


@pytest.mark.parametrize("used", ["key/EUR_USD", "key-EUR_USD", "key.EUR_USD"])
async def test_kill_switch_closes_whatever_orders_its_caller_placed_before(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest, used: str
) -> None:
    async with harness.service() as service:
        await service.place(make_request(used))
        found = await service.mass_actions.kill("flow", "key", "wrong prices")

    assert found.complete
    assert venue.position == 0


async def test_operation_of_an_older_journal_goes_on_with_the_keys_that_it_had(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    old = OperationRecord(client="flow", key="key", operation=Operation.CLOSE_ALL, content="instrument=None", at=NOW)
    async with harness.service() as service:
        await service.place(make_request())
        engine = service.leadership.engine
        assert engine is not None
        engine.store.put_operation(replace(old, subjects=("EUR_USD",), at=engine.store.now()))
        await service.close_position("EUR_USD", client="flow", client_order_id="key/EUR_USD")
        await service.place(make_request("later"))
        again = await service.mass_actions.close_all("flow", "key", None, None)

    assert [(item.outcome, item.subject) for item in again.outcomes] == [("done", "EUR_USD")]
    assert venue.position == 100


async def test_repeated_kill_does_not_halt_again(harness: OrderServiceHarness) -> None:
    async with harness.service() as service:
        await service.mass_actions.kill("boss", "key", "test")
        service.set_state(TradingState.ACTIVE, "boss", "over")
        again = await service.mass_actions.kill("boss", "key", "test")
        state = service.state

    assert (again.replayed, state) == (True, TradingState.ACTIVE)


async def test_key_of_another_operation_is_a_conflict_that_says_which(
    harness: OrderServiceHarness, make_request: MakeRequest
) -> None:
    async with harness.service() as service:
        order = (await service.place(make_request("key"))).order
        with pytest.raises(ClientIdConflictError, match=f"place an order .order {order.id}.; .* close all positions"):
            await service.mass_actions.close_all("flow", "key", None, None)
        await service.mass_actions.cancel_all("flow", "other", OrderFilter())
        with pytest.raises(ClientIdConflictError, match="cancel all orders; it cannot be used to place an order"):
            await service.place(make_request("other"))


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ClientIdConflictError("used"), "refused"),
        (VenueRefusedError("no", status=404), "refused"),
        (NotReadyError("Starting"), "failed"),
        (NotSentError("no connection"), "failed"),
        (AnswerLostError("reset"), "failed"),
        (OrderJournalError("another process trades this account now"), "failed"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_the_same_key_cannot_mend_is_refused_and_the_rest_failed(error: Exception, outcome: str) -> None:
    assert failure_outcome("EUR_USD", error).outcome == outcome
