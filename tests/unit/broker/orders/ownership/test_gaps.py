from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lightkube.config.models import User

from broker.config import WatchdogSettings
from broker.orders.ownership.cluster_lease import ClusterLease
from broker.orders.ownership.gaps import OwnershipGap, ownership_gaps
from broker.orders.ownership.policies import AccountShare, OwnershipPolicy, SharePolicy, acquire
from broker.orders.settings import OrderSettings
from tests.unit.broker.orders.boot_clock import BootClock
from tests.unit.broker.orders.ownership.api_server import LEASE, ApiServer

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
GOAL_S = 15.0
STEP_S = 0.25
DEFAULTS = OrderSettings()
DOCUMENT = Path(__file__).parents[5] / "docs" / "orders.md"
FULL_SHARE = "the same, and the others have their share of several accounts already"
OF_A_POD = "the owner's pod or node dies, or is cut off from the API server; cluster lease"


def table(settings: OrderSettings = DEFAULTS) -> dict[str, OwnershipGap]:
    gaps = ownership_gaps(lease_s=settings.lease_s, stall_s=WatchdogSettings().stall_s, orphan_s=settings.orphan_s)
    return {gap.fault: gap for gap in gaps}


def shown(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:g} s"


@pytest.mark.parametrize("gap", table().values(), ids=lambda gap: gap.fault)
def test_no_fault_leaves_an_account_without_an_owner_for_longer_than_the_goal(gap: OwnershipGap) -> None:
    assert max(gap.standby_s or 0.0, gap.alone_s or 0.0) <= GOAL_S


@pytest.mark.parametrize("gap", table().values(), ids=lambda gap: gap.fault)
def test_the_page_of_orders_shows_the_table(gap: OwnershipGap) -> None:
    row = f"| {gap.fault} | {shown(gap.standby_s)} | {shown(gap.alone_s)} |"
    assert row in DOCUMENT.read_text(encoding="utf-8")


@given(st.floats(0.5, 60.0), st.floats(0.1, 60.0), st.floats(0.0, 60.0))
def test_a_standby_is_never_slower_than_the_wait_for_the_lease_or_the_share(
    lease_s: float, stall_s: float, orphan_s: float
) -> None:
    gaps = {gap.fault: gap for gap in ownership_gaps(lease_s=lease_s, stall_s=stall_s, orphan_s=orphan_s)}
    longest = gaps[FULL_SHARE].standby_s or 0.0
    assert longest >= lease_s * 1.2
    assert longest >= orphan_s
    others = (gap.standby_s or 0.0 for gap in gaps.values() if gap.alone_s is None)
    assert max(others) == longest


@dataclass
class Contender:
    """A broker that takes and renews a Lease as Leadership does, at the times of a clock that a test sets."""

    lease: ClusterLease
    clock: BootClock
    policies: tuple[OwnershipPolicy, ...] = ()
    due_s: float = 0.0
    is_alive: bool = True

    async def turn(self) -> None:
        if not self.is_alive or self.clock.now_s < self.due_s:
            return
        if self.lease.epoch and await self.lease.renew():
            self.due_s = self.clock.now_s + self.lease.renew_every_s
            return
        left_s = await acquire(self.lease, self.policies)
        wait_s = min(left_s, self.lease.poll_every_s) if left_s else self.lease.renew_every_s
        self.due_s = self.clock.now_s + wait_s


class TwoBrokers:
    """An owner with a token in a file, and a standby; `longest_gap` counts the time without either."""

    def __init__(self, server: ApiServer, clock: BootClock, directory: Path) -> None:
        self.server = server
        self.clock = clock
        self.token_file = directory / "token"
        self.token_file.write_text("first")
        self._closing = AsyncExitStack()
        owner = self._client(User(token="first", token_file=str(self.token_file)))
        standby = self._client(User(token="other"))
        self.owner = Contender(ClusterLease(lambda: owner, LEASE, lease_s=DEFAULTS.lease_s, me="a"), clock)
        self.standby = Contender(ClusterLease(lambda: standby, LEASE, lease_s=DEFAULTS.lease_s, me="b"), clock)

    def _client(self, user: User) -> Any:
        client = self.server.client(user)
        self._closing.push_async_callback(client.close)
        return client

    async def close(self) -> None:
        await self._closing.aclose()

    async def pass_time(self, seconds: float) -> float:
        """Let both act at their times; the longest time in which neither held the Lease."""
        longest_s, without_s, end_s = 0.0, 0.0, self.clock.now_s + seconds
        while self.clock.now_s < end_s:
            # The standby first: it sees a renewal of the owner in the same moment one look late.
            await self.standby.turn()
            await self.owner.turn()
            held = [who.lease.holds() and who.is_alive for who in (self.owner, self.standby)]
            assert held != [True, True], "two owners"
            without_s = 0.0 if any(held) else without_s + STEP_S
            longest_s = max(longest_s, without_s)
            self.clock.now_s += STEP_S
        return longest_s


Fault = Callable[[TwoBrokers], Coroutine[Any, Any, None]]


async def pod_dies(pair: TwoBrokers) -> None:
    pair.owner.is_alive = False


async def others_have_their_share(pair: TwoBrokers) -> None:
    share = AccountShare(share=1, orphan_s=DEFAULTS.orphan_s)
    share.held.add("another")
    pair.standby.policies = (SharePolicy(share, LEASE),)
    await pair.pass_time(20.0)
    pair.owner.is_alive = False


async def lease_is_deleted(pair: TwoBrokers) -> None:
    del pair.server.leases[LEASE]


async def token_expires(pair: TwoBrokers) -> None:
    pair.token_file.write_text("second")
    pair.server.refused_tokens.add("first")


async def owner_is_cut_off(pair: TwoBrokers) -> None:
    pair.server.refused_tokens.add("first")


@pytest.mark.parametrize(
    ("fault", "row"),
    [
        (owner_is_cut_off, OF_A_POD),
        (pod_dies, OF_A_POD),
        (others_have_their_share, FULL_SHARE),
        (lease_is_deleted, "the Lease is deleted"),
        (token_expires, "the token of the service account expires, and its file has the next one"),
    ],
)
async def test_no_gap_is_longer_than_its_row(
    server: ApiServer, clock: BootClock, tmp_path: Path, fault: Fault, row: str
) -> None:
    pair = TwoBrokers(server, clock, tmp_path)
    await pair.owner.turn()
    await pair.pass_time(10.0)
    await fault(pair)
    # The fault comes at any time between two renewals.
    assert await pair.pass_time(40.0) <= (table()[row].standby_s or 0.0)
    assert pair.owner.lease.holds() or pair.standby.lease.holds()
    await pair.close()
