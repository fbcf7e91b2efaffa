"""One account's share of the process: its venue, order path, history and surface, built by hand."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from broker.config import Config
from broker.events.catalogue import CATALOGUE
from broker.history.archive import Archive
from broker.history.backfill import Backfill
from broker.history.database import Database
from broker.history.recall import Recall
from broker.history.source import JournalSource
from broker.history.writer import Writer
from broker.order_wiring import build_order_service, utc_now
from broker.orders.conditions import Conditions
from broker.orders.ownership.policies import AccountShare, even_share
from broker.orders.service import OrderService
from broker.orders.settings import OrderSettings
from broker.venue.rest.client import VenueRest
from broker.venue.rest.connection_pool import VenueConnections
from pod_runtime.secret import Secret
from producer.emitter import Emitter
from producer.health import Condition
from producer.settings import TelemetrySettings
from producer.stream.client import TelemetryStream


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What accounts share of the way to the venue."""

    token: Callable[[], Secret | None]
    on_unauthorized: Callable[[Secret], None]
    address: str
    """Where the account's other brokers reach the order API."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """An account's parts. `name` is empty where the process trades one account only."""

    account: str
    name: str
    conditions: Conditions
    emitter: Emitter
    stream: TelemetryStream | None
    """Of the account's own producer; None where it is the process's."""
    venue: VenueRest
    desk: OrderService
    archive: Archive
    recall: Recall
    writer: Writer
    backfill: Backfill

    def own_health(self) -> list[Condition]:
        """The account's conditions, as its own producer and its surface tell them."""
        return [*self.conditions.all(), *self.desk.conditions()]

    def health(self) -> Sequence[Condition]:
        """The account's conditions among those of the process: with the account, where there are several."""
        if not self.name:
            return self.own_health()
        return [replace(item, name=f"{item.name}:{self.name}") for item in self.own_health()]


def order_settings(config: Config) -> OrderSettings:
    """Of several accounts some are the other processes': not owning one is no fault."""
    return replace(config.orders, standby_ready=True) if config.venue.further_accounts else config.orders


def account_share(config: Config) -> AccountShare | None:
    """The share of the accounts that this process owns; None for one account."""
    accounts = config.venue.accounts
    if len(accounts) == 1:
        return None
    return AccountShare(share=even_share(len(accounts), config.orders.replicas), orphan_s=config.orders.orphan_s)


def own_telemetry(settings: TelemetrySettings, account: str) -> TelemetrySettings:
    """A producer for the account: its series and its ledger are its own."""
    return replace(
        settings,
        producer_id=f"{settings.producer_id}.{account}"[:64].lower(),
        spool_directory=settings.spool_directory / account,
    )


def build_shard(
    config: Config,
    account: str,
    *,
    access: Access,
    database: Database,
    connections: VenueConnections,
    share: AccountShare | None,
    common: tuple[Conditions, Emitter, dict[str, str]],
) -> Shard:
    """An account's parts; nothing runs yet. `common` are the process's conditions, emitter and resource.

    Raises:
        OSError: the spool's directory cannot be used.
    """
    conditions, emitter, resource = common
    stream: TelemetryStream | None = None
    if share is not None:
        conditions, settings = Conditions(utc_now), own_telemetry(config.telemetry, account)
        emitter = Emitter(settings, catalogue=CATALOGUE, resource={**resource, "broker.account": account})
        stream = TelemetryStream(emitter, settings, lambda: shard.own_health())  # noqa: PLW0108 - it does not exist yet
    venue_settings, orders = replace(config.venue, account=account, further_accounts=()), order_settings(config)
    venue = VenueRest(venue_settings, connections, tokens=access, emit=emitter.emit, chance=random.random)
    archive = Archive(database, account)
    recall = Recall(archive)
    desk = build_order_service(orders, venue, address=access.address, share=share, memory=recall)
    shard = Shard(
        account=account,
        name=account if share is not None else "",
        conditions=conditions,
        emitter=emitter,
        stream=stream,
        venue=venue,
        desk=desk,
        archive=archive,
        recall=recall,
        writer=Writer(
            config.history,
            database,
            JournalSource(desk, orders.directory / account),
            account=account,
            conditions=conditions,
            emit=emitter.emit,
            chance=random.random,
        ),
        backfill=Backfill(database, venue, account=account, chance=random.random),
    )
    return shard


class EveryAccount:
    """Where a token is proved: it must work for each account."""

    def __init__(self, venues: Callable[[], Sequence[VenueRest]]) -> None:
        self._venues = venues

    async def prove(self, token: Secret) -> None:
        """Uses it once an account; raises VenueError where it does not work."""
        for venue in self._venues():
            await venue.prove(token)


async def run_desks(shards: Sequence[Shard], stop: asyncio.Event) -> None:
    """Trades the accounts until `stop`; then drains all at once."""
    async with asyncio.TaskGroup() as tasks:
        for shard in shards:
            tasks.create_task(shard.desk.run(stop))
