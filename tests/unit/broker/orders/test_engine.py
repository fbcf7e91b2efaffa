from __future__ import annotations

import asyncio

import pytest

from broker.domain import OrderStatus
from broker.orders.checks import risk
from tests.unit.broker.orders.fake_venue import FakeVenue
from tests.unit.broker.orders.order_service_fixture import MakeRequest, OrderServiceHarness, wait_until


async def test_hundred_cuts_of_a_stream_lose_and_double_nothing(
    harness: OrderServiceHarness, venue: FakeVenue
) -> None:
    seen: list[str] = []
    async with harness.service() as service:

        async def watch() -> None:
            async for change in service.changes(0):
                seen.extend([change.transaction["id"]] if change.transaction is not None else [])

        watching = asyncio.create_task(watch())
        for round_ in range(100):
            await wait_until(lambda: bool(venue.streams))
            item = venue.add("DAILY_FINANCING", number=round_)
            for stream in list(venue.streams):
                await stream.write(b'{"type": "DAILY_FINA')
                venue.cut(stream)
            venue.add("DAILY_FINANCING", number=round_, after=item["id"])
        await wait_until(lambda: len(seen) == 200)
        watching.cancel()

    assert seen == [str(number) for number in range(1, 201)]


async def test_order_that_a_fault_of_ours_stopped_is_denied_and_not_sent(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(risk, "check", fail)
    async with harness.service() as service:
        with pytest.raises(ZeroDivisionError):
            await service.place(make_request())
        order = service.by_client_id("flow", "first")
    assert order is not None
    assert (order.status, order.reason) == (OrderStatus.DENIED, "INTERNAL_ERROR")
    assert venue.writes == []


async def test_fault_of_ours_leaves_the_outcome_to_the_venues_log(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("broker.venue.rest.client.parse.parse_answer", fail)
    async with harness.service() as service:
        order = (await service.place(make_request())).order

    assert order.status is OrderStatus.FILLED
    assert len(venue.writes) == 1
