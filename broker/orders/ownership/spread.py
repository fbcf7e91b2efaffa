"""Several accounts over several processes: how many of them one process takes.

Processes need not know each other: each takes no more than its even share, whichever come first, and one more only
where nobody has taken it for a time. So a dead process is followed by its own restart, or else by the others.
"""

from __future__ import annotations

from broker.orders.ownership.lease import Lease, boot_time_s
from broker.orders.ownership.outer_lease import OuterLease

LOOK_AGAIN_S = 0.5


def share_of(accounts: int, replicas: int) -> int:
    """The even share of one of `replicas` processes: accounts over replicas, rounded up."""
    return -(-accounts // replicas)


def may_take(held: int, *, share: int, free_for_s: float, orphan_s: float) -> bool:
    """Whether a process that holds so many may take a free account."""
    return held < share or free_for_s >= orphan_s


class Spread:
    """What one process holds, over all its accounts."""

    def __init__(self, *, share: int, orphan_s: float) -> None:
        self.share = share
        self.orphan_s = orphan_s
        self.held: set[str] = set()
        """Accounts that are ours, or that we are trying to take just now."""


class SpreadLease(OuterLease):
    """A lease that is tried only where the process has room for it; its other answers are the inner lease's."""

    def __init__(self, inner: Lease, spread: Spread, account: str) -> None:
        super().__init__(inner)
        self._spread = spread
        self._account = account
        self._free_since_s: float | None = None

    async def take(self) -> float:
        """Tries to become the owner where there is room: 0 where we are, else seconds until it is worth trying."""
        self._spread.held.discard(self._account)
        if not await self._has_room():
            return max(LOOK_AGAIN_S, self._inner.look_every_s)
        self._spread.held.add(self._account)
        left_s = await self._inner.take()
        if left_s > 0:
            self._spread.held.discard(self._account)
        return left_s

    async def _has_room(self) -> bool:
        held, share = len(self._spread.held), self._spread.share
        if may_take(held, share=share, free_for_s=0.0, orphan_s=self._spread.orphan_s):
            return True
        await self._inner.look()
        now_s = boot_time_s()
        if not self._inner.is_free():
            self._free_since_s = None
            return False
        self._free_since_s = now_s if self._free_since_s is None else self._free_since_s
        free_for_s = now_s - self._free_since_s
        return may_take(len(self._spread.held), share=share, free_for_s=free_for_s, orphan_s=self._spread.orphan_s)

    async def release(self) -> None:
        """Gives it up."""
        self._spread.held.discard(self._account)
        await self._inner.release()
