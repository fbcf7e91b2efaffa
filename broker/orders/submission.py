"""Way of one order to the venue: synced, sent once, and moved by what the answer says; cancels as well."""

from __future__ import annotations

import logging
from time import monotonic, perf_counter

from msgspec.structs import replace

from broker.domain import OrderStatus
from broker.events.orders import OrderAcknowledged, OrderStage
from broker.orders.dependencies import EngineDependencies
from broker.orders.model.order_record import OrderAction, OrderRecord
from broker.orders.model.trading_state import TradingState
from broker.orders.store.journal import OrderJournalError
from broker.orders.store.order_store import OrderStore, OwnershipTerm
from broker.venue import errors
from broker.venue.rest.circuit_breaker import Circuit
from broker.venue.rest.rate_limit import Precedence
from broker.venue.streams.transaction_feed import TransactionFeed
from broker.venue.v20 import order_requests as order_call
from broker.venue.v20.order_requests import VenueCall
from broker.venue.v20.parse import OrderAnswer, parse_answer

CANCEL_TRIES = 3
log = logging.getLogger(__name__)


def call_of(record: OrderRecord) -> VenueCall:
    """The request to the venue that an order stands for."""
    request = record.order.request
    match record.action:
        case OrderAction.REPLACE:
            return order_call.replace(request, record.client_id, record.target or "")
        case OrderAction.CLOSE_POSITION:
            long = request.side.sign < 0
            return order_call.close_position(
                request.instrument, record.client_id, long=long, units=record.close_units
            )
        case OrderAction.CLOSE_TRADE:
            return order_call.close_trade(record.target or "", record.close_units)
        case _:
            return order_call.create(request, record.client_id)


class Submission:
    """Sends the orders of one ownership term."""

    def __init__(
        self,
        dependencies: EngineDependencies,
        term: OwnershipTerm,
        store: OrderStore,
        feed: TransactionFeed,
    ) -> None:
        settings = dependencies.settings
        self._venue = dependencies.venue
        self._emit = dependencies.emit
        self._term = term
        self._store = store
        self._feed = feed
        self.circuit = Circuit(failures_to_open=settings.circuit_failures, pause_s=settings.circuit_pause_s)

    def begin(self, record: OrderRecord) -> int | None:
        """Write the intent of a received order; the position to wait for, or None if the order is denied."""
        try:
            position = self._store.put_intent(record.moved(OrderStatus.SUBMITTED, self._store.now()))
        except OrderJournalError as error:
            self._deny_unjournaled(record, error)
            return None
        # The disk starts here, before the order's own task runs: each order saves a turn of the loop.
        self._store.journal.begin_sync()
        return position

    async def run(self, record: OrderRecord, position: int, *, opens: bool) -> None:
        """Take an order from its intent as far as the venue's answer goes. `opens`: it may add exposure.

        Nothing is sent before the intent is on the disk, nor once the term has ended.
        """
        started = perf_counter()
        try:
            await self._store.journal.wait_synced(position)
        except OrderJournalError as error:
            self._deny_unjournaled(record, error)
            return
        self._emit(OrderStage(stage="journal", duration_s=perf_counter() - started))
        await self._send(record, opens=opens)

    def _deny_unjournaled(self, record: OrderRecord, error: OrderJournalError) -> None:
        log.error("order journal unavailable", extra={"order_id": record.id, "fault": str(error)})
        self._store.move(record.id, OrderStatus.DENIED, "JOURNAL_UNAVAILABLE", str(error))

    def _send_guard(self, *, opens: bool) -> str | None:
        """Reason not to send, asked when the request has its connection and its turn; None sends it."""
        # The checks were before the waits for the disk and the rate limit: ownership and the state may have changed.
        if not self._term.may_send():
            return "OWNERSHIP_LOST"
        state = self._store.control.state
        if state is TradingState.HALTED or (opens and state is TradingState.REDUCING):
            return f"TRADING_{state.name}"
        return None

    async def _send(self, record: OrderRecord, *, opens: bool) -> None:
        started = perf_counter()
        # Before the send: in the half-open state no second order may try beside this one.
        self.circuit = self.circuit.sent(monotonic())
        try:
            answer = await self._venue.submit(call_of(record), guard=lambda: self._send_guard(opens=opens))
        except errors.VenueRefusedError as error:
            self._count(failed=False)
            # A refusal is an answer of a venue that works.
            self._apply_refusal(record, error)
        except errors.WithheldError as error:
            self._store.move(record.id, OrderStatus.DENIED, str(error))
        except errors.RateLimitedError as error:
            # Neither failure nor success of the venue for the circuit. Two whole scans confirm that nothing was done.
            self._lose(record, error, refused_code=error.status)
        except errors.VenueError as error:
            self._count(failed=True)
            if error.outcome_known:
                self._deny_unsent(record, error)
            else:
                self._lose(record, error)
        else:
            self._count(failed=False)
            order_type = record.order.request.type
            self._emit(OrderAcknowledged(order_type=order_type, latency_s=perf_counter() - started))
            self._apply_answer(record, answer)

    def _count(self, *, failed: bool) -> None:
        self.circuit = self.circuit.after(monotonic(), failed=failed)

    def _apply_answer(self, record: OrderRecord, answer: OrderAnswer) -> None:
        self._feed.note(answer.last_transaction_id)
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

    def _apply_refusal(self, record: OrderRecord, error: errors.VenueRefusedError) -> None:
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

    def _deny_unsent(self, record: OrderRecord, error: errors.VenueError) -> None:
        held = self._store.index.get(record.id)
        if held is None or held.status is not OrderStatus.SUBMITTED:
            return
        # The venue has answered, with a 401: the refusal is its own, not ours.
        if isinstance(error, errors.NotAuthorizedError):
            self._store.move(record.id, OrderStatus.REJECTED, "NOT_AUTHORIZED", str(error))
        else:
            self._store.move(record.id, OrderStatus.DENIED, "VENUE_UNREACHABLE", str(error))

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

        Raises:
            VenueError: no attempt was answered.
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
                await self._feed.fill()  # it ended before the cancel came: the log says how
            except errors.VenueError:
                if attempt == CANCEL_TRIES - 1:
                    raise
                await self._feed.fill()
            record = self._store.index.get(record.id) or record
        return record
