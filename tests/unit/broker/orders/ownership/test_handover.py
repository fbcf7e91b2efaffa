from __future__ import annotations

import shutil

import pytest

from broker.orders.ownership.handover import UNREADABLE, note_of, stricter
from broker.orders.store.journal_format import Control, TradingState
from tests.unit.broker.orders.order_service_fixture import Bench, wait_until

HALTED = Control(state=TradingState.HALTED, state_reason="drill", state_actor="ada")
REDUCING = Control(state=TradingState.REDUCING, state_reason="evening", state_actor="bob")
ACTIVE = Control()


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
    ours: Control, theirs: Control, expected: Control
) -> None:
    assert stricter(ours, note_of(theirs)) == expected


def test_an_empty_note_says_nothing() -> None:
    assert stricter(REDUCING, "") is REDUCING


@pytest.mark.parametrize("note", ["halted", "[]", "{}", '{"state": "asleep", "reason": "", "actor": ""}', "3"])
def test_a_note_that_cannot_be_read_halts(note: str) -> None:
    found = stricter(ACTIVE, note)
    assert (found.state, found.state_reason) == (TradingState.HALTED, UNREADABLE)


async def test_successor_on_another_volume_is_halted_too(bench: Bench) -> None:
    async with bench.desk() as desk:
        desk.set_state(TradingState.HALTED, "ada", "drill")
        lease = next((bench.directory / "ownership").rglob("lease.*"))
        await wait_until(lambda: "halted" in lease.read_text())
    journal = next(path for path in bench.directory.iterdir() if path.name != "ownership")
    shutil.rmtree(journal)
    async with bench.desk() as desk:
        assert desk.state is TradingState.HALTED
    assert [(event.state, event.actor, event.reason) for event in bench.of("TradingStateChanged")] == [
        ("halted", "ada", "drill"),
        ("halted", "ada", "drill"),
    ]


async def test_what_was_resumed_stays_resumed_for_the_successor(bench: Bench) -> None:
    async with bench.desk() as desk:
        desk.set_state(TradingState.HALTED, "ada", "drill")
        desk.set_state(TradingState.ACTIVE, "ada", "over")
    async with bench.desk() as desk:
        assert desk.state is TradingState.ACTIVE
