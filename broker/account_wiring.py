"""One account's share of the process: its venue, order path, history and surface, built by hand."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from broker.config import Config
from broker.events.catalogue import CATALOGUE
from broker.history.archive import Archive
from broker.history.backfill import Backfill
from broker.history.database import Database
from broker.history.journal_end import JournalEnd
from broker.history.recall import Recall
from broker.history.writer import HistoryWriter
from broker.orders.conditions import Conditions
from broker.orders.ownership.lease import MARGIN_SHARE
from broker.orders.ownership.spread import Spread, share_of
from broker.orders.service import Desk
from broker.orders.settings import OrderSettings
from broker.venue.rest.client import VenueRest
from broker.venue.settings import VenueSettings
from pod_runtime.secret import Secret
from producer.emitter import Emitter
from producer.health import Condition
from producer.settings import TelemetrySettings
from producer.stream.client import TelemetryStream


def utc_now() -> datetime:
    """The time now."""
    return datetime.now(UTC)


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
    desk: Desk
    archive: Archive
    recall: Recall
    writer: HistoryWriter
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


def spread_of(config: Config) -> Spread | None:
    """How the accounts are spread over the processes; none for one account."""
    accounts = config.venue.accounts
    if len(accounts) == 1:
        return None
    return Spread(share=share_of(len(accounts), config.orders.replicas), orphan_s=config.orders.orphan_s)


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
    beside: VenueRest | None,
    spread: Spread | None,
    common: tuple[Conditions, Emitter, dict[str, str]],
) -> Shard:
    """An account's parts; nothing runs yet. `common` are the process's conditions, emitter and resource.

    Raises:
        OSError: the spool's directory cannot be used.
    """
    conditions, emitter, resource = common
    stream: TelemetryStream | None = None
    if spread is not None:
        conditions, settings = Conditions(utc_now), own_telemetry(config.telemetry, account)
        emitter = Emitter(settings, catalogue=CATALOGUE, resource={**resource, "broker.account": account})
        stream = TelemetryStream(emitter, settings, lambda: shard.own_health())  # noqa: PLW0108 - it does not exist yet
    venue_settings, orders = replace(config.venue, account=account, further_accounts=()), order_settings(config)
    venue = _venue(venue_settings, access, emitter, lease_s=orders.lease_s, beside=beside)
    archive = Archive(database, account)
    recall = Recall(archive)
    desk = _desk(orders, venue_settings, venue, access, emitter=emitter, spread=spread, recall=recall)
    shard = Shard(
        account=account,
        name=account if spread is not None else "",
        conditions=conditions,
        emitter=emitter,
        stream=stream,
        venue=venue,
        desk=desk,
        archive=archive,
        recall=recall,
        writer=HistoryWriter(
            config.history,
            database,
            journal=JournalEnd(orders.directory / account),
            changes=desk,
            account=account,
            conditions=conditions,
            emit=emitter.emit,
            chance=random.random,
        ),
        backfill=Backfill(database, venue, account=account, chance=random.random),
    )
    return shard


def _venue(
    settings: VenueSettings, access: Access, emitter: Emitter, *, lease_s: float, beside: VenueRest | None
) -> VenueRest:
    """What is sent is delivered within the gap between two owners, or not at all."""
    return VenueRest(
        settings,
        token=access.token,
        emit=emitter.emit,
        chance=random.random,
        on_unauthorized=access.on_unauthorized,
        delivery_s=2 * MARGIN_SHARE * lease_s,
        beside=beside,
    )


def _desk(
    settings: OrderSettings,
    venue_settings: VenueSettings,
    venue: VenueRest,
    access: Access,
    *,
    emitter: Emitter,
    spread: Spread | None,
    recall: Recall,
) -> Desk:
    return Desk(
        settings,
        venue_settings,
        venue=venue,
        token=access.token,
        emit=emitter.emit,
        clock=utc_now,
        chance=random.random,
        on_unauthorized=access.on_unauthorized,
        address=access.address,
        spread=spread,
        memory=recall,
    )


class EveryAccount:
    """Where a token is proved: it must work for each account."""

    def __init__(self, venues: Callable[[], Sequence[VenueRest]]) -> None:
        self._venues = venues

    async def prove(self, token: Secret) -> None:
        """Uses it once an account; raises VenueError where it does not work."""
        for venue in self._venues():
            await venue.prove(token)


async def opened(shards: Sequence[Shard], stack: AsyncExitStack) -> None:
    """Opens the connections to the venue."""
    for shard in shards:
        await stack.enter_async_context(shard.venue)


async def run_desks(shards: Sequence[Shard], stop: asyncio.Event) -> None:
    """Trades the accounts until `stop`; then drains all at once."""
    async with asyncio.TaskGroup() as tasks:
        for shard in shards:
            tasks.create_task(shard.desk.run(stop))
