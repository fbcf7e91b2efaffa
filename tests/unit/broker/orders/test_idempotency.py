"""The same id gives the first result: of closes whose position is gone, and of ids that memory has forgotten."""

from __future__ import annotations

from decimal import Decimal

import pytest

from broker.domain import Order, OrderStatus, OrderType
from broker.orders.errors import ClientIdConflictError
from broker.orders.idempotency import Placed
from broker.orders.settings import RiskLimits
from tests.unit.broker.orders.fake_venue import FakeVenue
from tests.unit.broker.orders.order_service_fixture import MakeRequest, OrderServiceHarness


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
