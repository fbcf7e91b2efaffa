"""Builds the order service of one account, by hand, from settings and the parts that it shares with the process."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial

from broker.orders.checks.prices import PriceFeed
from broker.orders.conditions import Conditions
from broker.orders.dependencies import EngineDependencies, Lease
from broker.orders.idempotency import LongMemory
from broker.orders.ownership.leadership import Leadership
from broker.orders.ownership.lease import FileLease
from broker.orders.ownership.policies import AccountShare, ColourPolicy, OwnershipPolicy, SharePolicy
from broker.orders.service import OrderService
from broker.orders.settings import OrderSettings
from broker.orders.updates import Updates
from broker.venue.rest.client import VenueRest

utc_now = partial(datetime.now, UTC)
"""Clock of the process: aware datetimes, UTC."""


def build_order_service(
    settings: OrderSettings,
    venue: VenueRest,
    *,
    address: str = "",
    share: AccountShare | None = None,
    memory: LongMemory | None = None,
) -> OrderService:
    """The order service of the account of `venue`; nothing runs yet.

    `address` is where other brokers reach our order API; `share` limits the accounts of the process, if there are
    several; without `memory` client order ids are forgotten with their orders.
    """
    # One broadcast for changes and quotes: a listener sees them in the order in which they came.
    updates = Updates()
    account = venue.settings.account
    dependencies = EngineDependencies(
        settings=settings,
        lease=build_lease(settings, account, address),
        venue=venue,
        prices=PriceFeed(venue, clock=utc_now, updates=updates),
        conditions=Conditions(utc_now),
        updates=updates,
        emit=venue.emit,
        clock=utc_now,
        chance=venue.chance,
    )
    leadership = Leadership(dependencies, _policies(settings, share, account))
    return OrderService(dependencies, leadership, memory, address=address)


def build_lease(settings: OrderSettings, account: str, address: str = "") -> Lease:
    """The ownership lease that the settings ask for."""
    if settings.ownership == "cluster":
        # Only a pod needs the client of the API server, and its import costs a tenth of a second.
        from lightkube import AsyncClient, KubeConfig  # noqa: PLC0415

        from broker.orders.ownership.cluster_lease import ClusterLease  # noqa: PLC0415

        name = f"{settings.owner}-{account}".lower()

        def connect() -> AsyncClient:
            # Straight, as every connection of ours: a proxy that the environment names for the site is not asked.
            return AsyncClient(KubeConfig.from_env(), trust_env=False)

        return ClusterLease(connect, name, lease_s=settings.lease_s, address=address)
    place = settings.directory / "ownership" / account
    return FileLease(place, owner=settings.owner, lease_s=settings.lease_s, address=address)


def _policies(settings: OrderSettings, share: AccountShare | None, account: str) -> list[OwnershipPolicy]:
    policies: list[OwnershipPolicy] = []
    if settings.colour_file is not None:
        policies.append(ColourPolicy(settings.colour_file, settings.colour_label))
    # Last: it counts the account as soon as it agrees, so that no other policy may refuse behind it.
    if share is not None:
        policies.append(SharePolicy(share, account))
    return policies
