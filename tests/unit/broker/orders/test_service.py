from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest

from broker.domain import OrderStatus, OrderType, Side
from broker.orders.errors import ClientIdConflictError
from tests.unit.broker.orders.fake_venue import FakeVenue
from tests.unit.broker.orders.order_service_fixture import Bench, MakeRequest


async def test_market_order_is_filled_by_one_post(bench: Bench, venue: FakeVenue, make_request: MakeRequest) -> None:
    async with bench.desk() as desk:
        order = (await desk.place(make_request())).order

    assert order.status is OrderStatus.FILLED
    assert [fill.transaction_id for fill in order.fills] == ["2"]
    assert order.fills[0].price == Decimal("1.10000")
    assert [method for method, _, _ in venue.writes] == ["POST"]
    assert [event.status for event in bench.of("OrderTransition")] == ["received", "submitted", "filled"]


async def test_limit_order_rests_until_it_is_cancelled(
    bench: Bench, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with bench.desk() as desk:
        order = (await desk.place(make_request(type=OrderType.LIMIT, price=Decimal("1.09")))).order
        assert order.status is OrderStatus.PENDING
        assert [item.id for item in desk.open_orders()] == [order.id]
        ended = await desk.cancel(order.id)

    assert (ended.status, ended.reason) == (OrderStatus.CANCELLED, "CLIENT_REQUEST")
    assert [event.outcome for event in bench.of("CancelAnswered")] == ["cancelled"]


async def test_killed_market_order_is_cancelled_not_filled(bench: Bench, make_request: MakeRequest) -> None:
    async with bench.desk() as desk:
        order = (await desk.place(make_request(units=Decimal(13)))).order

    assert (order.status, order.reason, order.fills) == (OrderStatus.CANCELLED, "INSUFFICIENT_MARGIN", ())


async def test_refused_order_is_rejected_with_the_venues_reason(bench: Bench, make_request: MakeRequest) -> None:
    async with bench.desk() as desk:
        order = (await desk.place(make_request(units=Decimal(666)))).order

    assert (order.status, order.reason) == (OrderStatus.REJECTED, "UNITS_LIMIT_EXCEEDED")
    assert [(event.reason, event.source) for event in bench.of("OrderRefused")] == [("UNITS_LIMIT_EXCEEDED", "venue")]


async def test_each_check_of_an_order_is_an_event(bench: Bench, make_request: MakeRequest) -> None:
    async with bench.desk() as desk:
        await desk.place(make_request(instrument="NO_SUCH"))

    assert [(event.check, event.result) for event in bench.of("RiskCheck")] == [
        ("account", "passed"),
        ("state", "passed"),
        ("instrument", "denied"),
    ]


async def test_an_order_that_passes_all_checks_is_one_event(bench: Bench, make_request: MakeRequest) -> None:
    async with bench.desk() as desk:
        await desk.place(make_request())

    assert len(bench.of("RiskPassed")) == 1
    assert bench.of("RiskCheck") == []


async def test_same_client_id_twenty_times_at_once_posts_once(
    bench: Bench, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with bench.desk() as desk:
        placed = await asyncio.gather(*(desk.place(make_request()) for _ in range(20)))

    assert len({item.order.id for item in placed}) == 1
    assert {item.order.status for item in placed} == {OrderStatus.FILLED}
    assert [item.replayed for item in placed] == [False] + [True] * 19
    assert len(venue.writes) == 1
    assert [event.action for event in bench.of("DuplicateRequest")] == ["replayed"] * 19


async def test_same_client_id_with_another_body_conflicts(
    bench: Bench, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with bench.desk() as desk:
        await desk.place(make_request())
        with pytest.raises(ClientIdConflictError):
            await desk.place(make_request(units=Decimal(7)))

    assert len(venue.writes) == 1


@pytest.mark.parametrize("fault", ["lose", "504", "quiet"])
async def test_lost_answer_of_an_executed_order_is_found_by_scans_without_a_second_post(
    bench: Bench, venue: FakeVenue, make_request: MakeRequest, fault: str
) -> None:
    venue.faults.append(fault)
    async with bench.desk() as desk:
        order = (await desk.place(make_request())).order

    assert order.status is OrderStatus.FILLED
    assert (len(venue.writes), len(venue.fills)) == (1, 1)


@pytest.mark.parametrize("fault", ["drop", "unseen"])
async def test_order_that_never_arrived_is_presumed_absent_and_never_sent_again(
    bench: Bench, venue: FakeVenue, make_request: MakeRequest, fault: str
) -> None:
    venue.faults.append(fault)
    async with bench.desk() as desk:
        order = (await desk.place(make_request())).order

    assert order.status is OrderStatus.PRESUMED_ABSENT
    assert (len(venue.writes), len(venue.fills)) == (1, 0)


async def test_presumed_absent_order_is_adopted_when_it_appears(
    bench: Bench, venue: FakeVenue, make_request: MakeRequest
) -> None:
    venue.faults.append("drop")
    async with bench.desk() as desk:
        order = (await desk.place(make_request())).order
        assert order.status is OrderStatus.PRESUMED_ABSENT
        made = venue.make(venue.writes[0][2]["order"])
        await venue.tell(*made.values())
        while desk.order(order.id).status is not OrderStatus.FILLED:
            await asyncio.sleep(0.005)

    assert [event.result for event in bench.of("UnknownResolved")] == ["presumed_absent", "adopted"]


async def test_too_many_requests_is_rejected_after_scans(
    bench: Bench, venue: FakeVenue, make_request: MakeRequest
) -> None:
    venue.faults.append("429")
    async with bench.desk() as desk:
        order = (await desk.place(make_request())).order

    assert (order.status, order.reason) == (OrderStatus.REJECTED, "RATE_LIMITED")
    assert len(venue.writes) == 1


async def test_restart_resolves_what_was_on_its_way(
    bench: Bench, venue: FakeVenue, make_request: MakeRequest
) -> None:
    venue.faults.append("quiet")
    async with bench.desk(answer_wait_s=0.0, absence_horizon_s=60) as desk:
        venue.hidden = 0
        order = (await desk.place(make_request())).order
    assert order.status is OrderStatus.UNKNOWN

    async with bench.desk() as desk:
        while desk.order(order.id).status is not OrderStatus.FILLED:
            await asyncio.sleep(0.005)
        again = await desk.place(make_request())

    assert (again.order.id, again.replayed) == (order.id, True)
    assert len(venue.writes) == 1


async def test_position_is_closed_by_the_venues_close(
    bench: Bench, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with bench.desk() as desk:
        await desk.place(make_request())
        order = (await desk.close_position("EUR_USD")).order

    assert (order.status, order.request.side, order.filled_units) == (OrderStatus.FILLED, Side.SELL, Decimal(100))
    assert venue.writes[1][2]["longUnits"] == "ALL"
    assert venue.position == 0


async def test_trade_is_closed_and_its_order_known_without_a_client_id(
    bench: Bench, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with bench.desk() as desk:
        await desk.place(make_request())
        venue.faults.append("lose")
        order = (await desk.close_trade("1")).order

    assert order.status is OrderStatus.FILLED
    assert venue.writes[1][2] == {"units": "ALL"}
    assert venue.position == 0


async def test_replacement_ends_the_old_order_and_rests_a_new_one(
    bench: Bench, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with bench.desk() as desk:
        old = (await desk.place(make_request(type=OrderType.LIMIT, price=Decimal("1.09")))).order
        new = (await desk.replace(old.id, make_request("second", type=OrderType.LIMIT, price=Decimal("1.08")))).order
        ended = desk.order(old.id)

    assert (new.status, new.id != old.id) == (OrderStatus.PENDING, True)
    assert (ended.status, ended.reason) == (OrderStatus.CANCELLED, "CLIENT_REQUEST_REPLACED")


async def test_replacing_an_order_that_is_gone_is_rejected(
    bench: Bench, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with bench.desk() as desk:
        old = (await desk.place(make_request(type=OrderType.LIMIT, price=Decimal("1.09")))).order
        venue.pending.clear()
        new = (await desk.replace(old.id, make_request("second", type=OrderType.LIMIT, price=Decimal("1.08")))).order

    assert (new.status, new.reason) == (OrderStatus.REJECTED, "ORDER_DOESNT_EXIST")


async def test_venue_that_fails_again_and_again_gets_no_new_exposure(
    bench: Bench, venue: FakeVenue, make_request: MakeRequest
) -> None:
    venue.faults.extend(["", "drop", "drop"])
    async with bench.desk(circuit_failures=2, answer_wait_s=0.0) as desk:
        await desk.place(make_request())
        for name in ("second", "third"):
            await desk.place(make_request(name))
        opening = (await desk.place(make_request("fourth"))).order
        closing = (await desk.place(make_request("fifth", side=Side.SELL))).order

    assert (opening.status, opening.reason) == (OrderStatus.DENIED, "CIRCUIT_OPEN")
    assert closing.status is OrderStatus.FILLED
