from __future__ import annotations

import asyncio

import pytest

from broker.domain import OrderStatus
from broker.orders.engine import OrderEngine
from broker.orders.errors import DrainingError, NotReadyError
from broker.orders.ownership.lease import FileLease
from tests.unit.broker.orders.fake_venue import ACCOUNT, FakeVenue
from tests.unit.broker.orders.order_service_fixture import MakeRequest, OrderServiceHarness, blocked, wait_until


async def test_drain_answers_those_in_flight_and_takes_no_more(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    venue.gate.clear()
    async with harness.service() as service:
        placing = [asyncio.create_task(service.place(make_request(f"order-{n}"))) for n in range(10)]
        await wait_until(lambda: len(venue.writes) == 8)  # as many as there are connections
        stopping = asyncio.create_task(harness.stop())
        await wait_until(lambda: service.leadership.draining)
        with pytest.raises(DrainingError):
            await service.place(make_request("late"))
        venue.gate.set()
        orders = [placed.order for placed in await asyncio.gather(*placing)]
        await stopping

    assert {order.status for order in orders} == {OrderStatus.FILLED}
    assert [event.result for event in harness.of("DrainEnded")] == ["complete"]


async def test_drain_beyond_its_deadline_leaves_orders_to_the_journal(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    venue.gate.clear()
    async with harness.service(drain_s=0.05) as service:
        placing = asyncio.create_task(service.place(make_request()))
        await wait_until(lambda: len(venue.writes) == 1)
        await harness.stop()
        told = (await placing).order
    venue.gate.set()
    await wait_until(lambda: len(venue.fills) == 1)
    async with harness.service() as service:
        order = (await service.place(make_request())).order

    assert told.status is OrderStatus.SUBMITTED
    assert order.status is OrderStatus.FILLED
    assert len(venue.writes) == 1
    assert next(event.result for event in harness.of("DrainEnded")) == "deadline"


async def test_fault_of_the_engine_ends_the_term_and_lets_its_callers_go(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = asyncio.Event()

    async def fail(_: OrderEngine) -> None:
        await fault.wait()
        raise KeyError("sample")

    monkeypatch.setattr(OrderEngine, "_sample_periodically", fail)
    venue.gate.clear()
    with pytest.RaisesGroup(KeyError, flatten_subgroups=True):
        async with harness.service() as service:
            placing = asyncio.create_task(service.place(make_request()))
            await wait_until(lambda: len(venue.writes) == 1)
            fault.set()
            told = (await placing).order

    assert told.status is OrderStatus.SUBMITTED


async def test_second_process_waits_until_the_first_gives_up(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    other = OrderServiceHarness(venue, harness.directory)
    async with harness.service() as first:
        await first.place(make_request())
        async with other.service(wait_ready=False) as second:
            await wait_until(lambda: any(item.reason == "NotOwner" for item in second.conditions()))
            with pytest.raises(NotReadyError, match="NotOwner"):
                await second.place(make_request("second"))
            await harness.stop()
            await wait_until(lambda: not blocked(second))
            again = (await second.place(make_request())).order

    assert again.status is OrderStatus.FILLED
    assert len(venue.writes) == 1


async def test_account_that_was_lost_is_taken_again_and_changes_go_on(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    seen: list[str] = []
    async with harness.service(lease_s=2.0) as service:

        async def watch() -> None:
            async for change in service.changes(0):
                seen.extend([change.order.id] if change.order is not None else [])

        watching = asyncio.create_task(watch())
        first = (await service.place(make_request())).order
        (harness.directory / "ownership" / ACCOUNT / "lease.2").write_text("{}")
        with pytest.raises(NotReadyError, match="NotOwner"):
            await service.place(make_request("fenced"))
        await wait_until(lambda: not blocked(service) and service.leadership.lease.epoch == 3)
        second = (await service.place(make_request("second"))).order
        again = (await service.place(make_request())).order
        await wait_until(lambda: seen.count(second.id) == 2)
        watching.cancel()

    assert again.id == first.id
    assert seen.count(first.id) == seen.count(second.id) == 2
    assert len(venue.fills) == 2


@pytest.mark.parametrize(("standby", "ready"), [("refuse", False), ("forward", True)])
async def test_standby_knows_the_owner_and_is_ready_where_it_passes_orders_on(
    harness: OrderServiceHarness, venue: FakeVenue, standby: str, *, ready: bool
) -> None:
    lease = FileLease(harness.directory / "ownership" / ACCOUNT, owner="broker", lease_s=60, address="10.0.0.1:8080")
    await lease.acquire()
    async with harness.service(wait_ready=False, standby=standby) as service:
        assert service.elsewhere() is None, "it has not looked yet"
        await wait_until(lambda: service.elsewhere() == "10.0.0.1:8080")
        assert (blocked(service) == []) is ready
        await lease.release()
        await wait_until(lambda: not blocked(service) and service.leadership.lease.epoch == 2)
        assert service.elsewhere() is None
