"""One taking of the account: from the journal's opening to the hand-over, with all that runs meanwhile."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from time import monotonic, perf_counter

from broker.domain import Order, OrderRequest, OrderStatus, Side
from broker.orders.checks.context import Pretrade
from broker.orders.checks.risk import is_reducing
from broker.orders.dependencies import Surroundings
from broker.orders.model.ids import ClientTag, caller_digest, order_id
from broker.orders.model.order_record import Action, Entry
from broker.orders.periodic import Beats
from broker.orders.recovery.catch_up import Contact
from broker.orders.recovery.reconcile import Reconciler
from broker.orders.recovery.unknown_orders import Resolver
from broker.orders.store.index import IN_FLIGHT, Register
from broker.orders.store.journal import Journal, JournalError
from broker.orders.store.order_store import Keeper, Waiter
from broker.orders.submission import Submission
from broker.venue.rest.circuit_breaker import Circuit
from broker.venue.streams.line_stream import LineStream
from broker.venue.streams.transaction_feed import TransactionFeed

log = logging.getLogger(__name__)


class Tenure:
    """Trades the account while `may_send()` holds. `open` first, then `run` until cancelled, then `close`."""

    def __init__(
        self,
        around: Surroundings,
        *,
        epoch: int,
        may_send: Callable[[], bool],
        may_write: Callable[[], bool],
        hand_on: Callable[[str], None],
    ) -> None:
        self._around = around
        self._epoch = epoch
        self.journal = _journal(around)
        self.keeper = _keeper(around, self.journal, epoch=epoch, may_write=may_write, hand_on=hand_on)
        venue, emit = around.venue, around.emit
        self.feed = TransactionFeed(log=venue, deliver=self.keeper.deliver, emit=emit, applied=0)
        self._resolver = _resolver(around, self.keeper)
        self._submission = _submission(around, self.keeper, self.feed, self._resolver, may_send=may_send)
        self._pretrade = _pretrade(around, self.keeper, self._submission)
        self.reconciler = Reconciler(self.keeper, self.feed, venue, emit)
        self.transactions = _transactions(around, self.feed)
        self._contact = Contact(around, self.keeper, self.feed, self._pretrade)
        self._beats = Beats(
            around,
            keeper=self.keeper,
            feed=self.feed,
            transactions=self.transactions,
            submission=self._submission,
            pretrade=self._pretrade,
            reconciler=self.reconciler,
        )
        self._flights: set[asyncio.Task[None]] = set()

    @property
    def is_in_contact(self) -> bool:
        """Whether the venue has told what happened before."""
        return self._contact.is_made

    def open(self, note: str) -> None:
        """Reads the journal; what was on its way when the process ended is unknown now.

        `note` is what the owner before handed on.

        Raises:
            JournalError, OSError, FormatError: the journal cannot be used.
        """
        self.keeper.open()
        self.keeper.inherit(note)
        for entry in self.keeper.register.with_status(OrderStatus.SUBMITTED):
            self.keeper.move(
                entry.id, OrderStatus.UNKNOWN, "RESTARTED", "the process ended before the venue's answer"
            )

    async def run(self) -> None:
        """Makes contact, then follows the account."""
        await self._contact.make()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.transactions.run())
            group.create_task(self._resolver.run())
            group.create_task(self._beats.sample())
            group.create_task(self._beats.compare())

    async def place(
        self,
        request: OrderRequest,
        *,
        action: Action = Action.CREATE,
        target: str | None = None,
        close_units: Decimal | None = None,
    ) -> Order:
        """Takes an order to its first settled status; the venue's part goes on if the caller leaves."""
        received_s = perf_counter()
        self._mend()
        entry = self._receive(request, action, target, close_units)
        waiter = self.keeper.expect(entry.id, received_s, self._decision_price(request))
        try:
            self._judge(entry)
        except Exception:
            self.keeper.move(entry.id, OrderStatus.DENIED, "INTERNAL_ERROR", "a fault of the broker's own")
            self.keeper.dismiss(entry.id)
            raise
        return await self.wait_settled(entry, waiter)

    def _judge(self, entry: Entry) -> None:
        """Denies a received order or sends it on its way."""
        request = entry.order.request
        try:
            denial = self._pretrade.verdict(request, self._replaced(entry))
        finally:
            self.keeper.put(entry)  # not before: it would count against its own limit of open orders
        if denial is not None:
            self.keeper.move(entry.id, OrderStatus.DENIED, denial.reason, denial.message)
            return
        self._pretrade.count(request)
        opens = not is_reducing(request, self.keeper.position(request.instrument))
        if (position := self._submission.begin(entry)) is not None:
            self._fly(entry, position, opens=opens)

    def _replaced(self, entry: Entry) -> OrderRequest | None:
        """What a replacement ends."""
        held = self.keeper.register.by_venue_id(entry.target or "") if entry.action is Action.REPLACE else None
        return held.order.request if held is not None else None

    def _mend(self) -> None:
        """A journal that failed is tried again by the next order, not by the next beat."""
        if self.journal.failure is not None:
            with suppress(JournalError):
                self.keeper.turn_segment()

    def _fly(self, entry: Entry, position: int, *, opens: bool) -> None:
        task = asyncio.create_task(self._submission.run(entry, position, opens=opens))
        self._flights.add(task)
        task.add_done_callback(lambda done: self._landed(done, entry.id))

    def _landed(self, task: asyncio.Task[None], order_id: str) -> None:
        """A fault of ours on the way leaves the outcome to the venue's log, as a lost answer does."""
        self._flights.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        log.error("submission failed", exc_info=error, extra={"order_id": order_id})
        held = self.keeper.register.get(order_id)
        if held is not None and held.status is OrderStatus.SUBMITTED:
            self.keeper.move(order_id, OrderStatus.UNKNOWN, "INTERNAL_ERROR", f"{type(error).__name__} in the broker")
            self._resolver.want()

    async def wait_settled(self, entry: Entry, waiter: Waiter) -> Order:
        """The order at its first settled status; an unknown one is given the time of the first scans."""
        await waiter.settled.wait()
        if not waiter.resolved.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(self._around.settings.answer_wait_s):
                    await waiter.resolved.wait()
        self.keeper.dismiss(entry.id)
        found = self.keeper.register.get(entry.id)
        return (found or entry).order

    def _receive(
        self, request: OrderRequest, action: Action, target: str | None, close_units: Decimal | None
    ) -> Entry:
        now = self._around.clock()
        chance = int(self._around.chance() * (1 << 53)) << 27 | int(self._around.chance() * (1 << 27))
        name = order_id(int(now.timestamp() * 1000), chance)
        order = Order(id=name, request=request, status=OrderStatus.RECEIVED, created_at=now, updated_at=now)
        caller = caller_digest(request.client, request.client_order_id)
        tag = ClientTag(owner=self._around.settings.owner, epoch=self._epoch, order_id=name, caller=caller)
        return Entry(
            order=order,
            client_id=str(tag),
            checkpoint=self.feed.last_known,
            action=action,
            target=target,
            close_units=close_units,
        )

    def _decision_price(self, request: OrderRequest) -> Decimal | None:
        quote = self._around.book.quote(request.instrument)
        if quote is None:
            return None
        return quote.ask if request.side is Side.BUY else quote.bid

    async def wait_landed(self, deadline_s: float) -> bool:
        """Whether every order on its way was answered or given to the log within the time."""
        register = self.keeper.register
        try:
            async with asyncio.timeout(deadline_s):
                while self._flights:
                    await asyncio.wait(self._flights)
        except TimeoutError:
            return False
        return register.count(IN_FLIGHT) == 0

    async def close(self) -> None:
        """Closes the journal. Orders still on their way are in it, to be found out by the next start."""
        for task in self._flights:
            task.cancel()
        await asyncio.gather(*self._flights, return_exceptions=True)
        await self.journal.close()


def _journal(around: Surroundings) -> Journal:
    settings = around.settings
    directory = settings.directory / around.venue_settings.account
    return Journal(directory, segment_bytes=settings.segment_bytes, keep_bytes=settings.keep_bytes, emit=around.emit)


def _keeper(
    around: Surroundings,
    journal: Journal,
    *,
    epoch: int,
    may_write: Callable[[], bool],
    hand_on: Callable[[str], None],
) -> Keeper:
    settings = around.settings
    return Keeper(
        journal,
        Register(remember_orders=settings.remember_orders, remember_s=settings.remember_s),
        account=around.venue_settings.account,
        owner=settings.owner,
        epoch=epoch,
        emit=around.emit,
        clock=around.clock,
        on_change=around.on_change,
        may_write=may_write,
        hand_on=hand_on,
    )


def _resolver(around: Surroundings, keeper: Keeper) -> Resolver:
    settings = around.settings
    horizon_s, scans = settings.absence_horizon_s, settings.absence_scans
    return Resolver(keeper, around.venue, now_s=monotonic, horizon_s=horizon_s, scans=scans)


def _submission(
    around: Surroundings,
    keeper: Keeper,
    feed: TransactionFeed,
    resolver: Resolver,
    *,
    may_send: Callable[[], bool],
) -> Submission:
    settings = around.settings
    circuit = Circuit(failures_to_open=settings.circuit_failures, pause_s=settings.circuit_pause_s)
    return Submission(keeper, around.venue, feed, resolver, emit=around.emit, may_send=may_send, circuit=circuit)


def _pretrade(around: Surroundings, keeper: Keeper, submission: Submission) -> Pretrade:
    return Pretrade(
        keeper,
        around.book,
        around.settings,
        account=around.venue_settings.account,
        emit=around.emit,
        prices_alive=lambda: around.prices.is_alive,
        circuit_allows=lambda: submission.circuit.allows(monotonic()),
    )


def _transactions(around: Surroundings, feed: TransactionFeed) -> LineStream:
    return LineStream("transactions", "/transactions/stream", around.venue, feed)
