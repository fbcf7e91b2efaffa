"""The account's orders, positions and trading state: journaled first, then applied in memory, then published.

Every change goes this one way, synchronously on the event loop, so that no reader sees a change that a crash could
take back and no lock is needed. There is no network here. `OrderIndex` is the memory: every order that we follow, by
each of its keys. `OrderStore` is the way to it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from time import perf_counter
from typing import Any
from zlib import crc32

from msgspec.structs import replace

from broker.domain import Instrument, Order, OrderStatus
from broker.events.orders import TradingStateChanged
from broker.events.venue import ReconcileMismatch, StreamDecodeError
from broker.orders.dependencies import EngineDependencies
from broker.orders.model import lifecycle
from broker.orders.model.ids import caller_digest, parse_tag
from broker.orders.model.lifecycle import OrderAction, OrderRecord
from broker.orders.model.operations import OperationRecord
from broker.orders.model.order_events import events_of
from broker.orders.model.trading_state import AccountControl, TradingState, handover_note, stricter
from broker.orders.store import journal
from broker.orders.store.journal import OrderJournal, OrderJournalError
from broker.orders.store.operations import OperationIndex
from broker.orders.store.tail import Change
from broker.venue.v20.parse import VenueOrder, parse_order
from broker.venue.v20.transactions import Transaction, decimal

IN_FLIGHT = frozenset({OrderStatus.RECEIVED, OrderStatus.SUBMITTED})
UNRESOLVED = frozenset({OrderStatus.SUBMITTED, OrderStatus.UNKNOWN})
OPEN = frozenset({OrderStatus.RECEIVED, OrderStatus.SUBMITTED, OrderStatus.UNKNOWN, OrderStatus.PENDING})
EXTERNAL = "external"
"""Client of orders that another program or a person placed at the venue."""
log = logging.getLogger(__name__)


class OrderIndex:
    """Order records by each of their keys. `forget` removes finished orders beyond a number or age, oldest first."""

    def __init__(self, remember_orders: int, remember_s: float) -> None:
        self._remember_orders = remember_orders
        self._remember = timedelta(seconds=remember_s)
        self._records: dict[str, OrderRecord] = {}
        self._finished: OrderedDict[str, None] = OrderedDict()
        self._by_key: dict[tuple[str, str], str] = {}
        self._by_client_id: dict[str, str] = {}
        self._by_caller: dict[str, str] = {}
        """Digest of caller and caller's id, of adopted orders that bear our mark: the venue keeps no more of them."""
        self._by_venue_id: dict[str, str] = {}
        self._closing: dict[str, str] = {}
        """Trade id to the order that closes it, until its market order is known."""
        # Ordered by entry into the status: counts and "oldest first" need no scan of all orders.
        self._by_status: dict[OrderStatus, OrderedDict[str, None]] = {status: OrderedDict() for status in OrderStatus}
        self._open_by_client: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[OrderRecord]:
        return iter(self._records.values())

    def __getitem__(self, order_id: str) -> OrderRecord:
        return self._records[order_id]

    def put(self, record: OrderRecord) -> None:
        """Store a record in place of the one with its id."""
        self._unindex(self._records.get(record.id))
        self._records[record.id] = record
        self._by_status[record.status][record.id] = None
        self._open_by_client[record.order.request.client] += record.status in OPEN
        self._by_key[record.key] = record.id
        self._by_client_id[record.client_id] = record.id
        if record.action is OrderAction.ADOPTED and (tag := parse_tag(record.client_id)) is not None:
            self._by_caller[tag.caller] = record.id
        if record.order.venue_order_id is not None:
            self._by_venue_id[record.order.venue_order_id] = record.id
        # Until the venue gives the order an id, its trade is all that leads to it.
        if record.action is OrderAction.CLOSE_TRADE and record.target and record.order.venue_order_id is None:
            self._closing[record.target] = record.id
        if record.status.is_final:
            self._finished[record.id] = None

    def _unindex(self, record: OrderRecord | None) -> None:
        if record is None:
            return
        del self._by_status[record.status][record.id]
        self._open_by_client[record.order.request.client] -= record.status in OPEN
        if record.target is not None and self._closing.get(record.target) == record.id:
            del self._closing[record.target]

    def get(self, order_id: str) -> OrderRecord | None:
        """By our id."""
        return self._records.get(order_id)

    def by_key(self, client: str, client_order_id: str) -> OrderRecord | None:
        """By the caller and its id, read back from the venue or not."""
        found = self._by_key.get((client, client_order_id))
        # The digest costs microseconds, and only a successor without a journal has such orders.
        if found is None and self._by_caller:
            found = self._by_caller.get(caller_digest(client, client_order_id))
        return self._records.get(found or "")

    def by_venue_id(self, venue_order_id: str) -> OrderRecord | None:
        """By the venue's order id."""
        return self._records.get(self._by_venue_id.get(venue_order_id, ""))

    def about(self, transaction: Transaction) -> OrderRecord | None:
        """The order that a transaction may be about; `lifecycle.concerns` decides."""
        found = self._by_client_id.get(transaction.client_id or "")
        found = found or self._by_venue_id.get(transaction.order_id or str(transaction.id))
        found = found or self._closing.get(transaction.closes_trade or "")
        return self._records.get(found or "")

    def with_status(self, *statuses: OrderStatus) -> list[OrderRecord]:
        """All orders at one of these, oldest first within each."""
        return [self._records[key] for status in statuses for key in self._by_status[status]]

    def count(self, statuses: frozenset[OrderStatus]) -> int:
        """Number of orders at one of these."""
        return sum(len(self._by_status[status]) for status in statuses)

    def open_of(self, client: str) -> int:
        """Number of a client's open orders."""
        return self._open_by_client[client]

    def forget(self, now: datetime) -> None:
        """Remove the oldest finished orders that are too many or too old."""
        while self._finished:
            record = self._records[next(iter(self._finished))]
            young = now - record.order.updated_at < self._remember
            if young and len(self._finished) <= self._remember_orders:
                return
            self._remove(record)

    def _remove(self, record: OrderRecord) -> None:
        self._unindex(record)
        del self._finished[record.id], self._records[record.id]
        venue_id = record.order.venue_order_id or ""
        # Only keys that still lead here: a later order can have taken over a caller's id.
        for index, key in ((self._by_client_id, record.client_id), (self._by_venue_id, venue_id)):
            if index.get(key) == record.id:
                del index[key]
        if self._by_key.get(record.key) == record.id:
            del self._by_key[record.key]
        if (tag := parse_tag(record.client_id)) is not None:
            self._by_caller.pop(tag.caller, None)


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

    def __init__(self, dependencies: EngineDependencies, account: str) -> None:
        settings = dependencies.settings
        self._dependencies = dependencies
        self._emit = dependencies.emit
        self._lease = dependencies.lease
        self._account = account
        self._owner = settings.owner
        self.journal = OrderJournal(settings.directory / account, settings, dependencies.emit)
        self.index = OrderIndex(settings.remember_orders, settings.remember_s)
        self.operations = OperationIndex(settings.remember_orders, settings.remember_s)
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
        self.waiters: dict[str, Waiter] = {}
        """By order id; the caller removes its own when it has its answer."""
        self._created: dict[str, Transaction] = {}
        """Creations that the stream reported before the answer came."""

    def open(self) -> None:
        """Read the journal and begin a segment of our own.

        Raises OrderJournalError, OSError, FormatError: it cannot be used.
        """
        for payload in self.journal.open():
            self._restore(payload)
        self.index.forget(self.now())
        self.journal.rotate(self._snapshot())

    def _restore(self, payload: bytes) -> None:
        try:
            kind, content = journal.decode_payload(payload)
        except ValueError as error:
            # One unreadable record must not keep the account from trading: the venue's log knows what it said.
            log.warning("journal record unreadable", extra={"fault": str(error)})
            return
        if isinstance(content, OrderRecord):
            self.index.put(content)
        elif isinstance(content, AccountControl):
            self.control = content
        elif isinstance(content, OperationRecord):
            self.operations.put(content)
        elif kind == journal.TRANSACTION and isinstance(content, dict):
            self.control = replace(self.control, applied=int(content["id"]))

    def _snapshot(self) -> Iterator[bytes]:
        for record in self.index:
            yield journal.encode_order(record, journal.SNAPSHOT_ORDER)
        for operation in self.operations:
            yield journal.encode_operation(operation)
        # Last: its presence says that the snapshot is complete.
        yield journal.encode_control(self.control, journal.SNAPSHOT_END)

    def rotate_if_due(self) -> None:
        """Begin the next segment if this one is full or failed. Raises OrderJournalError: the volume still fails."""
        if self.journal.is_full or self.journal.failure is not None:
            self.index.forget(self.now())
            self.operations.forget(self.now())
            self.journal.rotate(self._snapshot())

    def now(self) -> datetime:
        """The time by the store's clock."""
        return self._dependencies.clock()

    def put_intent(self, record: OrderRecord) -> int:
        """Store an order that is to be sent; the journal position behind it.

        Raises OrderJournalError: it is not in the journal; memory is as before.
        """
        position = self._write(journal.encode_order(record), order=record.order)
        self._apply_record(record)
        return position

    def put(self, record: OrderRecord) -> None:
        """Store an order at a status that is a fact already: if the journal fails, memory has it all the same."""
        # RECEIVED is not journaled: nothing was sent, so that a restart may forget the order.
        if record.status is not OrderStatus.RECEIVED:
            try:
                self._write(journal.encode_order(record), order=record.order)
            except OrderJournalError as error:
                log.exception("order not in the journal", extra={"order_id": record.id, "fault": str(error)})
                self._dependencies.updates.publish(Change(position=0, order=record.order))
        self._apply_record(record)

    def put_operation(self, record: OperationRecord) -> None:
        """Store an operation before it does anything: if the journal fails, memory has it all the same."""
        # Its cancels may be sent twice without harm, and its closes are orders with intents of their own. The kill
        # switch must work while the disk does not.
        try:
            self._write(journal.encode_operation(record))
        except OrderJournalError as error:
            log.exception("operation not in the journal", extra={"operation": record.operation, "fault": str(error)})
        self.operations.put(record)

    def _apply_record(self, record: OrderRecord) -> None:
        # Journal, memory, events, waiters: each sees only what those before it have.
        before = self.index.get(record.id)
        self.index.put(record)
        waiter = self.waiters.get(record.id)
        # Timed to the first settled status: a later fill of a resting order is no latency of ours.
        answered = waiter is not None and not waiter.settled.is_set() and record.status not in IN_FLIGHT
        for event in events_of(
            before,
            record,
            instruments=self.instruments,
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

    def _write(self, payload: bytes, **change: Any) -> int:
        # A paused owner that wakes up must not append to a segment that its successor has read.
        if not self._lease.is_unexpired():
            raise OrderJournalError("another process trades this account now")
        position = self.journal.append(payload)
        # Published here, so that listeners see changes in the journal's order; they run when memory has them, too.
        if self._dependencies.updates:
            self._dependencies.updates.publish(Change(position=position, crc=crc32(payload), **change))
        return position

    def fold(self, order_id: str, transactions: tuple[Transaction, ...]) -> OrderRecord:
        """The order after the transactions of an answer or a scan."""
        record = self.index[order_id]
        # The creation that the stream brought before the answer, see _apply_transaction.
        if (created := self._created.pop(order_id, None)) is not None:
            transactions = (created, *transactions)
        moved = lifecycle.fold(record, transactions, self.now())
        if moved is not record:
            self.put(moved)
        return moved

    def move(self, order_id: str, status: OrderStatus, reason: str | None, message: str | None = None) -> OrderRecord:
        """The order at another status for a reason of our own."""
        record = self.index[order_id].moved(status, self.now(), reason=reason, message=message)
        self.put(record)
        return record

    def deliver(self, transaction: Transaction) -> None:
        """Write the next transaction of the venue's log, then apply it to orders and positions."""
        self._write(journal.encode_transaction(transaction.raw), transaction=transaction.raw)
        self.control = replace(self.control, applied=transaction.id)
        try:
            self._apply_transaction(transaction)
        except (ValueError, KeyError) as error:
            # An unreadable one must not stop those behind it; the next reconciliation finds its effect.
            self._emit(StreamDecodeError(stream="transactions", message=f"{transaction.id}: {error}"))

    def _apply_transaction(self, transaction: Transaction) -> None:
        self._apply_to_account(transaction)
        record = self.index.about(transaction)
        if record is not None and lifecycle.concerns(record, transaction):
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
        stranger = tag is not None and (tag.owner, tag.epoch) != (self._owner, self._lease.epoch)
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
        self._put_adopted(found, tag.order_id, OrderStatus.REJECTED, reason=transaction.reason)

    def adopt(self, found: VenueOrder) -> OrderRecord:
        """Store an order that rests at the venue and is not in our books."""
        tag = parse_tag(found.client_id)
        # A tag whose order we know already was copied by somebody: that order gets an id of its own.
        ours = tag is not None and tag.owner == self._owner and self.index.get(tag.order_id) is None
        order_id = tag.order_id if tag is not None and ours else f"venue-{found.id}"
        return self._put_adopted(found, order_id, OrderStatus.PENDING, venue_order_id=found.id)

    def _put_adopted(
        self,
        found: VenueOrder,
        order_id: str,
        status: OrderStatus,
        *,
        reason: str | None = None,
        venue_order_id: str | None = None,
    ) -> OrderRecord:
        order = Order(
            id=order_id,
            request=found.request,
            status=status,
            reason=reason,
            venue_order_id=venue_order_id,
            created_at=found.time,
            updated_at=self.now(),
        )
        client_id = found.client_id or f"venue:{found.id}"
        record = OrderRecord(order=order, client_id=client_id, checkpoint=int(found.id), action=OrderAction.ADOPTED)
        self.put(record)
        return record

    def set_control(self, **changed: Any) -> None:
        """Change fields of the control state.

        Raises OrderJournalError: they are not in the journal; memory is as before.
        """
        control = replace(self.control, **changed)
        self._write(journal.encode_control(control), control=control)
        self.control = control

    def adopt_handover(self, note: str) -> None:
        """Take over the previous owner's trading state if it is the stricter one."""
        inherited = stricter(self.control, note)
        if inherited is self.control:
            self._lease.hand_over(handover_note(inherited))
        else:
            self.set_state(inherited.state, inherited.state_actor, inherited.state_reason)

    def set_state(self, state: TradingState, actor: str, reason: str) -> None:
        """Change the trading state at once, for later starts and later owners as well."""
        previous = self.control.state
        self.control = replace(self.control, state=state, state_actor=actor, state_reason=reason)
        self._lease.hand_over(handover_note(self.control))
        self._emit(TradingStateChanged(state=state, previous=previous, reason=reason, actor=actor))
        log.warning("trading state changed", extra={"state": str(state), "actor": actor, "reason": reason})
        # Last, and its failure is only logged: a halt must work while the disk does not.
        try:
            self._write(journal.encode_control(self.control), control=self.control)
        except OrderJournalError as error:
            self._dependencies.updates.publish(Change(position=0, control=self.control))
            log.exception("trading state not in the journal", extra={"fault": str(error)})
