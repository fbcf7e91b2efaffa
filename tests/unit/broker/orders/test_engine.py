from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Awaitable, Callable
from decimal import Decimal

import pytest

from broker.domain import Order, OrderRequest, OrderStatus, OrderType, Side
from broker.orders.checks import risk
from broker.orders.engine import CANCEL_TRIES
from broker.orders.errors import NotReadyError
from broker.orders.idempotency import Placed
from broker.orders.mass_actions import OrderFilter
from broker.orders.model.trading_state import TradingState
from broker.orders.service import OrderService
from broker.venue.errors import NotAuthorizedError
from pod_runtime.secret import Secret
from tests.failing_files import ERRORS, failing, failing_at
from tests.unit.broker.orders.fake_venue import ACCOUNT, FakeVenue
from tests.unit.broker.orders.order_service_fixture import MakeRequest, OrderServiceHarness, blocked, wait_until


async def test_hundred_cuts_of_a_stream_lose_and_double_nothing(harness: OrderServiceHarness, venue: FakeVenue) -> None:
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


async def test_order_that_a_lack_of_memory_stopped_may_come_again(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    async with harness.service() as service:
        with monkeypatch.context() as patch:
            patch.setattr(risk, "check", fail)
            with pytest.raises(MemoryError):
                await service.place(make_request())
        again = (await service.place(make_request())).order
    assert again.status is OrderStatus.FILLED
    assert len(venue.writes) == 1


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


async def test_halt_stops_an_order_that_waits_for_the_disk(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on = threading.Event()
    async with harness.service() as service:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", lambda _: goes_on.wait())
            placing = asyncio.create_task(service.place(make_request()))
            await wait_until(lambda: bool(service.open_orders()))
            service.set_state(TradingState.HALTED, "operator", "drill")
            goes_on.set()
            order = (await placing).order

    assert (order.status, order.reason) == (OrderStatus.DENIED, "TRADING_HALTED")
    assert venue.writes == []


async def test_dead_token_is_our_fault_and_leaves_the_id_to_its_caller(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with harness.service() as service:
        venue.faults.append("401")
        with pytest.raises(NotReadyError, match="VenueUnauthorized"):
            await service.place(make_request())
        assert service.open_orders() == []
        order = (await service.place(make_request())).order
    assert order.status is OrderStatus.FILLED
    async with harness.service() as service:
        again = await service.place(make_request())
    assert (again.order.id, again.replayed) == (order.id, True)
    assert [method for method, _, _ in venue.writes] == ["POST", "POST"]


async def test_id_is_free_after_a_restart_behind_a_dead_token(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with harness.service() as service:
        venue.faults.append("401")
        with pytest.raises(NotReadyError):
            await service.place(make_request())
    async with harness.service() as service:
        assert (await service.place(make_request())).order.status is OrderStatus.FILLED


@pytest.mark.parametrize("what", ["replace", "close_position", "close_trade", "cancel"])
async def test_dead_token_ends_no_other_request_either(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest, what: str
) -> None:
    async with harness.service() as service:
        await service.place(make_request())
        resting = (await service.place(make_request("resting", type=OrderType.LIMIT, price=Decimal("1.09")))).order
        other = make_request("other", type=OrderType.LIMIT, price=Decimal("1.08"))
        tries: dict[str, Callable[[], Awaitable[Placed | Order]]] = {
            "replace": lambda: service.replace(resting.id, other),
            "close_position": lambda: service.close_position("EUR_USD", client="flow", client_order_id="close"),
            "close_trade": lambda: service.close_trade("1", client="flow", client_order_id="close"),
            "cancel": lambda: service.cancel(resting.id),
        }
        venue.faults.extend(["401"] * (CANCEL_TRIES if what == "cancel" else 1))
        with pytest.raises((NotReadyError, NotAuthorizedError)):
            await tries[what]()
        found = await tries[what]()
    ended = found.order if isinstance(found, Placed) else found
    assert ended.status is not OrderStatus.REJECTED
    assert ended.status is not OrderStatus.DENIED


async def test_an_order_that_a_gateway_refused_is_looked_for_and_never_sent_again(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with harness.service() as service:
        venue.faults.append("wall")
        order = (await service.place(make_request())).order
        again = (await service.place(make_request())).order
    assert (order.status, order.reason) == (OrderStatus.PRESUMED_ABSENT, "NOT_FOUND"), "the log tells, not the gateway"
    assert (again.id, len(venue.writes)) == (order.id, 1)


async def test_dead_tokens_do_not_open_the_circuit(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with harness.service(circuit_failures=1) as service:
        venue.faults.append("401")
        with pytest.raises(NotReadyError):
            await service.place(make_request())
        assert (await service.place(make_request())).order.status is OrderStatus.FILLED


async def test_new_token_is_used_from_the_next_order_on(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with harness.service() as service:
        venue.token = "another-token"
        harness.token = Secret("another-token")
        for stream in list(venue.streams):
            venue.cut(stream)
        await wait_until(lambda: bool(venue.tokens_of_streams("another-token")))
        assert (await service.place(make_request())).order.status is OrderStatus.FILLED


@pytest.mark.parametrize("error", ERRORS, ids=errno.errorcode.get)
@pytest.mark.parametrize("call", ["write", "fdatasync"])
async def test_volume_that_fails_refuses_orders_for_now_and_sends_nothing(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest, call: str, error: int
) -> None:
    async with harness.service() as service:
        with (
            failing(error, lambda _, name: name == call),
            pytest.raises(NotReadyError, match="JournalFailed") as refusal,
        ):
            await service.place(make_request())
        assert (blocked(service), refusal.value.retry_after_s, venue.writes) == (["Journal"], 5.0, [])
        assert (await service.place(make_request())).order.status is OrderStatus.FILLED, "the same id may come again"
        assert blocked(service) == []


async def test_readiness_returns_by_itself_when_the_volume_takes_records_again(
    harness: OrderServiceHarness, make_request: MakeRequest
) -> None:
    async with harness.service(sample_s=0.1) as service:
        with failing(errno.ENOSPC, lambda _, name: name == "write"):
            with pytest.raises(NotReadyError):
                await service.place(make_request())
            assert blocked(service) == ["Journal"]
        await wait_until(lambda: not blocked(service))


async def test_full_volume_stops_no_cancel_and_no_halt_and_loses_none(
    harness: OrderServiceHarness, make_request: MakeRequest
) -> None:
    seen: list[Order] = []
    async with harness.service(sample_s=0.1) as service:
        resting = (await service.place(make_request(type=OrderType.LIMIT, price=Decimal("1.0850")))).order
        with failing(errno.ENOSPC):
            service.set_state(TradingState.HALTED, "operator", "drill")
            cancelled = await service.cancel(resting.id)
            again = await service.mass_actions.cancel_all("flow", "all", OrderFilter())
        assert (cancelled.status, again.outcomes) == (OrderStatus.CANCELLED, ())
        await wait_until(lambda: not blocked(service))

        async def watch() -> None:
            async for change in service.changes(0):
                seen.extend([change.order] if change.order is not None else [])

        watching = asyncio.create_task(watch())
        await wait_until(lambda: any(order.status is OrderStatus.CANCELLED for order in seen))
        watching.cancel()
    async with harness.service() as service:
        order = service.order(resting.id)
        assert order is not None
        assert (order.status, service.state) == (OrderStatus.CANCELLED, TradingState.HALTED)


SWEEP_STEP = int(os.environ.get("SWEEP_STEP", "12"))
"""Of the calls of a term, each so many-th fails; a soak takes all of them."""


@pytest.mark.parametrize("error", ERRORS, ids=errno.errorcode.get)
async def test_fault_at_any_call_of_a_term_ends_no_process_and_loses_no_order(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest, error: int
) -> None:
    harness.settings |= {"lease_s": 2.0, "sample_s": 0.1, "reconcile_s": 1.0}
    with failing(error, lambda *_: False) as layer:
        async with harness.service() as service:
            await service.place(make_request("whole"))
    for number in range(1, layer.calls + 1, SWEEP_STEP):
        with failing_at(number, error):
            async with harness.service() as service:
                placed = await placed_at_last(service, make_request(f"order-{number}"))
        assert placed.status is OrderStatus.FILLED, number
        async with harness.service() as service:
            assert (await service.place(make_request(f"order-{number}"))).order.id == placed.id, number
    assert len(venue.fills) == 1 + len(range(1, layer.calls + 1, SWEEP_STEP))


async def placed_at_last(service: OrderService, request: OrderRequest) -> Order:
    """The order, asked for again as its caller would."""
    while True:
        try:
            return (await service.place(request)).order
        except NotReadyError:
            await asyncio.sleep(0.02)


async def test_halt_stops_an_order_that_waits_for_the_rate_limit(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with harness.service() as service:
        harness.rest.connections.requests.obey(60.0)
        placing = asyncio.create_task(service.place(make_request()))
        await wait_until(lambda: harness.rest.connections.requests.depth > 0 and bool(service.open_orders()))
        await wait_until(lambda: any(event.stage == "journal" for event in harness.of("OrderStage")))
        service.set_state(TradingState.HALTED, "operator", "drill")
        harness.rest.connections.requests.open()
        order = (await placing).order

    assert (order.status, order.reason) == (OrderStatus.DENIED, "TRADING_HALTED")
    assert venue.writes == []


async def test_owner_that_was_followed_while_it_waited_for_the_disk_sends_nothing(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on = threading.Event()
    async with harness.service() as service:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", lambda _: goes_on.wait())
            placing = asyncio.create_task(service.place(make_request()))
            await wait_until(lambda: bool(service.open_orders()))
            (harness.directory / "ownership" / ACCOUNT / f"lease.{service.leadership.lease.epoch + 1}").write_text("{}")
            goes_on.set()
            with pytest.raises(NotReadyError, match="NotOwner"):
                await placing
        assert venue.writes == []
        await wait_until(lambda: not blocked(service) and service.leadership.lease.epoch > 2)
        first = next(event.order_id for event in harness.of("OrderTransition"))
        order = service.order(first)
        again = await service.place(make_request())

    assert order is not None
    assert (order.status, order.reason) == (OrderStatus.DENIED, "OWNERSHIP_LOST")
    assert [item.status for item in harness.of("OrderTransition") if item.order_id == first] == [
        "received",
        "submitted",
        "denied",
    ]
    assert (again.order.status, again.replayed) == (OrderStatus.FILLED, False)
    assert len(venue.writes) == 1


async def test_too_many_requests_end_the_order_after_scans_and_leave_the_id_to_its_caller(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    venue.faults.append("429")
    async with harness.service() as service:
        with pytest.raises(NotReadyError, match="VenueRateLimited"):
            await service.place(make_request())
        assert (service.open_orders(), len(venue.writes)) == ([], 1)
        assert [event.reason for event in harness.of("OrderRefused")] == ["RATE_LIMITED"]
    async with harness.service() as service:
        order = (await service.place(make_request())).order
        again = await service.place(make_request())

    assert order.status is OrderStatus.FILLED
    assert (again.order.id, again.replayed, len(venue.writes)) == (order.id, True, 2)


async def test_cancel_of_an_order_that_the_venue_did_not_look_at_tells_its_end(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with harness.service(answer_wait_s=0.0) as service:
        venue.faults.append("429")
        order = (await service.place(make_request(type=OrderType.LIMIT, price=Decimal("1.09")))).order
    async with harness.service() as service:
        ended = await service.cancel(order.id)

    assert (order.status, ended.status, ended.reason) == (OrderStatus.UNKNOWN, OrderStatus.REJECTED, "RATE_LIMITED")


async def test_venue_that_fails_again_and_again_gets_no_new_exposure(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    venue.faults.extend(["", "drop", "drop"])
    async with harness.service(circuit_failures=2, answer_wait_s=0.0) as service:
        await service.place(make_request())
        for name in ("second", "third"):
            await service.place(make_request(name))
        opening = (await service.place(make_request("fourth"))).order
        closing = (await service.place(make_request("fifth", side=Side.SELL))).order

    assert (opening.status, opening.reason) == (OrderStatus.DENIED, "CIRCUIT_OPEN")
    assert closing.status is OrderStatus.FILLED
