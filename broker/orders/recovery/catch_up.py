"""The first words with the venue in a taking of the account: what happened while nobody followed."""

from __future__ import annotations

import asyncio

from broker.orders import sampler
from broker.orders.checks.context import Pretrade
from broker.orders.conditions import BrokerCondition
from broker.orders.dependencies import Surroundings
from broker.orders.store.journal import JournalError
from broker.orders.store.order_store import Keeper
from broker.venue.errors import VenueError
from broker.venue.streams.transaction_feed import TransactionFeed
from producer.health import camel_case

PAUSE_S = 0.5


class Contact:
    """Brings the keeper, the feed and the quotes up to date. `is_made` says that it is done."""

    def __init__(self, around: Surroundings, keeper: Keeper, feed: TransactionFeed, pretrade: Pretrade) -> None:
        self._around = around
        self._keeper = keeper
        self._feed = feed
        self._pretrade = pretrade
        self.is_made = False
        self._say(reason="Starting", message="the venue's log is being read")

    async def make(self) -> None:
        """Learns what happened while nobody followed; again and again until the venue answers."""
        while True:
            try:
                await self._catch_up()
            except VenueError as error:
                self._say(reason=camel_case(error.error_type), message=str(error))
            except (JournalError, ValueError, KeyError) as error:
                self._say(reason=type(error).__name__, message=str(error))
            else:
                self._say(reason="Ready", message="")
                return
            await asyncio.sleep(PAUSE_S)

    def _say(self, *, reason: str, message: str) -> None:
        self.is_made = reason == "Ready"
        self._around.conditions.set(BrokerCondition.VENUE, ok=self.is_made, reason=reason, message=message)

    async def _catch_up(self) -> None:
        venue, keeper, book = self._around.venue, self._keeper, self._around.book
        keeper.instruments = {item.name: item for item in await venue.instruments()}
        account = await venue.summary()
        if keeper.control.applied is None:
            await self._read_back(int(account.last_transaction_id))
        self._feed.applied = keeper.control.applied or 0
        if int(account.last_transaction_id) < self._feed.applied:
            raise ValueError(f"the venue's log ends at {account.last_transaction_id}, ours at {self._feed.applied}")
        await self._feed.fill()
        positions, at = await venue.positions()
        keeper.set_positions({item.instrument: item.units for item in positions}, at)
        keeper.started_at = self._feed.last_known
        sampler.sample_risk(self._pretrade, account, keeper)
        quotes, book.conversions = await venue.pricing(
            self._around.venue_settings.instruments or list(keeper.instruments)
        )
        book.put(quotes)

    async def _read_back(self, last: int) -> None:
        """A journal that knows nothing of the account learns its recent orders from the venue's log.

        So a successor on another volume knows the callers' ids of its predecessor, and sends nothing twice. What is
        older and rests is adopted.
        """
        self._keeper.set_control(applied=max(0, last - self._around.settings.read_back_transactions))
        self._feed.applied = self._keeper.control.applied or 0
        await self._feed.fill()
        for order in (await self._around.venue.pending_orders())[0]:
            if self._keeper.register.by_venue_id(order.id) is None:
                self._keeper.adopt(order)
