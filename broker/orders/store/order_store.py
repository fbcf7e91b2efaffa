"""The account's orders, positions and trading state: journaled first, then applied in memory, then published.

Every change goes this one way, synchronously on the event loop, so that no reader sees a change that a crash could
take back and no lock is needed. There is no network here.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from time import perf_counter
from typing import Any, Protocol

from msgspec.structs import replace

from broker.domain import Instrument, Order, OrderStatus, Quote
from broker.events.orders import TradingStateChanged
from broker.events.venue import ReconcileMismatch, StreamDecodeError
from broker.orders.model import transitions
from broker.orders.model.ids import parse_tag
from broker.orders.model.order_events import events_of
from broker.orders.model.order_record import OrderAction, OrderRecord
from broker.orders.model.trading_state import AccountControl, TradingState, handover_note, stricter
from broker.orders.store import journal_format
from broker.orders.store.index import IN_FLIGHT, OrderIndex
from broker.orders.store.journal import OrderJournal, OrderJournalError
from broker.orders.updates import Updates
from broker.venue.v20.parse import VenueOrder, parse_order
from broker.venue.v20.transactions import Transaction, decimal
from producer.emitter import Emit

EXTERNAL = "external"
"""Client of orders that another program or a person placed at the venue."""
log = logging.getLogger(__name__)


class OwnershipTerm(Protocol):
    """Rights of one ownership term; see `broker.orders.ownership.leadership`."""

    @property
    def epoch(self) -> int:
        """Number of the term."""

    def may_send(self) -> bool:
        """True while we may write to the venue: asked before every send, after the last wait."""

    def may_write(self) -> bool:
        """True while we may write to our own journal."""

    def hand_over(self, note: str) -> None:
        """Leave a note for the next owner, with the lease."""


@dataclass(slots=True)
class Waiter:
    """A caller that waits for an order's first settled status."""

    received_s: float
    decision_price: Decimal | None = None
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    resolved: asyncio.Event = field(default_factory=asyncio.Event)
    """Like `settled`, but UNKNOWN is not enough."""


class OrderStore:
    """Orders, positions and control state of one account, for one ownership term."""

    def __init__(
        self,
        journal: OrderJournal,
        index: OrderIndex,
        *,
        account: str,
        owner: str,
        term: OwnershipTerm,
        updates: Updates[Order | Quote],
        emit: Emit,
        clock: Callable[[], datetime],
    ) -> None:
        self.journal = journal
        self.index = index
        self.control = AccountControl()
        self.instruments: dict[str, Instrument] = {}
        self.positions: defaultdict[str, Decimal] = defaultdict(Decimal)
        self.positions_at = 0
        """Last transaction that `positions` includes."""
        self.balance: Decimal | None = None
        """After the last transaction that carried one."""
        self.started_at: int | None = None
        """Last transaction of the log when this term began: a later order with our mark that we did not send means
        that somebody else trades the account."""
        self.unknown = asyncio.Event()
        """Set when an order becomes UNKNOWN; the resolver waits for it."""
        self._anticipated: dict[int, Transaction] = {}
        """Fills that an answer reported before the stream did."""
        self._account = account
        self._owner = owner
        self._term = term
        self._updates = updates
        self._emit = emit
        self._clock = clock
        self._waiters: dict[str, Waiter] = {}
        self._created: dict[str, Transaction] = {}
        """Creations that the stream reported before the answer came."""

    def open(self) -> None:
        """Read the journal and begin a segment of our own.

        Raises:
            OrderJournalError, OSError, FormatError: it cannot be used.
        """
        for payload in self.journal.open():
            self._restore(payload)
        self.index.forget(self._clock())
        self.journal.rotate(self._snapshot())

    def _restore(self, payload: bytes) -> None:
        try:
            kind, content = journal_format.decode_payload(payload)
        except ValueError as error:
            # One unreadable record must not keep the account from trading: the venue's log knows what it said.
            log.warning("journal record unreadable", extra={"fault": str(error)})
            return
        if isinstance(content, OrderRecord):
            self.index.put(content)
        elif isinstance(content, AccountControl):
            self.control = content
        elif kind == journal_format.TRANSACTION and isinstance(content, dict):
            self.control = replace(self.control, applied=int(content["id"]))

    def _snapshot(self) -> Iterator[bytes]:
        for record in self.index:
            yield journal_format.encode_order(record, journal_format.SNAPSHOT_ORDER)
        # Last: its presence says that the snapshot is complete.
        yield journal_format.encode_control(self.control, journal_format.SNAPSHOT_END)

    def rotate_if_due(self) -> None:
        """Begin the next segment if this one is full or failed.

        Raises:
            OrderJournalError: the volume still fails.
        """
        if self.journal.is_full or self.journal.failure is not None:
            self.index.forget(self._clock())
            self.journal.rotate(self._snapshot())

    def add_waiter(self, order_id: str, received_s: float, decision_price: Decimal | None) -> Waiter:
        """Register a caller that waits for this order; `remove_waiter` when it has its answer."""
        waiter = Waiter(received_s=received_s, decision_price=decision_price)
        self._waiters[order_id] = waiter
        return waiter

    def waiter(self, order_id: str) -> Waiter | None:
        """The waiter of this order, if any."""
        return self._waiters.get(order_id)

    def remove_waiter(self, order_id: str) -> None:
        """Forget the waiter of this order."""
        self._waiters.pop(order_id, None)

    def now(self) -> datetime:
        """The time by the store's clock."""
        return self._clock()

    def put_intent(self, record: OrderRecord) -> int:
        """Store an order that is to be sent; the journal position behind it.

        Raises:
            OrderJournalError: it is not in the journal; memory is as before.
        """
        position = self._write(journal_format.encode_order(record))
        self._apply_record(record)
        return position

    def put(self, record: OrderRecord) -> None:
        """Store an order at a status that is a fact already: if the journal fails, memory has it all the same."""
        # RECEIVED is not journaled: nothing was sent, so that a restart may forget the order.
        if record.status is not OrderStatus.RECEIVED:
            try:
                self._write(journal_format.encode_order(record))
            except OrderJournalError as error:
                log.exception("order not in the journal", extra={"order_id": record.id, "fault": str(error)})
        self._apply_record(record)

    def _apply_record(self, record: OrderRecord) -> None:
        # Journal, memory, events, waiters, listeners: each sees only what those before it have.
        before = self.index.get(record.id)
        self.index.put(record)
        waiter = self._waiters.get(record.id)
        # Timed to the first settled status: a later fill of a resting order is no latency of ours.
        answered = waiter is not None and not waiter.settled.is_set() and record.status not in IN_FLIGHT
        for event in events_of(
            before,
            record,
            instrument=self.instruments.get(record.order.request.instrument),
            decision_price=waiter.decision_price if waiter is not None else None,
            duration_s=perf_counter() - waiter.received_s if waiter is not None and answered else None,
        ):
            self._emit(event)
        if waiter is not None and record.status not in IN_FLIGHT:
            waiter.settled.set()
            if record.status is not OrderStatus.UNKNOWN:
                waiter.resolved.set()
        if record.status is OrderStatus.UNKNOWN:
            self.unknown.set()
        self._updates.publish(record.order)

    def _write(self, payload: bytes) -> int:
        # A paused owner that wakes up must not append to a segment that its successor has read.
        if not self._term.may_write():
            raise OrderJournalError("another process trades this account now")
        return self.journal.append(payload)

    def fold(self, order_id: str, transactions: tuple[Transaction, ...]) -> OrderRecord:
        """The order after the transactions of an answer or a scan."""
        record = self._known(order_id)
        # The creation that the stream brought before the answer, see _apply_transaction.
        if (created := self._created.pop(order_id, None)) is not None:
            transactions = (created, *transactions)
        moved = transitions.fold(record, transactions, self._clock())
        if moved is not record:
            self.put(moved)
        return moved

    def move(self, order_id: str, status: OrderStatus, reason: str | None, message: str | None = None) -> OrderRecord:
        """The order at another status for a reason of our own."""
        record = self._known(order_id).moved(status, self._clock(), reason=reason, message=message)
        self.put(record)
        return record

    def _known(self, order_id: str) -> OrderRecord:
        record = self.index.get(order_id)
        if record is None:
            raise KeyError(order_id)
        return record

    def deliver(self, transaction: Transaction) -> None:
        """Write the next transaction of the venue's log, then apply it to orders and positions."""
        self._write(journal_format.encode_transaction(transaction.raw))
        self.control = replace(self.control, applied=transaction.id)
        try:
            self._apply_transaction(transaction)
        except (ValueError, KeyError) as error:
            # An unreadable one must not stop those behind it; the next reconciliation finds its effect.
            self._emit(StreamDecodeError(stream="transactions", message=f"{transaction.id}: {error}"))

    def _apply_transaction(self, transaction: Transaction) -> None:
        self._apply_to_account(transaction)
        record = self.index.about(transaction)
        if record is not None and transitions.concerns(record, transaction):
            # While an answer is awaited a creation alone says too little: the order may have traded with it.
            if record.status is OrderStatus.SUBMITTED and transaction.is_create:
                self._created[record.id] = transaction
            else:
                self.fold(record.id, (transaction,))
        elif transaction.is_create:
            self._adopt_created(transaction)
        elif transaction.is_reject:
            self._learn_refusal(transaction)

    def set_positions(self, units: dict[str, Decimal], at: int) -> None:
        """Replace the net units by instrument; they include every transaction up to `at`."""
        self.positions = defaultdict(Decimal, units)
        self.positions_at = at
        self._anticipated = {number: item for number, item in self._anticipated.items() if number > at}

    def anticipate(self, transactions: tuple[Transaction, ...]) -> None:
        """Count an answer's fills for the next order, before the stream brings them."""
        # Otherwise a second order in the same millisecond would pass a position limit that the first has used up.
        for item in transactions:
            if item.is_fill and item.id > max(self.positions_at, self.control.applied or 0):
                self._anticipated[item.id] = item

    def position(self, instrument: str) -> Decimal:
        """Net units, anticipated fills included."""
        ahead = (item.units for item in self._anticipated.values() if item.instrument == instrument)
        return sum(ahead, self.positions.get(instrument, Decimal(0)))

    def _apply_to_account(self, transaction: Transaction) -> None:
        if (balance := transaction.raw.get("accountBalance")) is not None:
            self.balance = decimal(balance, "accountBalance")
        self._anticipated.pop(transaction.id, None)
        # Positions that were read from the venue may include it already.
        if transaction.id > self.positions_at:
            self.positions_at = transaction.id
            if transaction.is_fill and transaction.instrument is not None:
                self.positions[transaction.instrument] += transaction.units

    def _adopt_created(self, transaction: Transaction) -> None:
        """Adopt an order that is not in our books. One with our mark that we did not send halts trading."""
        tag = parse_tag(transaction.client_id)
        stranger = tag is not None and (tag.owner, tag.epoch) != (self._owner, self._term.epoch)
        if stranger and self.started_at is not None and transaction.id > self.started_at:
            self.set_state(TradingState.HALTED, "broker", f"order {transaction.id} by another owner: {tag}")
        adopted = self.adopt(parse_order(transaction.raw, self._account, EXTERNAL))
        # An order that fills may make others (ON_FILL); during the catch-up all that we read is from before our term.
        expected = transaction.reason == "ON_FILL" or self.started_at is None
        if not expected:
            kind = "order" if tag is None else "foreign_order"
            theirs = transaction.type
            self._emit(ReconcileMismatch(kind=kind, subject=str(transaction.id), ours="absent", theirs=theirs))
        log.info("order adopted", extra={"order_id": adopted.id, "venue_order_id": str(transaction.id)})

    def _learn_refusal(self, transaction: Transaction) -> None:
        """Store a predecessor's order that the venue refused, so that its caller's retry gets the same answer."""
        tag = parse_tag(transaction.client_id)
        if tag is None or tag.owner != self._owner or self.index.get(tag.order_id) is not None:
            return
        found = parse_order(transaction.raw, self._account, EXTERNAL)
        order = Order(
            id=tag.order_id,
            request=found.request,
            status=OrderStatus.REJECTED,
            reason=transaction.reason,
            created_at=found.time,
            updated_at=self._clock(),
        )
        self.put(OrderRecord(order=order, client_id=str(tag), checkpoint=transaction.id, action=OrderAction.ADOPTED))

    def adopt(self, found: VenueOrder) -> OrderRecord:
        """Store an order that rests at the venue and is not in our books."""
        tag = parse_tag(found.client_id)
        # A tag whose order we know already was copied by somebody: that order gets an id of its own.
        ours = tag is not None and tag.owner == self._owner and self.index.get(tag.order_id) is None
        order = Order(
            id=tag.order_id if tag is not None and ours else f"venue-{found.id}",
            request=found.request,
            status=OrderStatus.PENDING,
            venue_order_id=found.id,
            created_at=found.time,
            updated_at=self._clock(),
        )
        record = OrderRecord(
            order=order,
            client_id=found.client_id or f"venue:{found.id}",
            checkpoint=int(found.id),
            action=OrderAction.ADOPTED,
        )
        self.put(record)
        return record

    def set_control(self, **changed: Any) -> None:
        """Change fields of the control state.

        Raises:
            OrderJournalError: they are not in the journal; memory is as before.
        """
        control = replace(self.control, **changed)
        self._write(journal_format.encode_control(control))
        self.control = control

    def adopt_handover(self, note: str) -> None:
        """Take over the previous owner's trading state if it is the stricter one."""
        inherited = stricter(self.control, note)
        if inherited is self.control:
            self._term.hand_over(handover_note(inherited))
        else:
            self.set_state(inherited.state, inherited.state_actor, inherited.state_reason)

    def set_state(self, state: TradingState, actor: str, reason: str) -> None:
        """Change the trading state at once, for later starts and later owners as well."""
        previous = self.control.state
        self.control = replace(self.control, state=state, state_actor=actor, state_reason=reason)
        self._term.hand_over(handover_note(self.control))
        self._emit(TradingStateChanged(state=state, previous=previous, reason=reason, actor=actor))
        log.warning("trading state changed", extra={"state": str(state), "actor": actor, "reason": reason})
        # Last, and its failure is only logged: a halt must work while the disk does not.
        try:
            self._write(journal_format.encode_control(self.control))
        except OrderJournalError as error:
            log.exception("trading state not in the journal", extra={"fault": str(error)})
