"""One order's way to the venue: checked, kept, sent once, and what the answer makes of it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic, perf_counter
from typing import Any, Protocol

from msgspec.structs import replace

from broker.domain import OrderStatus
from broker.events.events import OrderAcknowledged, OrderStage
from broker.orders.model.order_record import Action, Entry
from broker.orders.recovery.unknown_orders import Resolver
from broker.orders.store.journal import JournalError
from broker.orders.store.journal_format import TradingState
from broker.orders.store.order_store import Keeper
from broker.venue import errors
from broker.venue.rest.circuit_breaker import Circuit
from broker.venue.rest.client import SendGuard
from broker.venue.rest.rate_limit import Precedence
from broker.venue.streams.transaction_feed import TransactionFeed
from broker.venue.v20 import order_requests as order_call
from broker.venue.v20.order_requests import VenueCall
from broker.venue.v20.parse import OrderAnswer, parse_answer

Emit = Callable[[tuple[Any, ...]], None]
log = logging.getLogger(__name__)


class Sender(Protocol):
    """Who sends a write to the venue, once."""

    async def submit(
        self, call: VenueCall, precedence: Precedence = Precedence.OPEN, *, guard: SendGuard = lambda: None
    ) -> OrderAnswer:
        """Sends it, unless the guard withholds it when its turn comes."""


def call_of(entry: Entry) -> VenueCall:
    """The request that an entry stands for."""
    request = entry.order.request
    match entry.action:
        case Action.REPLACE:
            return order_call.replace(request, entry.client_id, entry.target or "")
        case Action.CLOSE_POSITION:
            long = request.side.sign < 0
            return order_call.close_position(request.instrument, entry.client_id, long=long, units=entry.close_units)
        case Action.CLOSE_TRADE:
            return order_call.close_trade(entry.target or "", entry.close_units)
        case _:
            return order_call.create(request, entry.client_id)


class Submission:
    """Sends entries. One object for a taking of the account."""

    def __init__(
        self,
        keeper: Keeper,
        sender: Sender,
        feed: TransactionFeed,
        resolver: Resolver,
        *,
        emit: Emit,
        may_send: Callable[[], bool],
        circuit: Circuit,
    ) -> None:
        self._keeper = keeper
        self._sender = sender
        self._feed = feed
        self._resolver = resolver
        self._emit = emit
        self._may_send = may_send
        self.circuit = circuit

    def begin(self, entry: Entry) -> int | None:
        """Writes the intent of a received entry; the position to wait for, or None where it is denied."""
        try:
            position = self._keeper.put_intent(entry.moved(OrderStatus.SUBMITTED, self._keeper.now()))
        except JournalError as error:
            self._deny_unkept(entry, error)
            return None
        self._keeper.journal.begin_sync()
        return position

    async def run(self, entry: Entry, position: int, *, opens: bool) -> None:
        """Takes an entry from its intent as far as the venue's answer goes. `opens`: it may add exposure.

        Nothing is sent before the intent is on the disk, nor by who no longer owns the account.
        """
        started = perf_counter()
        try:
            await self._keeper.journal.wait_synced(position)
        except JournalError as error:
            self._deny_unkept(entry, error)
            return
        self._stage("journal", started)
        await self._send(entry, opens=opens)

    def _deny_unkept(self, entry: Entry, error: JournalError) -> None:
        log.error("order journal unavailable", extra={"order_id": entry.id, "fault": str(error)})
        self._keeper.move(entry.id, OrderStatus.DENIED, "JOURNAL_UNAVAILABLE", str(error))

    def _hindrance(self, *, opens: bool) -> str | None:
        if not self._may_send():
            return "OWNERSHIP_LOST"
        state = self._keeper.control.state
        if state is TradingState.HALTED or (opens and state is TradingState.REDUCING):
            return f"TRADING_{state.name}"
        return None

    async def _send(self, entry: Entry, *, opens: bool) -> None:
        started = perf_counter()
        self.circuit = self.circuit.sent(monotonic())
        try:
            answer = await self._sender.submit(call_of(entry), guard=lambda: self._hindrance(opens=opens))
        except errors.VenueRefusedError as error:
            self._count(failed=False)
            self._refused(entry, error)
        except errors.WithheldError as error:
            self._keeper.move(entry.id, OrderStatus.DENIED, str(error))
        except errors.RateLimitedError as error:
            self._lost(entry, error, refused_code=error.status)
        except errors.VenueError as error:
            self._count(failed=True)
            if error.outcome_known:
                self._not_done(entry, error)
            else:
                self._lost(entry, error)
        else:
            self._count(failed=False)
            order_type = entry.order.request.type
            self._emit(OrderAcknowledged(order_type=order_type, latency_s=perf_counter() - started))
            self._take(entry, answer)

    def _count(self, *, failed: bool) -> None:
        self.circuit = self.circuit.after(monotonic(), failed=failed)

    def _take(self, entry: Entry, answer: OrderAnswer) -> None:
        self._feed.note(answer.last_transaction_id)
        self._keeper.foresee(answer.transactions)
        moved = self._keeper.fold(entry.id, answer.transactions)
        self._others(entry, answer)
        if moved.status is OrderStatus.SUBMITTED:
            words = f"2xx without a transaction of this order (request {answer.request_id})"
            self._lost(entry, errors.UnreadableAnswerError(words))

    def _others(self, entry: Entry, answer: OrderAnswer) -> None:
        """A replacement ends the order that it replaces."""
        for transaction in answer.transactions:
            other = self._keeper.register.about(transaction)
            if other is not None and other.id != entry.id:
                self._keeper.fold(other.id, answer.transactions)

    def _refused(self, entry: Entry, error: errors.VenueRefusedError) -> None:
        try:
            answer = parse_answer(error.body, error.request_id)
        except (ValueError, KeyError, TypeError, AttributeError):
            answer = OrderAnswer(error_message=str(error))
        self._feed.note(answer.last_transaction_id)
        moved = self._keeper.fold(entry.id, answer.transactions)
        if moved.status is OrderStatus.SUBMITTED:
            reason = answer.error_code or "REFUSED"
            self._keeper.move(entry.id, OrderStatus.REJECTED, reason, answer.error_message or str(error))

    def _not_done(self, entry: Entry, error: errors.VenueError) -> None:
        held = self._keeper.register.get(entry.id)
        if held is None or held.status is not OrderStatus.SUBMITTED:
            return
        if isinstance(error, errors.NotAuthorizedError):
            self._keeper.move(entry.id, OrderStatus.REJECTED, "NOT_AUTHORIZED", str(error))
        else:
            self._keeper.move(entry.id, OrderStatus.DENIED, "VENUE_UNREACHABLE", str(error))

    def _lost(self, entry: Entry, error: errors.VenueError, refused_code: int | None = None) -> None:
        """The stream may have told the outcome meanwhile; if not, the log will."""
        held = self._keeper.fold(entry.id, ())
        if held.status is not OrderStatus.SUBMITTED:
            return
        log.warning("order outcome unknown", extra={"order_id": entry.id, "fault": str(error)})
        reason = error.error_type.upper()
        moved = held.moved(OrderStatus.UNKNOWN, self._keeper.now(), reason=reason, message=str(error))
        self._keeper.put(replace(moved, refused_code=refused_code))
        self._resolver.want()

    def _stage(self, stage: str, started: float) -> None:
        self._emit(OrderStage(stage=stage, duration_s=perf_counter() - started))
