"""What is done again and again while the account is held."""

from __future__ import annotations

import asyncio
import logging
from time import monotonic

from broker.orders import sampler
from broker.orders.checks.context import Pretrade
from broker.orders.dependencies import Surroundings
from broker.orders.recovery.reconcile import Reconciler
from broker.orders.store.journal import JournalError
from broker.orders.store.order_store import Keeper
from broker.orders.submission import Submission
from broker.venue.errors import VenueError
from broker.venue.streams.line_stream import LineStream
from broker.venue.streams.transaction_feed import TransactionFeed

log = logging.getLogger(__name__)


class Beats:
    """Samples and comparisons. Each method runs until it is cancelled; a failure waits for the next beat."""

    def __init__(
        self,
        around: Surroundings,
        *,
        keeper: Keeper,
        feed: TransactionFeed,
        transactions: LineStream,
        submission: Submission,
        pretrade: Pretrade,
        reconciler: Reconciler,
    ) -> None:
        self._around = around
        self._keeper = keeper
        self._feed = feed
        self._transactions = transactions
        self._submission = submission
        self._pretrade = pretrade
        self._reconciler = reconciler

    async def sample(self) -> None:
        """Gauges, the account's summary, and the journal's segments."""
        around, keeper = self._around, self._keeper
        names = (
            around.venue_settings.sampled_instruments
            or (around.venue_settings.instruments or tuple(sorted(keeper.instruments)))[: sampler.SAMPLED_BY_DEFAULT]
        )
        while True:
            sampler.sample_orders(keeper, around.emit)
            sampler.sample_circuit(self._submission.circuit.state(monotonic()), around.emit)
            sampler.sample_venue(around.venue, self._feed, [around.prices, self._transactions], around.emit)
            sampler.sample_instruments(keeper, around.book, names, around.emit)
            try:
                keeper.turn_segment()
                account = await around.venue.summary()
                self._feed.note(int(account.last_transaction_id))
                sampler.sample_account(account, around.emit)
                sampler.sample_risk(self._pretrade, account, keeper)
            except (VenueError, JournalError, ValueError, KeyError) as error:
                log.warning("sample failed", extra={"fault": str(error)})
            await asyncio.sleep(around.settings.sample_s)

    async def compare(self) -> None:
        """Compares with the venue, and reads the conversions anew."""
        while True:
            try:
                await self._reconciler.run()
                names = self._around.venue_settings.instruments or tuple(self._keeper.instruments)
                _, self._around.book.conversions = await self._around.venue.pricing(names)
            except (VenueError, JournalError, ValueError, KeyError) as error:
                log.warning("reconcile failed", extra={"fault": str(error)})
            await asyncio.sleep(self._around.settings.reconcile_s)
