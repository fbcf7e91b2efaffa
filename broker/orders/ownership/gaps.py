"""Gaps of ownership: the longest time that an account has no owner after one fault, computed from the settings.

Pure. The table is the one of docs/orders.md. It counts from the fault until another process, or the same one started
anew, owns the account and begins its catch-up. Outages of the API server are left out: nobody can take an account then.
"""

from __future__ import annotations

from dataclasses import dataclass

from broker.orders.ownership.cluster_lease import POLL_EVERY_S, RETRY_S
from broker.orders.ownership.leadership import place_limit_s
from broker.orders.ownership.lease import MARGIN_SHARE
from broker.orders.ownership.lease import POLL_EVERY_S as FILE_POLL_EVERY_S

RESTART_S = 4.0
"""Seconds from the end of a process until its successor in the same pod asks for the lease: the kubelet notices within
one (its period of relisting) and starts the container anew at once, the first time; the process asks within three."""
LATE_SHARE = 1.1
"""A watchdog's limit is found out by short looks, one of which may have been just before the fault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnershipGap:
    """Longest time without an owner after a fault: where another broker waits for the account, and where none does."""

    fault: str
    standby_s: float | None
    """None where the fault is none of the account's owner alone."""
    alone_s: float | None
    """None where it lasts as long as the fault, which nobody in the pod can end."""


def ownership_gaps(*, lease_s: float, stall_s: float, orphan_s: float) -> tuple[OwnershipGap, ...]:
    """The longest gap after each fault."""
    # A standby saw the last renewal up to one look late, and makes at most one claim in vain.
    file_s = lease_s * (1 + MARGIN_SHARE) + FILE_POLL_EVERY_S
    cluster_s = lease_s * (1 + MARGIN_SHARE) + POLL_EVERY_S + RETRY_S
    orphan_s = max(lease_s * (1 + MARGIN_SHARE), orphan_s) + POLL_EVERY_S + RETRY_S
    stalled_s = LATE_SHARE * stall_s + RESTART_S
    stuck_s = LATE_SHARE * place_limit_s(lease_s) + RESTART_S
    rows = (
        ("the owner ends in order, or hands over", POLL_EVERY_S, None),
        ("the owner's process dies, or ends by a fault of ours; file lease", FILE_POLL_EVERY_S, RESTART_S),
        ("the owner's container dies; cluster lease", RESTART_S, RESTART_S),
        ("the owner's pod or node dies, or is cut off from the API server; cluster lease", cluster_s, None),
        ("the same, and the others have their share of several accounts already", orphan_s, None),
        ("the owner is paused; file lease", file_s, None),
        ("the owner is paused; cluster lease", cluster_s, None),
        ("the owner's event loop stands still", min(cluster_s, stalled_s), stalled_s),
        ("a part of the ended term does not end", min(cluster_s, stuck_s), stuck_s),
        ("the Lease is deleted", 0.0, 0.0),
        ("the token of the service account expires, and its file has the next one", 0.0, 0.0),
        ("the volume is full or fails; the sidecar dies; the clock of the day jumps", 0.0, 0.0),
    )
    return tuple(OwnershipGap(fault=fault, standby_s=standby, alone_s=alone) for fault, standby, alone in rows)
