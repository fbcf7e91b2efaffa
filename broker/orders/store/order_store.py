"""What we know of the account, kept in memory and in the journal together, told to whoever listens.

Every change goes one way: journal first, then memory, then events and listeners. No network here.
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
from typing import Any

from msgspec.structs import replace

from broker.domain import Instrument, Order, OrderStatus
from broker.events.orders import TradingStateChanged
from broker.events.venue import ReconcileMismatch, StreamDecodeError
from broker.orders import observe as narrative
from broker.orders.model import transitions as outcome
from broker.orders.model.ids import parse_tag
from broker.orders.model.order_record import Action, Entry
from broker.orders.ownership import handover as stance
from broker.orders.store import journal_format as record
from broker.orders.store.index import IN_FLIGHT, Register
from broker.orders.store.journal import Journal, JournalError
from broker.orders.store.journal_format import Control, TradingState
from broker.venue.v20.parse import VenueOrder, parse_order
from broker.venue.v20.transactions import Transaction, decimal
from producer.emitter import Emit

EXTERNAL = "external"
log = logging.getLogger(__name__)


@dataclass(slots=True)
class Waiter:
    """A caller that waits for an order's first settled status."""

    received_s: float
    decision_price: Decimal | None = None
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    resolved: asyncio.Event = field(default_factory=asyncio.Event)
    """Like `settled`, but unknown is not enough."""


class Keeper:
    """Orders, positions and the control state of one account, for one taking of it."""

    def __init__(
        self,
        journal: Journal,
        register: Register,
        *,
        account: str,
        owner: str,
        epoch: int,
        emit: Emit,
        clock: Callable[[], datetime],
        on_change: Callable[[Order], None] = lambda _: None,
        may_write: Callable[[], bool] = lambda: True,
        hand_on: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.journal = journal
        self.register = register
        self.control = Control()
        self.instruments: dict[str, Instrument] = {}
        self.positions: defaultdict[str, Decimal] = defaultdict(Decimal)
        self._ahead: dict[int, Transaction] = {}
        """Fills that an answer told of before the log has come to them."""
        self.positions_at = 0
        """The last transaction that `positions` has in it."""
        self.balance: Decimal | None = None
        """After the last transaction that carried one."""
        self.started_at: int | None = None
        """The log's last transaction when this taking began: what is behind it and not ours is a stranger's."""
        self._account = account
        self._owner = owner
        self._epoch = epoch
        self._emit = emit
        self._clock = clock
        self._on_change = on_change
        self._may_write = may_write
        self._hand_on = hand_on
        self._waiters: dict[str, Waiter] = {}
        self._created: dict[str, Transaction] = {}
        """Creations that the stream told before the answer came."""

    def open(self) -> None:
        """Reads the journal and begins a segment of our own, so that a fenced predecessor writes into a dead one.

        Raises:
            JournalError, OSError, FormatError: it cannot be used.
        """
        for payload in self.journal.open():
            self._restore(payload)
        self.register.forget(self._clock())
        self.journal.rotate(self._snapshot())

    def _restore(self, payload: bytes) -> None:
        try:
            kind, content = record.parse_record(payload)
        except ValueError as error:
            log.warning("journal record unreadable", extra={"fault": str(error)})
            return
        if isinstance(content, Entry):
            self.register.put(content)
        elif isinstance(content, Control):
            self.control = content
        elif kind == record.TRANSACTION and isinstance(content, dict):
            self.control = replace(self.control, applied=int(content["id"]))

    def _snapshot(self) -> Iterator[bytes]:
        yield from (record.entry_record(entry, record.KEPT) for entry in self.register)
        yield record.control_record(self.control, record.END)

    def turn_segment(self) -> None:
        """Begins another segment where one is due, or where the journal failed."""
        if self.journal.is_full or self.journal.failure is not None:
            self.register.forget(self._clock())
            self.journal.rotate(self._snapshot())

    def expect(self, order_id: str, received_s: float, decision_price: Decimal | None) -> Waiter:
        """Somebody waits for this order."""
        waiter = Waiter(received_s=received_s, decision_price=decision_price)
        self._waiters[order_id] = waiter
        return waiter

    def waiter(self, order_id: str) -> Waiter | None:
        """Who waits for this order."""
        return self._waiters.get(order_id)

    def dismiss(self, order_id: str) -> None:
        """Nobody waits any more."""
        self._waiters.pop(order_id, None)

    def now(self) -> datetime:
        """The time by our clock."""
        return self._clock()

    def put_intent(self, entry: Entry) -> int:
        """Takes an entry that is to be sent; the journal position behind it.

        Raises:
            JournalError: it is not in the journal; memory is as before.
        """
        position = self._write(record.entry_record(entry))
        self._take(entry)
        return position

    def put(self, entry: Entry) -> None:
        """Takes an entry at a status that is already so, in the journal or not: a restart would find it out again."""
        if entry.status is not OrderStatus.RECEIVED:
            try:
                self._write(record.entry_record(entry))
            except JournalError as error:
                log.exception("order not in the journal", extra={"order_id": entry.id, "fault": str(error)})
        self._take(entry)

    def _take(self, entry: Entry) -> None:
        before = self.register.get(entry.id)
        self.register.put(entry)
        waiter = self._waiters.get(entry.id)
        answered = waiter is not None and not waiter.settled.is_set() and entry.status not in IN_FLIGHT
        for event in narrative.step(
            before,
            entry,
            instrument=self.instruments.get(entry.order.request.instrument),
            decision_price=waiter.decision_price if waiter is not None else None,
            duration_s=perf_counter() - waiter.received_s if waiter is not None and answered else None,
        ):
            self._emit(event)
        if waiter is not None:
            self._wake(waiter, entry)
        self._on_change(entry.order)

    def _wake(self, waiter: Waiter, entry: Entry) -> None:
        if entry.status not in IN_FLIGHT:
            waiter.settled.set()
            if entry.status is not OrderStatus.UNKNOWN:
                waiter.resolved.set()

    def _write(self, payload: bytes) -> int:
        if not self._may_write():
            raise JournalError("another process trades this account now")
        return self.journal.append(payload)

    def fold(self, order_id: str, transactions: tuple[Transaction, ...]) -> Entry:
        """The order after what an answer or a scan says."""
        entry = self._known(order_id)
        if (created := self._created.pop(order_id, None)) is not None:
            transactions = (created, *transactions)
        moved = outcome.fold(entry, transactions, self._clock())
        if moved is not entry:
            self.put(moved)
        return moved

    def move(self, order_id: str, status: OrderStatus, reason: str | None, message: str | None = None) -> Entry:
        """The order at another status by our own finding."""
        entry = self._known(order_id).moved(status, self._clock(), reason=reason, message=message)
        self.put(entry)
        return entry

    def _known(self, order_id: str) -> Entry:
        entry = self.register.get(order_id)
        if entry is None:
            raise KeyError(order_id)
        return entry

    def deliver(self, transaction: Transaction) -> None:
        """The next transaction of the venue's log: kept, then applied to orders and positions."""
        self._write(record.transaction_record(transaction.raw))
        self.control = replace(self.control, applied=transaction.id)
        try:
            self._apply(transaction)
        except (ValueError, KeyError) as error:
            # One that cannot be read must not stop those behind it; the comparison with the venue finds what it did.
            self._emit(StreamDecodeError(stream="transactions", message=f"{transaction.id}: {error}"))

    def _apply(self, transaction: Transaction) -> None:
        self._position(transaction)
        entry = self.register.about(transaction)
        if entry is not None and outcome.concerns(entry, transaction):
            self._follow(entry, transaction)
        elif transaction.is_create:
            self._adopt_transaction(transaction)
        elif transaction.is_reject:
            self._learn_refusal(transaction)

    def set_positions(self, units: dict[str, Decimal], at: int) -> None:
        """Net units by instrument as they are at a transaction."""
        self.positions = defaultdict(Decimal, units)
        self.positions_at = at
        self._ahead = {number: item for number, item in self._ahead.items() if number > at}

    def foresee(self, transactions: tuple[Transaction, ...]) -> None:
        """An answer's fills count for the next order, though the stream has yet to bring them."""
        for item in transactions:
            if item.is_fill and item.id > max(self.positions_at, self.control.applied or 0):
                self._ahead[item.id] = item

    def position(self, instrument: str) -> Decimal:
        """Net units, with the fills that are foreseen."""
        ahead = (item.units for item in self._ahead.values() if item.instrument == instrument)
        return sum(ahead, self.positions.get(instrument, Decimal(0)))

    def _position(self, transaction: Transaction) -> None:
        if (balance := transaction.raw.get("accountBalance")) is not None:
            self.balance = decimal(balance, "accountBalance")
        self._ahead.pop(transaction.id, None)
        if transaction.id > self.positions_at:
            self.positions_at = transaction.id
            if transaction.is_fill and transaction.instrument is not None:
                self.positions[transaction.instrument] += transaction.units

    def _follow(self, entry: Entry, transaction: Transaction) -> None:
        """While an answer is awaited a creation alone says too little: the order may have traded with it."""
        if entry.status is OrderStatus.SUBMITTED and transaction.is_create:
            self._created[entry.id] = transaction
        else:
            self.fold(entry.id, (transaction,))

    def _adopt_transaction(self, transaction: Transaction) -> None:
        """An order that is not in our books. One with our mark by another hand means that two trade: halt."""
        tag = parse_tag(transaction.client_id)
        stranger = tag is not None and (tag.owner, tag.epoch) != (self._owner, self._epoch)
        if stranger and self.started_at is not None and transaction.id > self.started_at:
            self.set_state(TradingState.HALTED, "broker", f"order {transaction.id} by another owner: {tag}")
        adopted = self.adopt(parse_order(transaction.raw, self._account, EXTERNAL))
        expected = transaction.reason == "ON_FILL" or self.started_at is None  # asked for with another, or read back
        if not expected:
            kind = "order" if tag is None else "foreign_order"
            theirs = transaction.type
            self._emit(ReconcileMismatch(kind=kind, subject=str(transaction.id), ours="absent", theirs=theirs))
        log.info("order adopted", extra={"order_id": adopted.id, "venue_order_id": str(transaction.id)})

    def _learn_refusal(self, transaction: Transaction) -> None:
        """An order of a predecessor's that the venue refused: its caller may send it again, and learns the same."""
        tag = parse_tag(transaction.client_id)
        if tag is None or tag.owner != self._owner or self.register.get(tag.order_id) is not None:
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
        self.put(Entry(order=order, client_id=str(tag), checkpoint=transaction.id, action=Action.ADOPTED))

    def adopt(self, found: VenueOrder) -> Entry:
        """Takes an order of the venue's into our books, as one that rests."""
        now = self._clock()
        tag = parse_tag(found.client_id)
        ours = tag is not None and tag.owner == self._owner and self.register.get(tag.order_id) is None
        order = Order(
            id=tag.order_id if tag is not None and ours else f"venue-{found.id}",
            request=found.request,
            status=OrderStatus.PENDING,
            venue_order_id=found.id,
            created_at=found.time,
            updated_at=now,
        )
        entry = Entry(
            order=order,
            client_id=found.client_id or f"venue:{found.id}",
            checkpoint=int(found.id),
            action=Action.ADOPTED,
        )
        self.put(entry)
        return entry

    def set_control(self, **changed: Any) -> None:
        """Keeps a part of the control state."""
        control = replace(self.control, **changed)
        self._write(record.control_record(control))
        self.control = control

    def inherit(self, note: str) -> None:
        """Takes over the trading state of the owner before where it is the stricter one."""
        heir = stance.stricter(self.control, note)
        if heir is self.control:
            self._hand_on(stance.note_of(heir))
        else:
            self.set_state(heir.state, heir.state_actor, heir.state_reason)

    def set_state(self, state: TradingState, actor: str, reason: str) -> None:
        """Changes what may be traded, at once; over restarts and for later owners, too."""
        previous = self.control.state
        self.control = replace(self.control, state=state, state_actor=actor, state_reason=reason)
        self._hand_on(stance.note_of(self.control))
        self._emit(TradingStateChanged(state=state, previous=previous, reason=reason, actor=actor))
        log.warning("trading state changed", extra={"state": str(state), "actor": actor, "reason": reason})
        try:
            self._write(record.control_record(self.control))
        except JournalError as error:
            log.exception("trading state not in the journal", extra={"fault": str(error)})
