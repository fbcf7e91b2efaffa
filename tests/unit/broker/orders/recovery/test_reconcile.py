from __future__ import annotations

from decimal import Decimal

import pytest

from broker.domain import Order, OrderStatus, OrderType
from broker.orders.recovery import reconcile
from broker.orders.service import OrderService
from tests.unit.broker.orders.fake_venue import FakeVenue
from tests.unit.broker.orders.order_service_fixture import MakeRequest, OrderServiceHarness, wait_until


async def test_reconcile_finds_and_adopts_what_was_missed(harness: OrderServiceHarness, venue: FakeVenue) -> None:
    async with harness.service() as service:
        await wait_until(lambda: bool(harness.of("ReconcileRun")))
        venue.pending["99"] = {
            "id": "99",
            "type": "LIMIT_ORDER",
            "instrument": "EUR_USD",
            "units": "5",
            "createTime": "0",
        }
        venue.position = Decimal(7)
        found = await service.reconcile()
        again = await service.reconcile()

    assert [(item.kind, item.subject, item.ours, item.theirs) for item in found] == [
        ("order", "99", "absent", "pending"),
        ("position", "EUR_USD", "0", "7"),
    ]
    assert list(again) == []


async def missed_end(service: OrderService, venue: FakeVenue, order: Order, end: str) -> None:
    """Ends a resting order at the venue without a word to the store."""
    engine = service.leadership.engine
    assert engine is not None
    created = venue.pending[order.venue_order_id or ""]
    _ = venue.fill(created) if end == "fill" else venue.cancel(created, "MARKET_HALTED")
    engine.feed.applied = engine.feed.last_known = len(venue.log)


@pytest.mark.parametrize("forgotten", [False, True])
@pytest.mark.parametrize(("end", "status"), [("fill", OrderStatus.FILLED), ("cancel", OrderStatus.CANCELLED)])
async def test_order_that_rests_nowhere_is_settled_by_the_venues_log(
    harness: OrderServiceHarness,
    venue: FakeVenue,
    make_request: MakeRequest,
    end: str,
    status: OrderStatus,
    *,
    forgotten: bool,
) -> None:
    async with harness.service(reconcile_s=1000) as service:
        await wait_until(lambda: bool(harness.of("ReconcileRun")))
        order = (await service.place(make_request(type=OrderType.LIMIT, price=Decimal("1.09")))).order
        await missed_end(service, venue, order, end)
        venue.forgotten = len(venue.log) if forgotten else 0
        found = await service.reconcile()
        again = await service.reconcile()
        settled = service.order(order.id)

    assert ("order", "pending", "absent") in [(item.kind, item.ours, item.theirs) for item in found]
    assert list(again) == []
    assert settled is not None
    assert (settled.status, settled.filled_units) == (status, order.request.units if end == "fill" else 0)


async def test_order_that_rests_although_we_had_it_as_filled_is_pending_again(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with harness.service(reconcile_s=1000) as service:
        await wait_until(lambda: bool(harness.of("ReconcileRun")))
        order = (await service.place(make_request(type=OrderType.LIMIT, price=Decimal("1.09")))).order
        engine = service.leadership.engine
        assert engine is not None
        engine.store.move(order.id, OrderStatus.FILLED, None)
        found = await service.reconcile()
        again = await service.reconcile()
        held = service.order(order.id)

    assert [(item.kind, item.ours, item.theirs) for item in found] == [("order", "absent", "pending")]
    assert list(again) == []
    assert held is not None
    assert held.status is OrderStatus.PENDING


async def test_every_part_of_an_order_that_rests_nowhere_is_found_however_long_the_log_is(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile, "MOST_PAGES", 1)
    async with harness.service(reconcile_s=1000) as service:
        await wait_until(lambda: bool(harness.of("ReconcileRun")))
        order = (await service.place(make_request(type=OrderType.LIMIT, price=Decimal("1.09")))).order
        created = venue.pending[order.venue_order_id or ""]
        venue.page = 2
        for units in ("30", "20", "50"):
            venue.add("DAILY_FINANCING")
            venue.fill(created | {"units": units})
        engine = service.leadership.engine
        assert engine is not None
        engine.feed.applied = engine.feed.last_known = len(venue.log)
        await service.reconcile()
        settled = service.order(order.id)

    assert settled is not None
    assert settled.status is OrderStatus.FILLED
    assert [str(fill.units) for fill in settled.fills] == ["30", "20", "50"]


async def test_reconcile_goes_on_where_the_log_does_not_show_an_order_yet(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with harness.service(reconcile_s=1000) as service:
        await wait_until(lambda: bool(harness.of("ReconcileRun")))
        order = (await service.place(make_request(type=OrderType.LIMIT, price=Decimal("1.09")))).order
        await missed_end(service, venue, order, "fill")
        # The comparison reads the log once; the second reading asks for what is behind the order.
        venue.withheld_from = venue.since_calls + 2
        found = await service.reconcile()
        settled = service.order(order.id)

    assert ("order", "pending", "absent") in [(item.kind, item.ours, item.theirs) for item in found]
    assert venue.since_calls >= venue.withheld_from
    assert settled is not None
    assert settled.status is OrderStatus.FILLED


async def test_rest_that_the_venue_does_not_keep_ends_its_order_without_a_comparison(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with harness.service(reconcile_s=1000) as service:
        await wait_until(lambda: bool(harness.of("ReconcileRun")))
        limit = make_request(type=OrderType.LIMIT, price=Decimal("1.09"))
        order = (await service.place(limit)).order
        await venue.push(venue.fill(venue.pending[order.venue_order_id or ""] | {"units": "30"}))
        await wait_until(lambda: not service.open_orders())
        ended = service.order(order.id)
        found = await service.reconcile()

    assert ended is not None
    assert (ended.status, str(ended.filled_units)) == (OrderStatus.PARTIALLY_FILLED, "30")
    assert list(found) == []


async def test_rest_that_the_venue_keeps_works_on(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with harness.service(reconcile_s=1000) as service:
        await wait_until(lambda: bool(harness.of("ReconcileRun")))
        limit = make_request(type=OrderType.LIMIT, price=Decimal("1.09"))
        order = (await service.place(limit)).order
        created = venue.pending[order.venue_order_id or ""]
        filled = venue.fill(created | {"units": "30"})
        venue.pending[created["id"]] = created
        await venue.push(filled)
        await wait_until(lambda: (held := service.order(order.id)) is not None and bool(held.fills))
        found = await service.reconcile()
        held = service.order(order.id)

    assert held is not None
    assert (held.status, str(held.filled_units)) == (OrderStatus.PENDING, "30")
    assert [item.kind for item in found if item.kind == "order"] == []


async def test_cancel_of_an_order_whose_rest_the_venue_does_not_keep_tells_its_end(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with harness.service(reconcile_s=1000) as service:
        await wait_until(lambda: bool(harness.of("ReconcileRun")))
        limit = make_request(type=OrderType.LIMIT, price=Decimal("1.09"))
        order = (await service.place(limit)).order
        venue.fill(venue.pending[order.venue_order_id or ""] | {"units": "30"})
        ended = await service.cancel(order.id)

    assert (ended.status, str(ended.filled_units)) == (OrderStatus.PARTIALLY_FILLED, "30")
