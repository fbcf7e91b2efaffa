from __future__ import annotations

import asyncio
import errno
import os
import threading
from decimal import Decimal

import pytest

from broker.domain import Order, OrderStatus, OrderType, Quote, Side
from broker.orders.checks import risk
from broker.orders.errors import (
    ClientIdConflictError,
    DrainingError,
    NotReadyError,
    UnknownOrderError,
    UnknownPositionError,
)
from broker.orders.model.trading_state import TradingState
from broker.orders.ownership.file_lease import FileLease
from broker.orders.settings import RiskLimits
from broker.orders.updates import Missed
from pod_runtime.secret import Secret
from tests.unit.broker.orders.fake_venue import ACCOUNT, FakeVenue
from tests.unit.broker.orders.order_service_fixture import MakeRequest, OrderServiceHarness, blocked, wait_until


async def test_halted_denies_before_any_write_and_survives_a_restart(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with harness.service() as service:
        service.set_state(TradingState.HALTED, "operator", "drill")
        order = (await service.place(make_request())).order
    async with harness.service() as service:
        assert service.state is TradingState.HALTED
        again = (await service.place(make_request("second"))).order
        service.set_state(TradingState.ACTIVE, "operator", "over")
        after = (await service.place(make_request("third"))).order

    assert (order.status, order.reason, again.reason) == (OrderStatus.DENIED, "TRADING_HALTED", "TRADING_HALTED")
    assert after.status is OrderStatus.FILLED
    assert len(venue.writes) == 1
    assert [event.state for event in harness.of("TradingStateChanged")] == ["halted", "active"]


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


async def test_halted_still_cancels(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with harness.service() as service:
        order = (await service.place(make_request(type=OrderType.LIMIT, price=Decimal("1.09")))).order
        service.set_state(TradingState.HALTED, "operator", "drill")
        assert (await service.cancel(order.id)).status is OrderStatus.CANCELLED


async def test_reducing_lets_a_position_be_closed_and_no_other_opened(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with harness.service() as service:
        await service.place(make_request())
        service.set_state(TradingState.REDUCING, "operator", "end of day")
        opening = (await service.place(make_request("second"))).order
        closing = (await service.place(make_request("third", side=Side.SELL))).order

    assert (opening.status, opening.reason) == (OrderStatus.DENIED, "TRADING_REDUCING")
    assert closing.status is OrderStatus.FILLED


async def test_untradeable_is_denied_before_any_write(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    venue.tradeable = False
    async with harness.service() as service:
        order = (await service.place(make_request())).order

    assert (order.status, order.reason) == (OrderStatus.DENIED, "MARKET_HALTED")
    assert venue.writes == []
    assert [(event.reason, event.source) for event in harness.of("OrderRefused")] == [("MARKET_HALTED", "risk")]


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
        placing.cancel()
    venue.gate.set()
    await wait_until(lambda: len(venue.fills) == 1)
    async with harness.service() as service:
        order = (await service.place(make_request())).order

    assert order.status is OrderStatus.FILLED
    assert len(venue.writes) == 1
    assert next(event.result for event in harness.of("DrainEnded")) == "deadline"


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


async def test_order_by_a_later_stranger_under_our_mark_halts(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with harness.service() as service:
        extensions = {"id": "bk.elsewhere.1.01STRANGER.caller"}
        made = venue.make(
            {"type": "LIMIT", "instrument": "EUR_USD", "units": "5", "price": "1", "clientExtensions": extensions}
        )
        await venue.tell(*made.values())
        await wait_until(lambda: service.state is TradingState.HALTED)
        order = (await service.place(make_request())).order

    assert order.reason == "TRADING_HALTED"
    assert [event.kind for event in harness.of("ReconcileMismatch")] == ["foreign_order"]


async def test_order_made_by_hand_is_adopted_and_followed(harness: OrderServiceHarness, venue: FakeVenue) -> None:
    async with harness.service() as service:
        made = venue.make({"type": "LIMIT", "instrument": "EUR_USD", "units": "-5", "price": "1.2"})
        await venue.tell(*made.values())
        await wait_until(lambda: len(service.open_orders()) == 1)
        adopted = service.open_orders()[0]
        await venue.tell(venue.cancel(made["orderCreateTransaction"], "CLIENT_REQUEST"))
        await wait_until(lambda: not service.open_orders())
        ended = service.order(adopted.id)

    assert (adopted.request.client, adopted.request.side) == ("external", Side.SELL)
    assert ended is not None
    assert ended.status is OrderStatus.CANCELLED
    assert harness.of("OrderTransition") == []


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


async def test_dead_token_rejects_and_the_next_one_works(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with harness.service() as service:
        venue.faults.append("401")
        refused = (await service.place(make_request())).order
        venue.token = "another-token"
        harness.token = Secret("another-token")
        await wait_until(lambda: len(venue.tokens_of_streams("another-token")) == 2)
        order = (await service.place(make_request("second"))).order

    assert (refused.status, refused.reason) == (OrderStatus.REJECTED, "NOT_AUTHORIZED")
    assert order.status is OrderStatus.FILLED


async def test_full_disk_denies_and_sends_nothing(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    async with harness.service() as service:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", fail)
            order = (await service.place(make_request())).order
            faults = blocked(service)
        assert (order.status, order.reason, faults) == (OrderStatus.DENIED, "JOURNAL_UNAVAILABLE", ["Journal"])
        assert venue.writes == []
        assert (await service.place(make_request("second"))).order.status is OrderStatus.FILLED
        assert blocked(service) == []


async def test_as_many_orders_are_open_as_the_limit_says(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with harness.service(
        account=RiskLimits(open_orders=2), clients={"flow": RiskLimits(open_orders=2)}
    ) as service:
        for name in ("a", "b", "c"):
            await service.place(make_request(name, type=OrderType.LIMIT, price=Decimal("1.09000")))
        third = service.by_client_id("flow", "c")
        assert len(service.open_orders()) == 2
    assert third is not None
    assert (third.status, third.reason) == (OrderStatus.DENIED, "OPEN_ORDERS_LIMIT_EXCEEDED")
    assert len(venue.writes) == 2


async def test_replacement_takes_the_place_of_the_order_that_it_ends(
    harness: OrderServiceHarness, make_request: MakeRequest
) -> None:
    limit, price = RiskLimits(open_orders=1), Decimal("1.09000")
    async with harness.service(account=limit, clients={"flow": limit}) as service:
        first = (await service.place(make_request("a", type=OrderType.LIMIT, price=price))).order
        second = (
            await service.replace(first.id, make_request("b", type=OrderType.LIMIT, price=Decimal("1.08000")))
        ).order
    assert second.status is OrderStatus.PENDING


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


async def test_changes_after_a_restart_go_on_where_they_were(
    harness: OrderServiceHarness, make_request: MakeRequest
) -> None:
    async with harness.service() as service:
        order = (await service.place(make_request())).order
    async with harness.service() as service:
        statuses, after = [], 0
        async for change in service.changes(0):
            if change.order is not None and change.order.id == order.id:
                statuses.append(change.order.status)
                after = change.position
            if len(statuses) == 2:
                break
        second = (await service.place(make_request("second"))).order
        following = [change async for change in _orders(service.changes(after), 2)]

    assert statuses == [OrderStatus.SUBMITTED, OrderStatus.FILLED]
    assert {change.order.id for change in following} == {second.id}


async def _orders(stream, count):  # noqa: ANN001, ANN202 - a filter
    async for change in stream:
        if change.order is not None:
            yield change
            count -= 1
        if count == 0:
            return


async def test_updates_bring_orders_and_quotes(harness: OrderServiceHarness, make_request: MakeRequest) -> None:
    found: list[Order | Quote | Missed] = []
    async with harness.service() as service:

        async def listen() -> None:
            async for item in service.updates():
                found.extend([item])

        listening = asyncio.create_task(listen())
        await asyncio.sleep(0)
        await service.place(make_request())
        await wait_until(lambda: len(found) >= 3)
        listening.cancel()

    assert [item.status for item in found if isinstance(item, Order)][:3] == ["received", "submitted", "filled"]


async def test_what_is_not_there_is_said(harness: OrderServiceHarness) -> None:
    async with harness.service() as service:
        with pytest.raises(UnknownOrderError):
            await service.cancel("nothing")
        with pytest.raises(UnknownPositionError):
            await service.close_position("EUR_USD")
        with pytest.raises(UnknownPositionError):
            await service.close_trade("1")
        assert service.order("nothing") is None


async def test_quotes_come_from_memory(harness: OrderServiceHarness) -> None:
    async with harness.service() as service:
        quotes = service.quotes(["EUR_USD", "XXX_YYY"])

    assert [(quote.instrument, quote.bid, quote.ask) for quote in quotes] == [
        ("EUR_USD", Decimal("1.09990"), Decimal("1.10010"))
    ]


async def test_gauges_are_sampled(harness: OrderServiceHarness, make_request: MakeRequest) -> None:
    async with harness.service(sample_s=0.1) as service:
        await service.place(make_request())
        await service.place(make_request("resting", type=OrderType.LIMIT, price=Decimal("1.09")))
        await wait_until(lambda: any(event.units == 100 for event in harness.of("PositionSample")))
        await wait_until(lambda: harness.of("OrderSample")[-1].open_orders == 1)
        await wait_until(lambda: bool(harness.of("ReconcileRun")))

    names = {type(event).__name__ for event in harness.events}
    assert names >= {
        "OrderSample",
        "AccountSample",
        "ThrottleSample",
        "StreamSample",
        "TransactionLag",
        "TradingStateSample",
    }
    assert names >= {
        "PriceSample",
        "RiskUtilisation",
        "QueueSample",
        "ReconcileRun",
        "ConnectionStatus",
        "JournalSync",
    }


async def test_successor_on_another_volume_knows_the_callers_ids(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    other = OrderServiceHarness(venue, harness.directory / "elsewhere")
    async with harness.service() as service:
        filled = (await service.place(make_request())).order
        resting = (await service.place(make_request("second", type=OrderType.LIMIT, price=Decimal("1.09")))).order
    async with other.service() as service:
        again = (await service.place(make_request())).order
        with pytest.raises(ClientIdConflictError):
            await service.place(make_request("second", type=OrderType.LIMIT, price=Decimal("1.08")))
        ended = await service.cancel(resting.id)
        state = service.state

    assert (again.id, again.status, again.fills) == (filled.id, OrderStatus.FILLED, filled.fills)
    assert again.request == make_request()
    assert ended.status is OrderStatus.CANCELLED
    assert state is TradingState.ACTIVE
    assert len(venue.writes) == 3
    assert other.of("ReconcileMismatch") == []


async def test_successor_on_another_volume_gives_the_venues_refusal_again(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    request = make_request(units=Decimal(666))
    other = OrderServiceHarness(venue, harness.directory / "elsewhere")
    async with harness.service() as service:
        refused = (await service.place(request)).order
    async with other.service() as service:
        again = (await service.place(request)).order
        with pytest.raises(ClientIdConflictError):
            await service.place(make_request(units=Decimal(667)))

    assert (again.id, again.status, again.reason) == (refused.id, OrderStatus.REJECTED, "UNITS_LIMIT_EXCEEDED")
    assert len(venue.writes) == 1
    assert other.of("OrderRefused") == [], "its own process has told it"


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
        await wait_until(lambda: not blocked(service) and service.epoch == 3)
        second = (await service.place(make_request("second"))).order
        again = (await service.place(make_request())).order
        await wait_until(lambda: second.id in seen)
        watching.cancel()

    assert again.id == first.id
    assert seen.count(first.id) == seen.count(second.id) == 2
    assert len(venue.fills) == 2


async def test_owner_that_was_followed_while_it_waited_for_the_disk_sends_nothing(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on = threading.Event()
    async with harness.service() as service:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", lambda _: goes_on.wait())
            placing = asyncio.create_task(service.place(make_request()))
            await wait_until(lambda: bool(service.open_orders()))
            (harness.directory / "ownership" / ACCOUNT / f"lease.{service.epoch + 1}").write_text("{}")
            goes_on.set()
            order = (await placing).order

    assert (order.status, order.reason) == (OrderStatus.DENIED, "OWNERSHIP_LOST")
    assert venue.writes == []


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
        await wait_until(lambda: not blocked(service) and service.epoch == 2)
        assert service.elsewhere() is None


async def test_venue_that_cannot_be_asked_is_a_reason_in_the_conditions_spelling(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    venue.token = "another"
    async with harness.service(wait_ready=False) as service:
        await wait_until(lambda: any(item.reason == "NotAuthorized" for item in service.conditions()))
        assert "Venue" in blocked(service)
        service.set_state(TradingState.HALTED, "tester", "a test")
        (trading,) = [item for item in service.conditions() if item.name == "Trading"]
        assert (trading.ok, trading.reason) == (False, "Halted")


async def test_start_whose_reads_get_no_turn_says_so_and_goes_on_when_they_do(
    harness: OrderServiceHarness, make_request: MakeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, ahead_s = asyncio.get_running_loop(), 0.0
    real = loop.time
    monkeypatch.setattr(loop, "time", lambda: real() + ahead_s)
    async with harness.service(wait_ready=False) as service:
        harness.rest.connections.requests.obey(3600.0)
        reasons: list[str] = []
        while "NotSent" not in reasons:
            ahead_s += 1.0
            await asyncio.sleep(0)
            reasons = [item.reason for item in service.conditions() if item.name == "Venue"]
        assert ahead_s > 4 * 20, "four tries, each with its deadline"
        harness.rest.connections.requests.open()
        await wait_until(lambda: not blocked(service))
        assert (await service.place(make_request())).order.status is OrderStatus.FILLED
