"""Policies that decide if this process may own an account: the active colour, and the share of several accounts.

Leadership asks each policy in the list before it tries the lease, and again while it owns the account.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from broker.orders.dependencies import Lease
from broker.orders.ownership.lease import boot_time_s
from pod_runtime.run import is_passing

DENIED_PAUSE_S = 0.5
"""Least seconds until a policy that said no is asked again."""


class OwnershipPolicy(Protocol):
    """Decides if this process may own an account."""

    async def may_acquire(self, lease: Lease) -> bool:
        """True if the lease may be tried now."""

    def may_keep(self) -> bool:
        """True while the owner may stay; False asks for an orderly handover."""

    def left(self) -> None:
        """Note that this process does not own the account (any more)."""


async def acquire(lease: Lease, policies: Sequence[OwnershipPolicy]) -> float:
    """Acquire the lease if every policy agrees: 0 on success, else seconds until the next attempt."""
    for policy in policies:
        policy.left()
    for policy in policies:
        if not await policy.may_acquire(lease):
            return max(DENIED_PAUSE_S, lease.poll_every_s)
    left_s = await lease.acquire()
    if left_s > 0:
        for policy in policies:
            policy.left()
    return left_s


async def release(lease: Lease, policies: Sequence[OwnershipPolicy]) -> None:
    """Release the lease and tell the policies."""
    for policy in policies:
        policy.left()
    await lease.release()


def is_active(labels: str, label: str) -> bool:
    """True if the lines `name="value"` of a downwardAPI file give `label` the value active."""
    return f"{label}={json.dumps('active')}" in labels.splitlines()


class ColourPolicy:
    """Only the active colour of a blue-green deployment owns the account.

    Argo Rollouts labels the pods (`activeMetadata`, `previewMetadata`), and the kubelet rewrites the downwardAPI file
    of the labels within its sync period of about a minute. A preview never acquires; a former active colour hands
    over.
    """

    def __init__(self, labels_file: Path, label: str) -> None:
        self._labels_file = labels_file
        self._label = label
        self._was_active = False

    def may_keep(self) -> bool:
        """True if we are the active colour. A file that cannot be read does not make us active."""
        try:
            self._was_active = is_active(self._labels_file.read_text(encoding="utf-8"), self._label)
        except (OSError, UnicodeDecodeError) as error:
            # Nor does a lack of descriptors make us inactive: the account must not be handed over for it.
            self._was_active = self._was_active and is_passing(error)
        return self._was_active

    async def may_acquire(self, lease: Lease) -> bool:
        """True if we are the active colour."""
        if self.may_keep():
            return True
        await lease.release()
        await lease.refresh()  # a preview answers reads, and must know the owner's address for the rest
        return False

    def left(self) -> None:
        """A colour depends on no earlier ownership."""


def even_share(accounts: int, replicas: int) -> int:
    """Accounts of one of `replicas` processes: accounts over replicas, rounded up."""
    return -(-accounts // replicas)


class AccountShare:
    """The accounts that one process owns, or is trying to acquire, and the number that it may own."""

    def __init__(self, *, share: int, orphan_s: float) -> None:
        self.share = share
        self.orphan_s = orphan_s
        self.held: set[str] = set()

    def may_acquire(self, quiet_s: float) -> bool:
        """True if the process may acquire an account that gave no sign of an owner for so long."""
        return len(self.held) < self.share or quiet_s >= self.orphan_s


class SharePolicy:
    """A process owns its even share of the accounts, and more only if an account stays without an owner.

    Processes need not know each other: whichever come first, each acquires its share and stops. So the accounts of a
    process that died wait `orphan_s` for its restart; then the others acquire them. That time runs from the owner's
    last sign, beside the lease and not behind it.
    """

    def __init__(self, share: AccountShare, account: str) -> None:
        self._share = share
        self._account = account
        self._watching_since_s: float | None = None

    def may_keep(self) -> bool:
        """Always: an account beyond the share is not given back while its owner lives."""
        return True

    async def may_acquire(self, lease: Lease) -> bool:
        """True if there is room in the share, or nobody gave a sign of owning the account for `orphan_s`."""
        self._watching_since_s = boot_time_s() if self._watching_since_s is None else self._watching_since_s
        if not self._share.may_acquire(quiet_s=0.0) and not await self._is_orphan(lease):
            return False
        # Counted before the lease is tried: two accounts that try at once must not both take the last place.
        self._share.held.add(self._account)
        return True

    async def _is_orphan(self, lease: Lease) -> bool:
        await lease.refresh()
        # After a start of all processes at once the last sign is old, and each has to get its share.
        quiet_s = min(lease.quiet_s(), boot_time_s() - (self._watching_since_s or 0.0))
        return lease.is_free() and self._share.may_acquire(quiet_s)

    def left(self) -> None:
        """Make room in the share."""
        self._share.held.discard(self._account)
