from __future__ import annotations

import shutil

import pytest

from broker.orders.model.trading_state import UNREADABLE, AccountControl, TradingState, handover_note, stricter
from tests.unit.broker.orders.order_service_fixture import OrderServiceHarness, wait_until

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
