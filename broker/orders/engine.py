"""Order engine: runs one ownership term of an account, from opening the journal to the last answer.

The way of an order, top to bottom: `place` -> pre-trade checks -> intent in the journal -> `Submission.run` in a task
of its own (sync, send, answer) -> `OrderStore` -> the waiter that `place` set up. The task outlives its caller: a
client that hangs up does not take back an order that may be on the wire.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from decimal import Decimal
from time import monotonic, perf_counter
from typing import Self

from msgspec.structs import replace

from broker.domain import Account, Operation, Order, OrderRequest, OrderStatus, PositionFill, Side
from broker.events.orders import OrderAcknowledged, OrderStage
from broker.orders import observe
from broker.orders.checks.context import PreTradeChecks
from broker.orders.dependencies import EngineDependencies
from broker.orders.errors import NotReadyError
from broker.orders.model.exposure import only_reduces
from broker.orders.model.ids import ClientTag, caller_digest, client_digest, milliseconds, order_id, random_bits
from broker.orders.model.lifecycle import (
    JOURNAL_UNAVAILABLE,
    NOT_AUTHORIZED,
    OWNERSHIP_LOST,
    RATE_LIMITED,
    RESOURCES_UNAVAILABLE,
    OrderAction,
    OrderRecord,
    holds_id,
)
from broker.orders.model.trading_state import TradingState
from broker.orders.recovery.catch_up import CatchUp
from broker.orders.recovery.reconcile import Reconciler
from broker.orders.recovery.unknown_orders import UnknownOrderResolver
from broker.orders.store.journal import OrderJournalError
from broker.orders.store.order_index import IN_FLIGHT
from broker.orders.store.order_store import OrderStore, Waiter
from broker.venue import errors
from broker.venue.errors import VenueError
from broker.venue.rest.rate_limit import Precedence
from broker.venue.streams.line_stream import LineStream
from broker.venue.streams.transaction_feed import TransactionFeed
from broker.venue.v20 import order_requests as order_call
from broker.venue.v20.order_requests import VenueCall
from broker.venue.v20.parse import OrderAnswer, parse_answer
from pod_runtime.cancellation import PersistentTaskGroup, check_cancelled
from pod_runtime.run import is_passing

CANCEL_TRIES = 3
UNTRIED: Mapping[str | None, tuple[str, float]] = {
    # A dead token's successor is adopted in about that time.
    NOT_AUTHORIZED: ("VenueUnauthorized", 2.0),
    RATE_LIMITED: ("VenueRateLimited", 1.0),
    JOURNAL_UNAVAILABLE: ("JournalFailed", 5.0),
    OWNERSHIP_LOST: ("NotOwner", 1.0),
    RESOURCES_UNAVAILABLE: ("NoMemory", 2.0),
}
"""Of an order that nobody has looked at, by its reason: why we cannot trade, and seconds until a retry."""
HALTED, REDUCING = "TRADING_HALTED", "TRADING_REDUCING"
log = logging.getLogger(__name__)


def call_of(record: OrderRecord) -> VenueCall:
    """The request to the venue that an order stands for."""
    request = record.order.request
    if record.reduce_only:
        request = replace(request, position_fill=PositionFill.REDUCE_ONLY)
    match record.action:
        case OrderAction.REPLACE:
            return order_call.replace(request, record.client_id, record.target or "")
        case OrderAction.CLOSE_POSITION:
            long = request.side.sign < 0
            return order_call.close_position(request.instrument, record.client_id, long=long, units=record.close_units)
        case OrderAction.CLOSE_TRADE:
            return order_call.close_trade(record.target or "", record.close_units)
        case OrderAction.CHANGE_TRADE_ORDERS:
            return order_call.change_trade_order(request, record.client_id)
        case _:
            return order_call.create(request, record.client_id)


def _held_to_reduce(record: OrderRecord) -> OrderRecord:
    """The record of an order that may go only because it reduces, with the venue's own hold on that."""
    return record if only_reduces(record) else replace(record, reduce_only=True)


class Submission:
    """Sends the orders of one ownership term."""

    def __init__(
        self, dependencies: EngineDependencies, store: OrderStore, feed: TransactionFeed, checks: PreTradeChecks
    ) -> None:
        self._venue = dependencies.venue
        self._emit = dependencies.emit
        self._lease = dependencies.lease
        self._store = store
        self._feed = feed
        self._checks = checks

    def begin(self, record: OrderRecord) -> int | None:
        """Write the intent of a received order; the position to wait for, or None if the order is denied."""
        try:
            position = self._store.put_intent(record.moved(OrderStatus.SUBMITTED, self._store.now()))
        except OrderJournalError as error:
            self._store.put(record)
            self._deny_unjournaled(record, error)
            return None
        # The disk starts here, before the order's own task runs: each order saves a turn of the loop.
        self._store.journal.begin_sync()
        return position

    async def run(self, record: OrderRecord, position: int, *, exits: bool) -> None:
        """Take an order from its intent as far as the venue's answer goes. `exits`: it can only reduce.

        Nothing is sent before the intent is on the disk, nor once the term has ended.
        """
        started = perf_counter()
        call = call_of(record)  # while the disk works
        try:
            await self._store.journal.wait_synced(position)
        except OrderJournalError as error:
            self._deny_unjournaled(record, error)
            return
        self._emit(OrderStage(stage="journal", duration_s=perf_counter() - started))
        await self._send(record, call, exits=exits)

    def _deny_unjournaled(self, record: OrderRecord, error: OrderJournalError) -> None:
        log.error("order journal unavailable", extra={"order_id": record.id, "fault": str(error)})
        self._store.move(record.id, OrderStatus.DENIED, JOURNAL_UNAVAILABLE, str(error))

    def _send_guard(self, record: OrderRecord) -> str | None:
        """Reason not to send, asked when the request has its connection and its turn; None sends it."""
        # The checks were before the waits for the disk and the rate limit: ownership and the state may have changed.
        if not self._lease.holds():
            return OWNERSHIP_LOST
        state = self._store.control.state
        # The closes of the kill switch go through the halt that it has called itself.
        if state is TradingState.HALTED and record.order.request.operation is not Operation.KILL:
            return HALTED
        return REDUCING if state is TradingState.REDUCING and not only_reduces(record) else None

    async def _send(self, record: OrderRecord, call: VenueCall, *, exits: bool) -> None:
        started = perf_counter()
        # Before the send: in the half-open state no second order may try beside this one.
        self._checks.circuit = self._checks.circuit.sent(monotonic())
        try:
            answer = await self._venue.submit(call, guard=lambda: self._send_guard(record))
        except errors.WithheldError as error:
            if exits and str(error) == REDUCING:
                # It came while trading was active, as an order that might do more than reduce.
                self._store.put(record := _held_to_reduce(self._store.index[record.id]))
                await self._send(record, call_of(record), exits=exits)
            else:
                self._count(failed=error.is_failure)
                self._store.move(record.id, OrderStatus.DENIED, str(error))
        except errors.VenueError as error:
            self._count(failed=error.is_failure)
            self._apply_error(record, error)
        else:
            self._count(failed=False)
            order_type = record.order.request.type
            self._emit(OrderAcknowledged(order_type=order_type, latency_s=perf_counter() - started))
            self._apply_answer(record, answer)

    def _count(self, *, failed: bool | None) -> None:
        circuit = self._checks.circuit
        self._checks.circuit = circuit.unanswered() if failed is None else circuit.after(monotonic(), failed=failed)

    def _apply_error(self, record: OrderRecord, error: errors.VenueError) -> None:
        match error.deed:
            case errors.OrderDeed.REJECT:
                self._apply_refusal(record, error)
            case errors.OrderDeed.DENY:
                # A dead token is never the order's end for its caller (`holds_id`).
                is_ours = isinstance(error, errors.NotAuthorizedError)
                self._deny_unsent(record, NOT_AUTHORIZED if is_ours else "VENUE_UNREACHABLE", error)
            case errors.OrderDeed.SEARCH:
                self._lose(record, error)
            case errors.OrderDeed.CONFIRM:
                self._lose(record, error, refused_code=error.status)

    def _apply_answer(self, record: OrderRecord, answer: OrderAnswer) -> None:
        self._feed.note(answer.last_transaction_id)
        self._feed.tell(answer.transactions)
        # Before the fold, which wakes the caller: its next order must find this fill in the position.
        self._store.anticipate(answer.transactions)
        moved = self._store.fold(record.id, answer.transactions)
        # The answer to a replacement also ends the order that it replaces.
        for transaction in answer.transactions:
            other = self._store.index.about(transaction)
            if other is not None and other.id != record.id:
                self._store.fold(other.id, answer.transactions)
        if moved.status is OrderStatus.SUBMITTED:
            words = f"2xx without a transaction of this order (request {answer.request_id})"
            self._lose(record, errors.UnreadableAnswerError(words))

    def _apply_refusal(self, record: OrderRecord, error: errors.VenueError) -> None:
        try:
            answer = parse_answer(error.body, error.request_id)
        except (ValueError, KeyError, TypeError, AttributeError):
            # A refusal whose body cannot be read is a refusal all the same.
            answer = OrderAnswer(error_message=str(error))
        self._feed.note(answer.last_transaction_id)
        moved = self._store.fold(record.id, answer.transactions)
        if moved.status is OrderStatus.SUBMITTED:
            reason = answer.error_code or "REFUSED"
            self._store.move(record.id, OrderStatus.REJECTED, reason, answer.error_message or str(error))

    def _deny_unsent(self, record: OrderRecord, reason: str, error: errors.VenueError) -> None:
        held = self._store.index.get(record.id)
        if held is not None and held.status is OrderStatus.SUBMITTED:
            self._store.move(record.id, OrderStatus.DENIED, reason, str(error))

    def _lose(self, record: OrderRecord, error: errors.VenueError, refused_code: int | None = None) -> None:
        # The stream may have reported the outcome meanwhile: then nothing is lost. If not, the log will tell.
        held = self._store.fold(record.id, ())
        if held.status is not OrderStatus.SUBMITTED:
            return
        log.warning("order outcome unknown", extra={"order_id": record.id, "fault": str(error)})
        reason = error.error_type.upper()
        moved = held.moved(OrderStatus.UNKNOWN, self._store.now(), reason=reason, message=str(error))
        self._store.put(replace(moved, refused_code=refused_code))

    async def cancel(self, record: OrderRecord) -> OrderRecord:
        """Ask the venue to cancel a resting order; the order as it then stands: it may have been filled before.

        Raises VenueError: no attempt was answered.
        """
        # Unlike an order a cancel is repeated: the second one finds the order gone, and does no harm.
        for attempt in range(CANCEL_TRIES):
            if record.status is not OrderStatus.PENDING or record.order.venue_order_id is None:
                return record
            try:
                answer = await self._venue.submit(order_call.cancel(record.order.venue_order_id), Precedence.CANCEL)
                self._store.fold(record.id, answer.transactions)
            except errors.VenueRefusedError as error:
                self._feed.note(parse_answer(error.body).last_transaction_id)
                await self._learn_end()  # it ended before the cancel came: the log says how, or the order itself
                if self._store.index[record.id].status is OrderStatus.PENDING:
                    self._store.end(record.id, await self._venue.ending(record.order.venue_order_id))
            except errors.VenueError:
                if attempt == CANCEL_TRIES - 1:
                    raise
                await self._learn_end()
            record = self._store.index.get(record.id) or record
        return record

    async def _learn_end(self) -> None:
        # While the journal takes nothing, the log is not read on: the order stands as it was known.
        with suppress(OrderJournalError):
            await self._feed.fill()


class OrderEngine:
    """Trades the account while the term may send. `open` it, then `run` it inside `async with`, which closes it."""

    def __init__(self, dependencies: EngineDependencies) -> None:
        self._dependencies = dependencies
        self._settings = settings = dependencies.settings
        venue = dependencies.venue
        self.store = OrderStore(dependencies, venue.settings.account)
        self.feed = TransactionFeed(log=venue, deliver=self.store.deliver, emit=dependencies.emit, applied=0)
        self.transactions = LineStream("transactions", "/transactions/stream", venue, self.feed)
        self._resolver = UnknownOrderResolver(self.store, venue, settings, now_s=monotonic)
        self._checks = PreTradeChecks(dependencies, self.store)
        self.submission = Submission(dependencies, self.store, self.feed, self._checks)
        self.reconciler = Reconciler(self.store, self.feed, venue)
        self.catch_up = CatchUp(dependencies, self.store, self.feed, self._checks)
        # A group of their own: a fault in `run` must not cancel orders on the wire before the drain had its time.
        self._flights = PersistentTaskGroup()
        self._in_flight: set[asyncio.Task[None]] = set()

    def open(self, note: str, owed: Mapping[str, OrderRecord]) -> None:
        """Read the journal and take over `note`, the previous owner's handover note, and what our last term owes.

        Raises OrderJournalError, OSError, FormatError: the journal cannot be used.
        """
        self.store.open()
        self.store.adopt_handover(note)
        self.store.end_flights(owed)

    async def __aenter__(self) -> Self:
        await self._flights.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        # Orders without an answer are in the journal; the next start finds them out.
        for task in self._in_flight:
            task.cancel()
        # None: the fault of the term is no fault of the flights, and the journal must be closed behind them.
        await self._flights.__aexit__(None, None, None)
        # Nothing settles these orders in this term any more: whoever waited for one would wait for ever.
        for waiter in self.store.waiters.values():
            waiter.release()
        await self.store.journal.close()

    async def run(self) -> None:
        """Catch up, then follow the account until cancelled."""
        await self.catch_up.run()
        async with PersistentTaskGroup() as group:
            group.create_task(self.transactions.run())
            # Only now: the settings may name no instruments, and the catch-up learns those of the account.
            group.create_task(self._dependencies.prices.stream.run())
            group.create_task(self._resolver.run())
            group.create_task(self.reconciler.follow_parts())
            group.create_task(self._sample_periodically())
            group.create_task(self._reconcile_periodically())

    async def _sample_periodically(self) -> None:
        """Sample gauges, read the account's summary, and rotate the journal; a failure waits for the next turn."""
        dependencies, store, book = self._dependencies, self.store, self._dependencies.prices.book
        streams, emit = [dependencies.prices.stream, self.transactions], dependencies.emit
        names = observe.sampled_instruments(dependencies.venue.settings, store)
        shown: Account | None = None
        while True:
            check_cancelled()
            observe.sample_orders(store, self._checks.circuit.state(monotonic()), emit)
            observe.sample_venue(dependencies.venue, self.feed, streams, emit)
            observe.sample_instruments(store, book, names, emit)
            try:
                store.tend_journal()
            except OrderJournalError as error:
                log.warning("journal not written", extra={"fault": str(error)})
            try:
                account = await dependencies.venue.summary()
                # A sign of life for the feed: a summary ahead of the stream shows as lag.
                self.feed.note(int(account.last_transaction_id))
                if self.feed.lag:
                    await self.feed.fill()  # the day's result needs the transfers that the summary includes
                observe.sample_account(account, emit)
                if account != shown:
                    dependencies.updates.publish(account)
                    shown = account
                self._checks.note_account(account)
            except (VenueError, OrderJournalError, ValueError, KeyError) as error:
                log.warning("sample failed", extra={"fault": str(error)})
            await asyncio.sleep(self._settings.sample_s)

    async def _reconcile_periodically(self) -> None:
        """Compare with the venue, and read the currency conversions anew; a failure waits for the next turn."""
        dependencies = self._dependencies
        while True:
            check_cancelled()
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
        if self.store.journal.failure is not None:
            with suppress(OrderJournalError):
                self.store.tend_journal()
        record = self._receive(request, action, target, close_units)
        waiter = Waiter(received_s, self._decision_price(request))
        self.store.waiters[record.id] = waiter
        try:
            self._check_and_begin(record)
        # An order that memory has already would stay open for ever, and count against the limits.
        except Exception as error:
            if self.store.index.get(record.id) is None:
                self.store.put(record)
            reason = RESOURCES_UNAVAILABLE if is_passing(error) else "INTERNAL_ERROR"
            self.store.move(record.id, OrderStatus.DENIED, reason, "a fault of the broker's own")
            self.store.waiters.pop(record.id, None)
            raise
        return await self.wait_settled(record, waiter)

    def _receive(
        self, request: OrderRequest, action: OrderAction, target: str | None, close_units: Decimal | None
    ) -> OrderRecord:
        now = self._dependencies.clock()
        name = order_id(milliseconds(now), random_bits(self._dependencies.chance))
        order = Order(id=name, request=request, status=OrderStatus.RECEIVED, created_at=now, updated_at=now)
        caller = caller_digest(request.client, request.client_order_id)
        tag = ClientTag(
            owner=self._settings.owner,
            epoch=self._dependencies.lease.epoch,
            order_id=name,
            caller=caller,
            client=client_digest(request.client),
        )
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
        verdict = self._checks.verdict(record, replaced)
        if (denial := verdict.denial) is not None:
            self.store.put(record)  # not before: it would count against its own limit of open orders
            self.store.move(record.id, OrderStatus.DENIED, denial.reason, denial.message)
            return
        self._checks.count(request)
        if verdict.reduce_only:
            record = _held_to_reduce(record)
        if (position := self.submission.begin(record)) is not None:
            # Decided now, asked again before sending: trading may become REDUCING while the order waits for the disk.
            task = self._flights.create_task(self._fly(record, position, exits=verdict.is_exit))
            self._in_flight.add(task)
            task.add_done_callback(self._in_flight.discard)

    async def _fly(self, record: OrderRecord, position: int, *, exits: bool) -> None:
        try:
            await self.submission.run(record, position, exits=exits)
        except Exception as error:
            # A fault of ours on the way leaves the outcome to the venue's log, as a lost answer does.
            log.exception("submission failed", extra={"order_id": record.id})
            held = self.store.index.get(record.id)
            if held is not None and held.status is OrderStatus.SUBMITTED:
                words = f"{type(error).__name__} in the broker"
                self.store.move(record.id, OrderStatus.UNKNOWN, "INTERNAL_ERROR", words)

    async def wait_settled(self, record: OrderRecord, waiter: Waiter) -> Order:
        """The order at its first settled status; an unknown one gets the time of the first scans.

        One whose end is owed to the journal is still at the status before: nobody is told what a start would not know.

        At the end of the term it is told as it is then: an order on its way stays `submitted`.

        Raises NotReadyError: nobody has looked at the order, for a fault of ours, or requests were too many.
        """
        owed = self.store.owed
        # RECEIVED and SUBMITTED are no answer to a caller; UNKNOWN is one only after the scans had their chance.
        if record.id not in owed:
            await waiter.settled.wait()
            if not waiter.resolved.is_set():
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._settings.answer_wait_s):
                        await waiter.resolved.wait()
        self.store.waiters.pop(record.id, None)
        held = self.store.index.get(record.id) or record
        if held.status is OrderStatus.RECEIVED:  # the term ended before its intent was written: nothing was sent
            raise NotReadyError("NotOwner")
        end = owed.get(record.id, held).order
        if not holds_id(end):
            raise NotReadyError(*UNTRIED[end.reason])
        return held.order

    async def wait_idle(self, deadline_s: float) -> bool:
        """True if every order in flight was answered or given to the scans within the time."""
        try:
            async with asyncio.timeout(deadline_s):
                while self._in_flight:
                    await asyncio.wait(self._in_flight)
        except TimeoutError:
            return False
        return self.store.index.count(IN_FLIGHT) == 0
