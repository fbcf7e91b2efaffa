from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.orders.ownership.lease import FileLease
from broker.orders.ownership.policies import (
    AccountShare,
    ColourPolicy,
    OwnershipPolicy,
    SharePolicy,
    acquire,
    even_share,
    is_active,
    release,
)
from tests.unit.broker.orders.boot_clock import BootClock

ACCOUNTS = ("a", "b", "c")
LABEL = "broker.role/colour"


@dataclass
class Candidate:
    """A lease with the policies of its process."""

    lease: FileLease
    policy: ColourPolicy | SharePolicy

    async def acquire(self) -> float:
        return await acquire(self.lease, [self.policy])

    async def release(self) -> None:
        await release(self.lease, [self.policy])


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ('app="broker"\nbroker.role/colour="active"\n', True),
        ('broker.role/colour="active"', True),
        ('broker.role/colour="preview"\n', False),
        ('other.broker.role/colour="active"\n', False),
        ("broker.role/colour=active\n", False),
        ("", False),
    ],
)
def test_only_the_labels_own_value_makes_a_colour_active(labels: str, expected: bool) -> None:
    assert is_active(labels, LABEL) is expected


def coloured(directory: Path, name: str) -> tuple[Candidate, Path]:
    labels = directory / f"{name}.labels"
    lease = FileLease(directory / "lease", owner="broker", lease_s=60)
    return Candidate(lease, ColourPolicy(labels, LABEL)), labels


async def test_without_a_file_nobody_is_active(tmp_path: Path) -> None:
    candidate, _ = coloured(tmp_path, "blue")
    assert await candidate.acquire() > 0
    assert candidate.lease.epoch == 0


async def test_the_account_follows_the_active_colour(tmp_path: Path) -> None:
    (blue, blue_labels), (green, green_labels) = coloured(tmp_path, "blue"), coloured(tmp_path, "green")
    blue_labels.write_text(f'{LABEL}="active"\n')
    green_labels.write_text(f'{LABEL}="preview"\n')
    assert await blue.acquire() == 0.0
    assert await green.acquire() > 0
    assert (blue.lease.holds(), green.lease.holds()) == (True, False)

    green_labels.write_text(f'{LABEL}="active"\n')
    blue_labels.write_text(f'{LABEL}="preview"\n')
    assert await green.acquire() > 0, "the former colour holds it until it has released"
    assert blue.policy.may_keep() is False
    assert await blue.acquire() > 0
    assert await green.acquire() == 0.0
    assert (blue.lease.holds(), green.lease.holds()) == (False, True)
    await green.release()


async def test_a_preview_knows_where_the_owner_is(tmp_path: Path) -> None:
    owner = FileLease(tmp_path / "lease", owner="broker", lease_s=60, address="10.0.0.1:8080")
    preview, _ = coloured(tmp_path, "green")
    assert await owner.acquire() == 0.0
    assert await preview.acquire() > 0
    assert preview.lease.address() == "10.0.0.1:8080"
    await owner.release()


async def test_a_colour_that_is_refused_makes_room_in_its_share(tmp_path: Path) -> None:
    share, labels = AccountShare(share=1, orphan_s=30.0), tmp_path / "labels"
    labels.write_text(f'{LABEL}="active"\n')
    lease = FileLease(tmp_path / "a", owner="broker", lease_s=60)
    policies: list[OwnershipPolicy] = [ColourPolicy(labels, LABEL), SharePolicy(share, "a")]
    assert await acquire(lease, policies) == 0.0
    assert share.held == {"a"}
    labels.write_text(f'{LABEL}="preview"\n')
    assert await acquire(lease, policies) > 0
    assert (share.held, lease.epoch) == (set(), 0)


@pytest.mark.parametrize(("accounts", "replicas", "share"), [(1, 1, 1), (3, 1, 3), (3, 2, 2), (4, 2, 2), (2, 5, 1)])
def test_even_share_is_rounded_up(accounts: int, replicas: int, share: int) -> None:
    assert even_share(accounts, replicas) == share


@given(st.integers(1, 50), st.integers(1, 50))
def test_all_shares_together_hold_every_account(accounts: int, replicas: int) -> None:
    share = even_share(accounts, replicas)
    assert accounts <= share * replicas < accounts + replicas


def test_account_beyond_the_share_is_taken_only_when_it_was_nobodys_for_a_time() -> None:
    share = AccountShare(share=2, orphan_s=30.0)
    share.held.add("a")
    assert share.may_acquire(quiet_s=0.0)
    share.held.add("b")
    assert not share.may_acquire(quiet_s=29.9)
    assert share.may_acquire(quiet_s=30.0)


def process(directory: Path, share: int = 2, orphan_s: float = 30.0) -> dict[str, Candidate]:
    held = AccountShare(share=share, orphan_s=orphan_s)
    return {
        name: Candidate(FileLease(directory / name, owner="broker", lease_s=10.0), SharePolicy(held, name))
        for name in ACCOUNTS
    }


async def owned(candidates: dict[str, Candidate]) -> str:
    return "".join([name for name, item in candidates.items() if item.lease.holds() or await item.acquire() == 0.0])


async def pass_time(clock: BootClock, candidates: dict[str, Candidate], seconds: int) -> None:
    for _ in range(seconds):
        clock.now_s += 1.0
        for item in candidates.values():
            await item.lease.renew()


async def test_two_processes_share_three_accounts(tmp_path: Path, clock: BootClock) -> None:
    first, second = process(tmp_path), process(tmp_path)
    assert (await owned(first), await owned(second)) == ("ab", "c")


async def test_accounts_of_one_that_left_wait_for_its_restart_and_then_go_to_the_other(
    tmp_path: Path, clock: BootClock
) -> None:
    first, second = process(tmp_path), process(tmp_path)
    await owned(first)
    await owned(second)
    for item in first.values():
        await item.release()
    assert await owned(second) == "ac", "one more is within its share"
    await pass_time(clock, second, 29)
    assert await owned(second) == "ac"
    await pass_time(clock, second, 1)
    assert await owned(second) == "abc"


async def test_time_for_a_restart_runs_beside_the_lease_and_not_behind_it(tmp_path: Path, clock: BootClock) -> None:
    paused, second = process(tmp_path), process(tmp_path, orphan_s=10.0)
    assert (await owned(paused), await owned(second)) == ("ab", "c")
    await pass_time(clock, second, 11)
    assert await owned(second) == "c", "the owner may trade on"
    await pass_time(clock, second, 1)
    assert await owned(second) == "abc"
    for item in paused.values():
        await item.release()


async def test_after_a_start_of_all_at_once_each_gets_its_share(tmp_path: Path, clock: BootClock) -> None:
    for item in (before := process(tmp_path, share=3)).values():
        await item.acquire()
    for item in before.values():
        await item.release()
    clock.now_s += 3600.0
    first, second = process(tmp_path), process(tmp_path)
    assert (await owned(first), await owned(second)) == ("ab", "c")


async def test_account_that_was_given_up_makes_room(tmp_path: Path, clock: BootClock) -> None:
    first = process(tmp_path, share=1)
    assert await owned(first) == "a"
    await first["a"].release()
    assert await first["b"].acquire() == 0.0
