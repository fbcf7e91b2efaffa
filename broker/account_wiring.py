"""Builds the components of one account: its venue, order service, history and, of several accounts, its telemetry."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from broker.config import BrokerConfig
from broker.events import CATALOGUE
from broker.history.archive import Archive
from broker.history.backfill import Backfill
from broker.history.database import Database
from broker.history.journal_end import JournalEnd
from broker.history.recall import Recall
from broker.history.writer import HistoryWriter
from broker.order_wiring import build_order_service, utc_now
from broker.orders.conditions import Conditions
from broker.orders.ownership.policies import AccountShare, even_share
from broker.orders.service import OrderService
from broker.venue.rest.client import VenueRest, VenueTokens
from broker.venue.rest.connection_pool import VenueConnections
from broker.venue.rest.market_data import MarketData
from producer.emitter import Emitter
from producer.health import Condition
from producer.stream.client import TelemetryStream


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedComponents:
    """Components of the process that its accounts share."""

    config: BrokerConfig
    conditions: Conditions
    emitter: Emitter
    resource: dict[str, str]
    database: Database
    connections: VenueConnections
    tokens: VenueTokens
    share: AccountShare | None
    """None if the process trades one account only."""
    address: str
    """`host:port` where other brokers reach our order API."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountComponents:
    """Components of one account. `name` is empty if the process trades one account only."""

    account: str
    name: str
    conditions: Conditions
    emitter: Emitter
    stream: TelemetryStream | None
    """Of the account's own producer; None if it uses the process's."""
    venue: VenueRest
    orders: OrderService
    market: MarketData
    archive: Archive
    recall: Recall
    writer: HistoryWriter
    backfill: Backfill

    def own_health(self) -> list[Condition]:
        """The account's conditions under their plain names, for its own producer and its part of the API."""
        return [*self.conditions.all(), *self.orders.conditions()]

    def health(self) -> Sequence[Condition]:
        """The account's conditions among those of the process: with the account's id, if there are several."""
        if not self.name:
            return self.own_health()
        return [replace(item, name=f"{item.name}:{self.name}") for item in self.own_health()]


def account_share(config: BrokerConfig) -> AccountShare | None:
    """The share of the accounts that this process owns; None for one account."""
    accounts = config.venue.accounts
    if len(accounts) == 1:
        return None
    return AccountShare(share=even_share(len(accounts), config.orders.replicas), orphan_s=config.orders.orphan_s)


def build_account(shared: SharedComponents, account: str) -> AccountComponents:
    """The components of an account; nothing runs yet. Raises OSError: the spool's directory cannot be used."""
    config, conditions, emitter = shared.config, shared.conditions, shared.emitter
    orders, several = config.orders, shared.share is not None
    stream: TelemetryStream | None = None
    if several:
        conditions = Conditions(utc_now)
        # A producer of its own: so the account's series and its ledger are its own.
        producer_id = f"{config.telemetry.producer_id}.{account}"[:64].lower()
        spool = config.telemetry.spool_directory / account
        settings = replace(config.telemetry, producer_id=producer_id, spool_directory=spool)
        emitter = Emitter(
            settings,
            catalogue=CATALOGUE,
            resource={**shared.resource, "broker.account": account},
            constant_labels=settings.constant_labels,
        )
        stream = TelemetryStream(emitter, settings, lambda: built.own_health())  # noqa: PLW0108 - it does not exist yet
        # Some of several accounts are the other processes': a process is ready without them.
        orders = replace(orders, standby_ready=True)
    venue_settings = replace(config.venue, account=account, further_accounts=())
    venue = VenueRest(venue_settings, shared.connections, tokens=shared.tokens, emit=emitter.emit, chance=random.random)
    archive = Archive(shared.database, account)
    recall = Recall(archive)
    service = build_order_service(orders, venue, address=shared.address, share=shared.share, memory=recall)
    built = AccountComponents(
        account=account,
        name=account if several else "",
        conditions=conditions,
        emitter=emitter,
        stream=stream,
        venue=venue,
        orders=service,
        market=MarketData(venue, utc_now),
        archive=archive,
        recall=recall,
        writer=HistoryWriter(
            settings=config.history,
            database=shared.database,
            journal=JournalEnd(orders.directory / account),
            changes=service,
            account=account,
            conditions=conditions,
            emit=emitter.emit,
            chance=random.random,
        ),
        backfill=Backfill(shared.database, venue, account=account),
    )
    return built
