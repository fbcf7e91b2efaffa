from __future__ import annotations

import asyncio
from contextlib import aclosing
from decimal import Decimal

import pytest

from broker.domain import Order, OrderStatus, OrderType, Side
from broker.orders.errors import ClientIdConflictError, UnknownOrderError, UnknownPositionError
from broker.orders.event_stream import Begun, Streamed
from broker.orders.idempotency import Placed
from broker.orders.service import OrderService
from broker.orders.settings import RiskLimits
from broker.orders.store.tail import Change
from tests.unit.broker.orders.fake_venue import FakeVenue
from tests.unit.broker.orders.order_service_fixture import MakeRequest, OrderServiceHarness, wait_until


def held(service: OrderService, order_id: str) -> Order:
    order = service.order(order_id)
    assert order is not None
    return order


async def test_market_order_is_filled_by_one_post(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with harness.service() as service:
        order = (await service.place(make_request())).order

    assert order.status is OrderStatus.FILLED
    assert [fill.transaction_id for fill in order.fills] == ["2"]
    assert order.fills[0].price == Decimal("1.10000")
    assert [method for method, _, _ in venue.writes] == ["POST"]
    assert [event.status for event in harness.of("OrderTransition")] == ["received", "submitted", "filled"]


async def test_limit_order_rests_until_it_is_cancelled(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with harness.service() as service:
        order = (await service.place(make_request(type=OrderType.LIMIT, price=Decimal("1.09")))).order
        assert order.status is OrderStatus.PENDING
        assert [item.id for item in service.open_orders()] == [order.id]
        ended = await service.cancel(order.id)

    assert (ended.status, ended.reason) == (OrderStatus.CANCELLED, "CLIENT_REQUEST")
    assert [event.outcome for event in harness.of("CancelAnswered")] == ["cancelled"]


async def test_killed_market_order_is_cancelled_not_filled(
    harness: OrderServiceHarness, make_request: MakeRequest
) -> None:
    async with harness.service() as service:
        order = (await service.place(make_request(units=Decimal(13)))).order

    assert (order.status, order.reason, order.fills) == (OrderStatus.CANCELLED, "INSUFFICIENT_MARGIN", ())


async def test_refused_order_is_rejected_with_the_venues_reason(
    harness: OrderServiceHarness, make_request: MakeRequest
) -> None:
    async with harness.service() as service:
        order = (await service.place(make_request(units=Decimal(666)))).order

    assert (order.status, order.reason) == (OrderStatus.REJECTED, "UNITS_LIMIT_EXCEEDED")
    assert [(event.reason, event.source) for event in harness.of("OrderRefused")] == [("UNITS_LIMIT_EXCEEDED", "venue")]


async def test_same_client_id_twenty_times_at_once_posts_once(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with harness.service() as service:
        placed = await asyncio.gather(*(service.place(make_request()) for _ in range(20)))

    assert len({item.order.id for item in placed}) == 1
    assert {item.order.status for item in placed} == {OrderStatus.FILLED}
    assert [item.replayed for item in placed] == [False] + [True] * 19
    assert len(venue.writes) == 1
    assert [event.action for event in harness.of("DuplicateRequest")] == ["replayed"] * 19


async def test_same_client_id_with_another_body_conflicts(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with harness.service() as service:
        await service.place(make_request())
        with pytest.raises(ClientIdConflictError):
            await service.place(make_request(units=Decimal(7)))

    assert len(venue.writes) == 1


@pytest.mark.parametrize("fault", ["lose", "504", "quiet"])
async def test_lost_answer_of_an_executed_order_is_found_by_scans_without_a_second_post(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest, fault: str
) -> None:
    venue.faults.append(fault)
    async with harness.service() as service:
        order = (await service.place(make_request())).order

    assert order.status is OrderStatus.FILLED
    assert (len(venue.writes), len(venue.fills)) == (1, 1)


@pytest.mark.parametrize("fault", ["drop", "unseen"])
async def test_order_that_never_arrived_is_presumed_absent_and_never_sent_again(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest, fault: str
) -> None:
    venue.faults.append(fault)
    async with harness.service() as service:
        order = (await service.place(make_request())).order

    assert order.status is OrderStatus.PRESUMED_ABSENT
    assert (len(venue.writes), len(venue.fills)) == (1, 0)


async def test_presumed_absent_order_is_adopted_when_it_appears(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    venue.faults.append("drop")
    async with harness.service() as service:
        order = (await service.place(make_request())).order
        assert order.status is OrderStatus.PRESUMED_ABSENT
        made = venue.make(venue.writes[0][2]["order"])
        await venue.push(*made.values())
        while held(service, order.id).status is not OrderStatus.FILLED:
            await asyncio.sleep(0.005)

    assert [event.result for event in harness.of("UnknownResolved")] == ["presumed_absent", "adopted"]


async def test_restart_resolves_what_was_on_its_way(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    venue.faults.append("quiet")
    async with harness.service(answer_wait_s=0.0, absence_horizon_s=60) as service:
        venue.hidden = 0
        order = (await service.place(make_request())).order
    assert order.status is OrderStatus.UNKNOWN

    async with harness.service() as service:
        while held(service, order.id).status is not OrderStatus.FILLED:
            await asyncio.sleep(0.005)
        again = await service.place(make_request())

    assert (again.order.id, again.replayed) == (order.id, True)
    assert len(venue.writes) == 1


async def test_replacement_ends_the_old_order_and_rests_a_new_one(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with harness.service() as service:
        old = (await service.place(make_request(type=OrderType.LIMIT, price=Decimal("1.09")))).order
        new = (await service.replace(old.id, make_request("second", type=OrderType.LIMIT, price=Decimal("1.08")))).order
        ended = held(service, old.id)

    assert (new.status, new.id != old.id) == (OrderStatus.PENDING, True)
    assert (ended.status, ended.reason) == (OrderStatus.CANCELLED, "CLIENT_REQUEST_REPLACED")


async def test_replacing_an_order_that_is_gone_is_rejected(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with harness.service() as service:
        old = (await service.place(make_request(type=OrderType.LIMIT, price=Decimal("1.09")))).order
        venue.pending.clear()
        new = (await service.replace(old.id, make_request("second", type=OrderType.LIMIT, price=Decimal("1.08")))).order

    assert (new.status, new.reason) == (OrderStatus.REJECTED, "ORDER_DOESNT_EXIST")


async def test_stream_brings_changes_and_quotes(harness: OrderServiceHarness, make_request: MakeRequest) -> None:
    found: list[Streamed] = []
    async with harness.service() as service:

        async def listen() -> None:
            async with aclosing(service.follow(None)) as stream:
                async for item in stream:
                    found.append(item)  # noqa: PERF401 - for ever

        listening = asyncio.create_task(listen())
        await wait_until(lambda: bool(found))
        await service.place(make_request())
        await wait_until(lambda: "filled" in statuses(found) and len(transactions(found)) >= 2)
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)

    assert isinstance(found[0], Begun)
    assert statuses(found) == ["submitted", "filled"]
    assert transactions(found) == ["MARKET_ORDER", "ORDER_FILL"]


def statuses(found: list[Streamed]) -> list[str]:
    return [str(item.order.status) for item in found if isinstance(item, Change) and item.order is not None]


def transactions(found: list[Streamed]) -> list[str]:
    return [item.transaction["type"] for item in found if isinstance(item, Change) and item.transaction is not None]


async def test_what_is_not_there_is_said(harness: OrderServiceHarness) -> None:
    async with harness.service() as service:
        with pytest.raises(UnknownOrderError):
            await service.cancel("nothing")
        with pytest.raises(UnknownPositionError):
            await service.close_position("EUR_USD")
        with pytest.raises(UnknownPositionError):
            await service.close_trade("1")
        assert service.order("nothing") is None


class History:
    """Orders that a service has forgotten."""

    def __init__(self, *orders: Order) -> None:
        self.orders = {(item.request.client, item.request.client_order_id): item for item in orders}
        self.noted: list[str] = []

    async def first(self, client: str, client_order_id: str) -> Order | None:
        return self.orders.get((client, client_order_id))

    def note(self, _: str, client_order_id: str) -> None:
        self.noted.append(client_order_id)


async def forgotten(harness: OrderServiceHarness, order: Order) -> None:
    """A service on an empty journal whose history has the order; the venue's log is not read back."""
    harness.directory /= "another"
    harness.memory = History(order)
    harness.settings["read_back_transactions"] = 0


async def test_repeated_close_of_a_position_gives_its_first_result(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with harness.service() as service:
        await service.place(make_request())
        first = await service.close_position("EUR_USD", client="flow", client_order_id="close-1")
        again = await service.close_position("EUR_USD", client="flow", client_order_id="close-1")
        with pytest.raises(ClientIdConflictError):
            await service.close_position("EUR_USD", units=Decimal(7), client="flow", client_order_id="close-1")
    assert (first.replayed, again) == (False, Placed(first.order, replayed=True))
    assert len(venue.writes) == 2


async def test_repeated_close_of_a_trade_gives_its_first_result(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with harness.service() as service:
        await service.place(make_request())
        first = await service.close_trade("1", client="flow", client_order_id="close-1")
        again = await service.close_trade("1", client="flow", client_order_id="close-1")
        with pytest.raises(ClientIdConflictError):
            await service.close_trade("2", client="flow", client_order_id="close-1")
    assert (first.replayed, again) == (False, Placed(first.order, replayed=True))
    assert len(venue.writes) == 2


async def test_order_that_only_the_history_knows_gives_its_first_result(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with harness.service() as service:
        first = await service.place(make_request())
    await forgotten(harness, first.order)
    async with harness.service() as service:
        again = await service.place(make_request())
        with pytest.raises(ClientIdConflictError):
            await service.place(make_request(type=OrderType.LIMIT, price=Decimal("1.09")))
    assert (first.replayed, again) == (False, Placed(first.order, replayed=True))
    assert len(venue.writes) == 1


async def test_close_that_only_the_history_knows_gives_its_first_result(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with harness.service() as service:
        await service.place(make_request())
        first = await service.close_position("EUR_USD", client="flow", client_order_id="close-1")
    await forgotten(harness, first.order)
    async with harness.service() as service:
        again = await service.close_position("EUR_USD", client="flow", client_order_id="close-1")
    assert (first.replayed, again) == (False, Placed(first.order, replayed=True))
    assert len(venue.writes) == 2


async def test_new_id_is_noted_before_it_is_sent(harness: OrderServiceHarness, make_request: MakeRequest) -> None:
    harness.memory = history = History()
    async with harness.service() as service:
        await service.place(make_request("new"))
    assert history.noted == ["new"]


async def test_position_is_closed_at_once_though_the_stream_has_not_told_of_it(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(*_: object) -> None:
        return

    monkeypatch.setattr(venue, "push", silent)
    async with harness.service() as service:
        await service.place(make_request())
        order = (await service.close_position("EUR_USD")).order
    assert order.filled_units == 100
    assert venue.position == 0


async def test_fill_counts_once_when_answer_and_stream_have_both_told_of_it(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with harness.service(account=RiskLimits(position_units=Decimal(250))) as service:
        for name in ("a", "b"):
            await service.place(make_request(name))
        await service.reconcile()
        third = (await service.place(make_request("c"))).order
        part = (await service.place(make_request("d", units=Decimal(50)))).order
    assert (third.status, third.reason) == (OrderStatus.DENIED, "POSITION_LIMIT_EXCEEDED")
    assert part.status is OrderStatus.FILLED


async def test_position_limit_counts_the_fill_that_the_stream_has_not_told_of(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(*_: object) -> None:
        return

    monkeypatch.setattr(venue, "push", silent)
    async with harness.service(account=RiskLimits(position_units=Decimal(150))) as service:
        await service.place(make_request("a"))
        second = (await service.place(make_request("b"))).order
    assert (second.status, second.reason) == (OrderStatus.DENIED, "POSITION_LIMIT_EXCEEDED")


async def test_position_is_closed_by_the_venues_close(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with harness.service() as service:
        await service.place(make_request())
        order = (await service.close_position("EUR_USD")).order

    assert (order.status, order.request.side, order.filled_units) == (OrderStatus.FILLED, Side.SELL, Decimal(100))
    assert venue.writes[1][2]["longUnits"] == "ALL"
    assert venue.position == 0


async def test_trade_is_closed_and_its_order_known_without_a_client_id(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with harness.service() as service:
        await service.place(make_request())
        venue.faults.append("lose")
        order = (await service.close_trade("1")).order

    assert order.status is OrderStatus.FILLED
    assert venue.writes[1][2] == {"units": "ALL"}
    assert venue.position == 0


async def test_close_of_a_trade_that_only_the_stream_tells_of_is_filled(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with harness.service() as service:
        await service.place(make_request())
        venue.faults.append("told_and_lost")
        order = (await service.close_trade("1")).order

    assert (order.status, order.filled_units) == (OrderStatus.FILLED, Decimal(100))


async def test_two_closes_of_one_trade_whose_answers_are_lost_get_a_fill_each(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with harness.service() as service:
        await service.place(make_request())
        venue.faults.extend(["told_and_lost", "told_and_lost"])
        placed = await asyncio.gather(service.close_trade("1", Decimal(40)), service.close_trade("1", Decimal(40)))

    fills = [fill.transaction_id for item in placed for fill in item.order.fills]
    assert sorted(fills) == sorted(item["id"] for item in venue.fills[1:])
    assert {item.order.status for item in placed} <= {OrderStatus.FILLED, OrderStatus.PARTIALLY_FILLED}
