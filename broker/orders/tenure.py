"""One taking of the account: from the journal's opening to the hand-over, with all that runs meanwhile."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from time import monotonic, perf_counter
from typing import Any

from broker.domain import Order, OrderRequest, OrderStatus, Side
from broker.orders import sampler
from broker.orders.conditions import Conditions
from broker.orders.entry import Action, Entry
from broker.orders.identity import ClientTag, caller_digest, order_id
from broker.orders.journal import Journal, JournalError
from broker.orders.keeper import Keeper, Waiter
from broker.orders.pretrade import Pretrade
from broker.orders.reconcile import Reconciler
from broker.orders.register import IN_FLIGHT, Register
from broker.orders.resolve import Resolver
from broker.orders.risk import is_reducing
from broker.orders.settings import OrderSettings
from broker.orders.submission import Submission
from broker.venue.book import QuoteBook
from broker.venue.circuit import Circuit
from broker.venue.errors import VenueError
from broker.venue.feed import TransactionFeed
from broker.venue.rest import Emit, TokenSource, VenueRest
from broker.venue.settings import VenueSettings
from broker.venue.stream import LineStream

CONTACT_PAUSE_S = 0.5
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a tenure works with and does not own."""

    settings: OrderSettings
    venue_settings: VenueSettings
    venue: VenueRest
    book: QuoteBook
    prices: LineStream
    conditions: Conditions
    token: TokenSource
    emit: Emit
    clock: Callable[[], datetime]
    chance: Callable[[], float]
    on_change: Callable[[Order], None]
    on_unauthorized: Callable[..., None]


class Tenure:
    """Trades the account while `may_send()` holds. `open` first, then `run` until cancelled, then `close`."""

    def __init__(
        self, around: Surroundings, *, epoch: int, may_send: Callable[[], bool], may_write: Callable[[], bool]
    ) -> None:
        settings, emit = around.settings, around.emit
        self._around = around
        self._epoch = epoch
        account = around.venue_settings.account
        self.journal = Journal(
            settings.directory / account,
            segment_bytes=settings.segment_bytes,
            keep_bytes=settings.keep_bytes,
            emit=emit,
        )
        register = Register(remember_orders=settings.remember_orders, remember_s=settings.remember_s)
        self.keeper = Keeper(
            self.journal,
            register,
            account=account,
            owner=settings.owner,
            epoch=epoch,
            emit=emit,
            clock=around.clock,
            on_change=around.on_change,
            may_write=may_write,
        )
        self.feed = TransactionFeed(log=around.venue, deliver=self.keeper.deliver, emit=emit, applied=0)
        self._resolver = Resolver(
            self.keeper,
            around.venue,
            now_s=monotonic,
            horizon_s=settings.absence_horizon_s,
            scans=settings.absence_scans,
        )
        self._submission = Submission(
            self.keeper,
            around.venue,
            self.feed,
            self._resolver,
            emit=emit,
            may_send=may_send,
            circuit=Circuit(failures_to_open=settings.circuit_failures, pause_s=settings.circuit_pause_s),
        )
        self._pretrade = Pretrade(
            self.keeper,
            around.book,
            settings,
            account=account,
            emit=emit,
            prices_alive=lambda: around.prices.is_alive,
            circuit_allows=lambda: self._submission.circuit.allows(monotonic()),
        )
        self.reconciler = Reconciler(self.keeper, self.feed, around.venue, emit)
        self.transactions = LineStream(
            "transactions",
            "/transactions/stream",
            settings=around.venue_settings,
            rest=around.venue,
            token=around.token,
            emit=emit,
            chance=around.chance,
            on_message=self.feed.message,
            on_open=self.feed.opened,
            on_unauthorized=around.on_unauthorized,
        )
        self.is_in_contact = False
        self._flights: set[asyncio.Task[None]] = set()

    def open(self) -> None:
        """Reads the journal; what was on its way when the process ended is unknown now.

        Raises:
            JournalError, OSError, FormatError: the journal cannot be used.
        """
        self.keeper.open()
        for entry in self.keeper.register.with_status(OrderStatus.SUBMITTED):
            self.keeper.move(
                entry.id, OrderStatus.UNKNOWN, "RESTARTED", "the process ended before the venue's answer"
            )

    async def run(self) -> None:
        """Makes contact, then follows the account."""
        await self._contact()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.transactions.run())
            group.create_task(self._resolver.run())
            group.create_task(self._sample())
            group.create_task(self._compare())

    async def _contact(self) -> None:
        """Learns what happened while nobody followed; again and again until the venue answers."""
        while True:
            try:
                await self._catch_up()
            except VenueError as error:
                self._say_contact(reason=error.error_type, message=str(error))
            except (JournalError, ValueError, KeyError) as error:
                self._say_contact(reason=type(error).__name__, message=str(error))
            else:
                self._say_contact(reason="Ready", message="")
                return
            await asyncio.sleep(CONTACT_PAUSE_S)

    def _say_contact(self, *, reason: str, message: str) -> None:
        self.is_in_contact = reason == "Ready"
        self._around.conditions.set("venue", ok=self.is_in_contact, reason=reason, message=message)

    async def _catch_up(self) -> None:
        venue, keeper, book = self._around.venue, self.keeper, self._around.book
        keeper.instruments = {item.name: item for item in await venue.instruments()}
        account = await venue.summary()
        if keeper.control.applied is None:
            await self._read_back(int(account.last_transaction_id))
        self.feed.applied = keeper.control.applied or 0
        if int(account.last_transaction_id) < self.feed.applied:
            raise ValueError(f"the venue's log ends at {account.last_transaction_id}, ours at {self.feed.applied}")
        await self.feed.fill()
        positions, at = await venue.positions()
        keeper.set_positions({item.instrument: item.units for item in positions}, at)
        keeper.started_at = self.feed.last_known
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
        self.keeper.set_control(applied=max(0, last - self._around.settings.read_back_transactions))
        self.feed.applied = self.keeper.control.applied or 0
        await self.feed.fill()
        for order in (await self._around.venue.pending_orders())[0]:
            if self.keeper.register.by_venue_id(order.id) is None:
                self.keeper.adopt(order)

    async def _sample(self) -> None:
        around, keeper = self._around, self.keeper
        names = (
            around.venue_settings.sampled_instruments
            or (around.venue_settings.instruments or tuple(sorted(keeper.instruments)))[: sampler.SAMPLED_BY_DEFAULT]
        )
        while True:
            sampler.sample_orders(keeper, around.emit)
            sampler.sample_circuit(self._submission.circuit.state(monotonic()), around.emit)
            sampler.sample_venue(around.venue, self.feed, [around.prices, self.transactions], around.emit)
            sampler.sample_instruments(keeper, around.book, names, around.emit)
            try:
                keeper.turn_segment()
                account = await around.venue.summary()
                self.feed.note(int(account.last_transaction_id))
                sampler.sample_account(account, around.emit)
                sampler.sample_risk(self._pretrade, account, keeper)
            except (VenueError, JournalError, ValueError, KeyError) as error:
                log.warning("sample failed", extra={"fault": str(error)})
            await asyncio.sleep(around.settings.sample_s)

    async def _compare(self) -> None:
        while True:
            try:
                await self.reconciler.run()
            except (VenueError, JournalError, ValueError, KeyError) as error:
                log.warning("reconcile failed", extra={"fault": str(error)})
            await asyncio.sleep(self._around.settings.reconcile_s)

    async def place(
        self,
        request: OrderRequest,
        *,
        action: Action = Action.CREATE,
        target: str | None = None,
        close_units: Any = None,
    ) -> Order:
        """Takes an order to its first settled status; the venue's part goes on if the caller leaves."""
        received_s = perf_counter()
        self._mend()
        entry = self._receive(request, action, target, close_units)
        waiter = self.keeper.expect(entry.id, received_s, self._decision_price(request))
        self.keeper.put(entry)
        denial = self._pretrade.verdict(request)
        if denial is not None:
            self.keeper.move(entry.id, OrderStatus.DENIED, denial.reason, denial.message)
        else:
            self._pretrade.count(request)
            opens = not is_reducing(request, self.keeper.positions.get(request.instrument, request.units * 0))
            if (position := self._submission.begin(entry)) is not None:
                self._fly(entry, position, opens=opens)
        return await self.wait_settled(entry, waiter)

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

    def _receive(self, request: OrderRequest, action: Action, target: str | None, close_units: Any) -> Entry:
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

    def _decision_price(self, request: OrderRequest) -> Any:
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
