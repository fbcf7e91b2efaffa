"""Order engine: runs one ownership term of an account, from opening the journal to the last answer.

The way of an order, top to bottom: `place` -> pre-trade checks -> intent in the journal -> `Submission.run` in a task
of its own (sync, send, answer) -> `OrderStore` -> the waiter that `place` set up. The task outlives its caller: a
client that hangs up does not take back an order that may be on the wire.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from decimal import Decimal
from time import monotonic, perf_counter
from typing import Self

from broker.domain import Order, OrderRequest, OrderStatus, Side
from broker.orders import observe
from broker.orders.checks.context import PreTradeChecks
from broker.orders.checks.risk import is_reducing
from broker.orders.dependencies import EngineDependencies
from broker.orders.model.ids import ClientTag, caller_digest, milliseconds, order_id, random_bits
from broker.orders.model.order_record import OrderAction, OrderRecord
from broker.orders.recovery.catch_up import CatchUp
from broker.orders.recovery.reconcile import Reconciler
from broker.orders.recovery.unknown_orders import UnknownOrderResolver
from broker.orders.store.index import IN_FLIGHT, OrderIndex
from broker.orders.store.journal import OrderJournal, OrderJournalError
from broker.orders.store.order_store import OrderStore, OwnershipTerm, Waiter
from broker.orders.submission import Submission
from broker.venue.errors import VenueError
from broker.venue.streams.line_stream import LineStream
from broker.venue.streams.transaction_feed import TransactionFeed

log = logging.getLogger(__name__)


class OrderEngine:
    """Trades the account while the term may send. `open` it, then `run` it inside `async with`, which closes it."""

    def __init__(self, dependencies: EngineDependencies, term: OwnershipTerm) -> None:
        self._dependencies = dependencies
        self._settings = settings = dependencies.settings
        self._term = term
        venue, emit = dependencies.venue, dependencies.emit
        account = venue.settings.account
        self.journal = OrderJournal(
            settings.directory / account,
            segment_bytes=settings.segment_bytes,
            keep_bytes=settings.keep_bytes,
            emit=emit,
        )
        self.store = OrderStore(
            self.journal,
            OrderIndex(remember_orders=settings.remember_orders, remember_s=settings.remember_s),
            account=account,
            owner=settings.owner,
            term=term,
            updates=dependencies.updates,
            emit=emit,
            clock=dependencies.clock,
        )
        self.feed = TransactionFeed(log=venue, deliver=self.store.deliver, emit=emit, applied=0)
        self.transactions = LineStream("transactions", "/transactions/stream", venue, self.feed)
        self._resolver = UnknownOrderResolver(
            self.store,
            venue,
            now_s=monotonic,
            horizon_s=settings.absence_horizon_s,
            scans=settings.absence_scans,
        )
        self.submission = Submission(dependencies, term, self.store, self.feed)
        self._checks = PreTradeChecks(dependencies, self.store, self.submission)
        self.reconciler = Reconciler(self.store, self.feed, venue)
        self._catch_up = CatchUp(dependencies, self.store, self.feed, self._checks)
        # A group of their own: a fault in `run` must not cancel orders on the wire before the drain had its time.
        self._flights = asyncio.TaskGroup()
        self._in_flight: set[asyncio.Task[None]] = set()

    @property
    def is_caught_up(self) -> bool:
        """True once the venue has told what happened before this term."""
        return self._catch_up.is_done

    def open(self, note: str) -> None:
        """Read the journal and take over `note`, the previous owner's handover note.

        Raises:
            OrderJournalError, OSError, FormatError: the journal cannot be used.
        """
        self.store.open()
        self.store.adopt_handover(note)
        # An order that was on its way when the process ended may be at the venue: nothing here can tell.
        for record in self.store.index.with_status(OrderStatus.SUBMITTED):
            self.store.move(
                record.id, OrderStatus.UNKNOWN, "RESTARTED", "the process ended before the venue's answer"
            )

    async def __aenter__(self) -> Self:
        await self._flights.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        # Orders without an answer are in the journal; the next start finds them out.
        for task in self._in_flight:
            task.cancel()
        # None: the fault of the term is no fault of the flights, and the journal must be closed behind them.
        await self._flights.__aexit__(None, None, None)
        await self.journal.close()

    async def run(self) -> None:
        """Catch up, then follow the account until cancelled."""
        await self._catch_up.run()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.transactions.run())
            # Only now: the settings may name no instruments, and the catch-up learns those of the account.
            group.create_task(self._dependencies.prices.stream.run())
            group.create_task(self._resolver.run())
            group.create_task(self._sample_periodically())
            group.create_task(self._reconcile_periodically())

    async def _sample_periodically(self) -> None:
        """Sample gauges, read the account's summary, and rotate the journal; a failure waits for the next turn."""
        dependencies, store, book = self._dependencies, self.store, self._dependencies.prices.book
        streams, emit = [dependencies.prices.stream, self.transactions], dependencies.emit
        names = observe.sampled_instruments(dependencies.venue.settings, store)
        while True:
            observe.sample_orders(store, emit)
            observe.sample_circuit(self.submission.circuit.state(monotonic()), emit)
            observe.sample_venue(dependencies.venue, self.feed, streams, emit)
            observe.sample_instruments(store, book, names, emit)
            try:
                store.rotate_if_due()
                account = await dependencies.venue.summary()
                # A sign of life for the feed: a summary ahead of the stream shows as lag.
                self.feed.note(int(account.last_transaction_id))
                observe.sample_account(account, emit)
                self._checks.note_account(account)
            except (VenueError, OrderJournalError, ValueError, KeyError) as error:
                log.warning("sample failed", extra={"fault": str(error)})
            await asyncio.sleep(self._settings.sample_s)

    async def _reconcile_periodically(self) -> None:
        """Compare with the venue, and read the currency conversions anew; a failure waits for the next turn."""
        dependencies = self._dependencies
        while True:
            try:
                await self.reconciler.run()
                prices = dependencies.prices
                _, prices.book.conversions = await dependencies.venue.pricing(prices.instruments)
            except (VenueError, OrderJournalError, ValueError, KeyError) as error:
                log.warning("reconcile failed", extra={"fault": str(error)})
            await asyncio.sleep(self._settings.reconcile_s)

    async def place(
        self,
        request: OrderRequest,
        *,
        action: OrderAction = OrderAction.CREATE,
        target: str | None = None,
        close_units: Decimal | None = None,
    ) -> Order:
        """Take an order to its first settled status; a caller that leaves does not stop it."""
        received_s = perf_counter()
        # A journal that failed is tried again by the next order, not by the next sample, seconds later.
        if self.journal.failure is not None:
            with suppress(OrderJournalError):
                self.store.rotate_if_due()
        record = self._receive(request, action, target, close_units)
        waiter = self.store.add_waiter(record.id, received_s, self._decision_price(request))
        try:
            self._check_and_begin(record)
        # The order is in memory as RECEIVED: without this it would stay open for ever, and count against the limits.
        except Exception:
            self.store.move(record.id, OrderStatus.DENIED, "INTERNAL_ERROR", "a fault of the broker's own")
            self.store.remove_waiter(record.id)
            raise
        return await self.wait_settled(record, waiter)

    def _receive(
        self, request: OrderRequest, action: OrderAction, target: str | None, close_units: Decimal | None
    ) -> OrderRecord:
        now = self._dependencies.clock()
        name = order_id(milliseconds(now), random_bits(self._dependencies.chance))
        order = Order(id=name, request=request, status=OrderStatus.RECEIVED, created_at=now, updated_at=now)
        caller = caller_digest(request.client, request.client_order_id)
        tag = ClientTag(owner=self._settings.owner, epoch=self._term.epoch, order_id=name, caller=caller)
        return OrderRecord(
            order=order,
            client_id=str(tag),
            # Known before the request goes out: every effect of the order has a later id.
            checkpoint=self.feed.last_known,
            action=action,
            target=target,
            close_units=close_units,
        )

    def _decision_price(self, request: OrderRequest) -> Decimal | None:
        quote = self._dependencies.prices.book.quote(request.instrument)
        if quote is None:
            return None
        return quote.ask if request.side is Side.BUY else quote.bid

    def _check_and_begin(self, record: OrderRecord) -> None:
        """Deny a received order, or write its intent and start its flight. Synchronous: no order slips in between."""
        request = record.order.request
        replaced = self.store.index.by_venue_id(record.target or "") if record.action is OrderAction.REPLACE else None
        try:
            denial = self._checks.verdict(request, replaced.order.request if replaced is not None else None)
        finally:
            self.store.put(record)  # not before: it would count against its own limit of open orders
        if denial is not None:
            self.store.move(record.id, OrderStatus.DENIED, denial.reason, denial.message)
            return
        self._checks.count(request)
        # Decided now, asked again before sending: trading may become REDUCING while the order waits for the disk.
        opens = not is_reducing(request, self.store.position(request.instrument))
        if (position := self.submission.begin(record)) is not None:
            task = self._flights.create_task(self._fly(record, position, opens=opens))
            self._in_flight.add(task)
            task.add_done_callback(self._in_flight.discard)

    async def _fly(self, record: OrderRecord, position: int, *, opens: bool) -> None:
        try:
            await self.submission.run(record, position, opens=opens)
        except Exception as error:
            # A fault of ours on the way leaves the outcome to the venue's log, as a lost answer does.
            log.exception("submission failed", extra={"order_id": record.id})
            held = self.store.index.get(record.id)
            if held is not None and held.status is OrderStatus.SUBMITTED:
                words = f"{type(error).__name__} in the broker"
                self.store.move(record.id, OrderStatus.UNKNOWN, "INTERNAL_ERROR", words)

    async def wait_settled(self, record: OrderRecord, waiter: Waiter) -> Order:
        """The order at its first settled status; an unknown one gets the time of the first scans."""
        # RECEIVED and SUBMITTED are no answer to a caller; UNKNOWN is one only after the scans had their chance.
        await waiter.settled.wait()
        if not waiter.resolved.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.answer_wait_s):
                    await waiter.resolved.wait()
        self.store.remove_waiter(record.id)
        found = self.store.index.get(record.id)
        return (found or record).order

    async def wait_idle(self, deadline_s: float) -> bool:
        """True if every order in flight was answered or given to the scans within the time."""
        try:
            async with asyncio.timeout(deadline_s):
                while self._in_flight:
                    await asyncio.wait(self._in_flight)
        except TimeoutError:
            return False
        return self.store.index.count(IN_FLIGHT) == 0
