from __future__ import annotations

import shutil
from decimal import Decimal

import pytest

from broker.domain import OrderStatus, OrderType
from broker.orders.model.trading_state import UNREADABLE, AccountControl, TradingState, handover_note, stricter
from tests.unit.broker.orders.fake_venue import FakeVenue
from tests.unit.broker.orders.order_service_fixture import MakeRequest, OrderServiceHarness, wait_until

HALTED = AccountControl(state=TradingState.HALTED, state_reason="drill", state_actor="ada")


REDUCING = AccountControl(state=TradingState.REDUCING, state_reason="evening", state_actor="bob")


ACTIVE = AccountControl()


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        (ACTIVE, HALTED, HALTED),
        (ACTIVE, REDUCING, REDUCING),
        (REDUCING, HALTED, HALTED),
        (HALTED, ACTIVE, HALTED),
        (HALTED, REDUCING, HALTED),
        (ACTIVE, ACTIVE, ACTIVE),
    ],
)
def test_the_stricter_state_holds_with_its_reason_and_actor(
    ours: AccountControl, theirs: AccountControl, expected: AccountControl
) -> None:
    assert stricter(ours, handover_note(theirs)) == expected


def test_an_empty_note_says_nothing() -> None:
    assert stricter(REDUCING, "") is REDUCING


@pytest.mark.parametrize("note", ["halted", "[]", "{}", '{"state": "asleep", "reason": "", "actor": ""}', "3"])
def test_a_note_that_cannot_be_read_halts(note: str) -> None:
    found = stricter(ACTIVE, note)
    assert (found.state, found.state_reason) == (TradingState.HALTED, UNREADABLE)


async def test_successor_on_another_volume_is_halted_too(harness: OrderServiceHarness) -> None:
    async with harness.service() as service:
        service.set_state(TradingState.HALTED, "ada", "drill")
        lease = next((harness.directory / "ownership").rglob("lease.*"))
        await wait_until(lambda: "halted" in lease.read_text())
    journal = next(path for path in harness.directory.iterdir() if path.name != "ownership")
    shutil.rmtree(journal)
    async with harness.service() as service:
        assert service.state is TradingState.HALTED
    assert [(event.state, event.actor, event.reason) for event in harness.of("TradingStateChanged")] == [
        ("halted", "ada", "drill"),
        ("halted", "ada", "drill"),
    ]


async def test_what_was_resumed_stays_resumed_for_the_successor(harness: OrderServiceHarness) -> None:
    async with harness.service() as service:
        service.set_state(TradingState.HALTED, "ada", "drill")
        service.set_state(TradingState.ACTIVE, "ada", "over")
    async with harness.service() as service:
        assert service.state is TradingState.ACTIVE


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


async def test_halted_still_cancels(harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest) -> None:
    async with harness.service() as service:
        order = (await service.place(make_request(type=OrderType.LIMIT, price=Decimal("1.09")))).order
        service.set_state(TradingState.HALTED, "operator", "drill")
        assert (await service.cancel(order.id)).status is OrderStatus.CANCELLED
