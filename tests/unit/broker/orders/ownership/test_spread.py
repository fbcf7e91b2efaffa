from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.orders.ownership.file_lease import FileLease
from broker.orders.ownership.spread import Spread, SpreadLease, may_take, share_of
from tests.unit.broker.orders.boot_clock import BootClock

ACCOUNTS = ("a", "b", "c")


@pytest.mark.parametrize(("accounts", "replicas", "share"), [(1, 1, 1), (3, 1, 3), (3, 2, 2), (4, 2, 2), (2, 5, 1)])
def test_even_share_is_rounded_up(accounts: int, replicas: int, share: int) -> None:
    assert share_of(accounts, replicas) == share


@given(st.integers(1, 50), st.integers(1, 50))
def test_all_shares_together_hold_every_account(accounts: int, replicas: int) -> None:
    share = share_of(accounts, replicas)
    assert accounts <= share * replicas < accounts + replicas


def test_account_beyond_the_share_is_taken_only_when_it_was_nobodys_for_a_time() -> None:
    assert may_take(1, share=2, free_for_s=0.0, orphan_s=30.0)
    assert not may_take(2, share=2, free_for_s=29.9, orphan_s=30.0)
    assert may_take(2, share=2, free_for_s=30.0, orphan_s=30.0)


def process(directory: Path, share: int = 2) -> dict[str, SpreadLease]:
    held = Spread(share=share, orphan_s=30.0)
    return {
        name: SpreadLease(FileLease(directory / name, owner="broker", lease_s=10.0), held, name) for name in ACCOUNTS
    }


async def owned(leases: dict[str, SpreadLease]) -> str:
    return "".join([name for name, lease in leases.items() if lease.holds() or await lease.take() == 0.0])


async def pass_time(clock: BootClock, leases: dict[str, SpreadLease], seconds: int) -> None:
    for _ in range(seconds):
        clock.now_s += 1.0
        for lease in leases.values():
            await lease.renew()


async def test_two_processes_share_three_accounts(tmp_path: Path, clock: BootClock) -> None:
    first, second = process(tmp_path), process(tmp_path)
    assert (await owned(first), await owned(second)) == ("ab", "c")


async def test_accounts_of_one_that_left_wait_for_its_restart_and_then_go_to_the_other(
    tmp_path: Path, clock: BootClock
) -> None:
    first, second = process(tmp_path), process(tmp_path)
    await owned(first)
    await owned(second)
    for lease in first.values():
        await lease.release()
    assert await owned(second) == "ac", "one more is within its share"
    await pass_time(clock, second, 29)
    assert await owned(second) == "ac"
    await pass_time(clock, second, 1)
    assert await owned(second) == "abc"


async def test_account_that_was_given_up_makes_room(tmp_path: Path, clock: BootClock) -> None:
    first = process(tmp_path, share=1)
    assert await owned(first) == "a"
    await first["a"].release()
    assert await first["b"].take() == 0.0
