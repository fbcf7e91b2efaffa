"""Catch-up after acquiring the account: replays what happened at the venue while no broker owned it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from itertools import count

from broker.orders.checks.context import PreTradeChecks
from broker.orders.conditions import BrokerCondition
from broker.orders.dependencies import EngineDependencies
from broker.orders.errors import HedgingAccountError
from broker.orders.store.journal import OrderJournalError
from broker.orders.store.order_store import OrderStore
from broker.venue.errors import VenueError, VenueRefusedError
from broker.venue.streams.transaction_feed import TransactionFeed
from pod_runtime.backoff import Backoff
from pod_runtime.cancellation import check_cancelled
from producer.health import camel_case

RETRY = Backoff(base_s=0.02, cap_s=0.5)
"""Begins short: at a start the venue's token may come some milliseconds behind the account."""


class CatchUp:
    """Brings the store, the feed and the quotes up to date. Nothing is sent before `is_done`."""

    def __init__(
        self, dependencies: EngineDependencies, store: OrderStore, feed: TransactionFeed, checks: PreTradeChecks
    ) -> None:
        self._dependencies = dependencies
        self._store = store
        self._feed = feed
        self._checks = checks
        self.is_done = False
        self._set_condition(reason="Starting", message="the venue's log is being read")

    async def run(self) -> None:
        """Catch up; try again until the venue has answered every question of one attempt.

        Raises HedgingAccountError: the account cannot be traded.
        """
        for attempt in count():
            check_cancelled()
            try:
                await self._attempt()
            except VenueError as error:
                self._set_condition(reason=camel_case(error.error_type), message=str(error))
            except (OrderJournalError, ValueError, KeyError) as error:
                self._set_condition(reason=type(error).__name__, message=str(error))
            else:
                self._set_condition(reason="Ready", message="")
                return
            await asyncio.sleep(RETRY.delay_s(attempt, self._dependencies.chance()))

    def _set_condition(self, *, reason: str, message: str) -> None:
        self.is_done = reason == "Ready"
        self._dependencies.conditions.set(BrokerCondition.VENUE, ok=self.is_done, reason=reason, message=message)

    async def _attempt(self) -> None:
        venue, store, prices = self._dependencies.venue, self._store, self._dependencies.prices
        store.instruments = {item.name: item for item in await venue.instruments()}
        prices.known = tuple(store.instruments)
        account = await venue.summary()
        if account.hedging:
            fault = HedgingAccountError(account.id)
            self._set_condition(reason="HedgingAccount", message=str(fault))
            raise fault
        # A journal has them as of its last transaction, and the log tells on. Without one, those that are open now are
        # known before the log is read, so that their orders are adopted with instrument and size.
        if not store.trades.is_whole:
            store.set_trades(*await venue.trades())
        # An empty journal: a new account, or a successor on another volume.
        if store.control.applied is None:
            await self._read_back(int(account.last_transaction_id))
        self._feed.applied = store.control.applied or 0
        if int(account.last_transaction_id) < self._feed.applied:
            # Another account's log, or a practice account that was reset: our journal would hide new transactions.
            raise ValueError(f"the venue's log ends at {account.last_transaction_id}, ours at {self._feed.applied}")
        await self._feed.fill()
        await self._learn_owners()
        # After the log, with the transaction that they include: the stream continues exactly there.
        positions, at = await venue.positions()
        store.set_positions({item.instrument: item.units for item in positions}, at)
        # Only now: what was read so far is from before our term, whoever sent it.
        store.started_at = self._feed.last_known
        self._checks.note_account(account)
        quotes, prices.book.conversions = await venue.pricing(prices.instruments)
        prices.book.put(quotes)

    async def _learn_owners(self) -> None:
        """Ask the venue by whose order the trades were opened that are older than what we have read of the log."""
        for trade in self._store.owners.unknown():
            with suppress(VenueRefusedError):
                self._store.owners.learn(await self._dependencies.venue.transaction(trade.id))

    async def _read_back(self, last: int) -> None:
        """Learn the account's recent orders from the venue's log, because the journal is empty.

        So a successor on another volume knows its predecessor's client order ids and sends nothing twice. Older
        orders that still rest are adopted.
        """
        self._store.set_control(applied=max(0, last - self._dependencies.settings.read_back_transactions))
        self._feed.applied = self._store.control.applied or 0
        await self._feed.fill()
        for order in (await self._dependencies.venue.pending_orders())[0]:
            if self._store.index.by_venue_id(order.id) is None:
                self._store.adopt(order)
