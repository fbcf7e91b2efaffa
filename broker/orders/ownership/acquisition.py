"""Where the taking of an account is kept, as the settings say, and who may try it."""

from __future__ import annotations

from broker.orders.ownership.colour import ColouredLease
from broker.orders.ownership.file_lease import FileLease
from broker.orders.ownership.lease import Lease
from broker.orders.ownership.spread import Spread, SpreadLease
from broker.orders.settings import OrderSettings


def lease_of(settings: OrderSettings, account: str, address: str = "", spread: Spread | None = None) -> Lease:
    """The taking of an account; by the active colour only, and by who has room for it, where these are given."""
    lease = _kept_lease(settings, account, address)
    if spread is not None:
        lease = SpreadLease(lease, spread, account)
    if settings.colour_file is None:
        return lease
    return ColouredLease(lease, settings.colour_file, settings.colour_label)


def _kept_lease(settings: OrderSettings, account: str, address: str) -> Lease:
    if settings.ownership == "cluster":
        # Only a pod needs the client of the API server, and its import costs a tenth of a second.
        from broker.orders.ownership.cluster_lease import ClusterApi, ClusterLease  # noqa: PLC0415

        name = f"{settings.owner}-{account}".lower()
        return ClusterLease(ClusterApi(), name, lease_s=settings.lease_s, address=address)
    place = settings.directory / "ownership" / account
    return FileLease(place, owner=settings.owner, lease_s=settings.lease_s, address=address)
