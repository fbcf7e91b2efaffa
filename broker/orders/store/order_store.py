"""The account's orders, positions and trading state: journaled first, then applied in memory, then published.

Every change goes this one way, synchronously on the event loop, so that no reader sees a change that a crash could
take back and no lock is needed. There is no network here. `order_index` is the memory: every order that we follow, by
each of its keys. `OrderStore` is the way to it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
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
from broker.orders.model.ids import parse_tag
from broker.orders.model.lifecycle import OrderAction, OrderRecord
from broker.orders.model.operations import OperationRecord
from broker.orders.model.order_events import events_of
from broker.orders.model.trading_state import AccountControl, TradingState, handover_note, stricter
from broker.orders.store import journal
from broker.orders.store.journal import OrderJournal, OrderJournalError
from broker.orders.store.order_index import IN_FLIGHT, UNRESOLVED, OperationIndex, OrderIndex
from broker.orders.store.tail import Change
from broker.orders.store.trade_book import EXTERNAL, NOBODY, OpenTrade, TradeBook, TradeBookState, TradeOwner, of_trade
from broker.orders.store.trade_closes import UnclaimedCloses
from broker.orders.store.trade_owners import TradeOwners, owner_of
from broker.venue.v20.order_requests import DEPENDENT
from broker.venue.v20.parse import VenueOrder, VenueTrade, ended_order, parse_order
from broker.venue.v20.transactions import (
    CANCEL,
    FILL,
    ORDER_SUFFIX,
    REJECT_SUFFIX,
    Transaction,
    decimal,
    parse_transaction,
)

log = logging.getLogger(__name__)
WRITTEN_AGAIN = 1000
"""Records that are written again in one turn of the event loop: some milliseconds."""


def _ends_at_once(record: OrderRecord) -> bool:
    return lifecycle.is_immediate(record.order.request) and not record.order.fills


@dataclass(slots=True)
class Waiter:
    """A caller that waits for an order's first settled status."""

    received_s: float
    decision_price: Decimal | None = None
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    resolved: asyncio.Event = field(default_factory=asyncio.Event)
    """Like `settled`, but UNKNOWN is not enough."""

    def release(self) -> None:
        """Let the caller go with the order as it is."""
        self.settled.set()
        self.resolved.set()


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
        self.trades = TradeBook()
        self.owners = TradeOwners(self.index, self.trades, settings.owner, self.put)
        self.balance: Decimal | None = None
        """After the last transaction that carried one."""
        self.started_at: int | None = None
        """Last transaction of the log when this term began: a later order with our mark that we did not send means
        that somebody else trades the account."""
        self.unknown = asyncio.Event()
        """Set when an order becomes UNKNOWN; the resolver waits for it."""
        self._anticipated: dict[int, Transaction] = {}
        """Fills that an answer reported before the stream did."""
        self._marked: dict[str, Decimal] = {}
        """Units at the last mark, of the positions that have changed since."""
        self.waiters: dict[str, Waiter] = {}
        """By order id; the caller removes its own when it has its answer."""
        self.owed: dict[str, OrderRecord] = {}
        """Final words of our own that the journal has not taken: nobody is told of them before."""
        self.parted: dict[str, None] = {}
        """Resting orders that have traded in part: whether the venue keeps the rest is still to be asked."""
        self.has_parted = asyncio.Event()
        self._created: dict[str, Transaction] = {}
        """Creations by order, set aside because what becomes of the order is told right behind them."""
        self._closes = UnclaimedCloses()
        self._unwritten: dict[tuple[str, ...], None] = {}
        """Orders, operations and the control state that the journal refused, the oldest first."""

    def open(self) -> None:
        """Read the journal and begin a segment of our own.

        Raises OrderJournalError, OSError, FormatError: it cannot be used.
        """
        told = [raw for payload in self.journal.open() if (raw := self._restore(payload)) is not None]
        for raw in told:
            if raw.get("type") == FILL:
                self._count_in_trades(parse_transaction(raw))
            self._replay(raw)
        self._resize_protections(self.trades)
        self.owners.restore()
        self.index.forget(self.now())
        self.journal.rotate(self._snapshot())

    def _restore(self, payload: bytes) -> dict[str, Any] | None:
        """Take over a record of the journal; the transaction, if it is one."""
        try:
            kind, content = journal.decode_payload(payload)
        except ValueError as error:
            # One unreadable record must not keep the account from trading: the venue's log knows what it said.
            log.warning("journal record unreadable", extra={"fault": str(error)})
            return None
        if isinstance(content, OrderRecord):
            self.index.put(content)
        elif isinstance(content, AccountControl):
            self.control = content
        elif isinstance(content, TradeBookState):
            self.trades.restore(content)
        elif isinstance(content, OperationRecord):
            self.operations.put(content)
        elif kind == journal.TRANSACTION and isinstance(content, dict):
            self.control = self.control.after(content)
            return content
        return None

    def _replay(self, raw: dict[str, Any]) -> None:
        """Apply a journaled transaction to the orders once more, if they lack it."""
        # A kill between its record and the order's leaves it there alone: the feed does not bring it again.
        if self._is_news(raw):
            try:
                self._apply_to_order(parse_transaction(raw))
            except (ValueError, KeyError) as error:
                log.warning("journaled transaction unreadable", extra={"fault": str(error)})

    def _is_news(self, raw: dict[str, Any]) -> bool:
        """True if a journaled transaction may say what the journaled orders do not. Cheap: most say nothing."""
        kind = str(raw.get("type"))
        if kind.endswith((ORDER_SUFFIX, REJECT_SUFFIX)):
            return self.index.by_venue_id(str(raw["id"])) is None
        record = self.index.by_venue_id(str(raw.get("orderID")))
        if kind == FILL:
            return record is None or all(fill.transaction_id != raw["id"] for fill in record.order.fills)
        return kind == CANCEL and (record is None or not record.status.is_final)

    def _snapshot(self) -> Iterator[bytes]:
        for record in self.index:
            yield journal.encode_order(record, journal.SNAPSHOT_ORDER)
        yield journal.encode_trades(self.trades.state())
        for operation in self.operations:
            yield journal.encode_operation(operation)
        # The feed does not bring them again, and no order has them yet.
        for transaction in self._closes:
            yield journal.encode_transaction(transaction.raw)
        # Last: its presence says that the snapshot is complete.
        yield journal.encode_control(self.control, journal.SNAPSHOT_END)

    def tend_journal(self) -> None:
        """Begin the next segment if this one is full or failed, and write what the journal has refused before.

        Raises OrderJournalError: the volume still fails.
        """
        if self.journal.is_full or self.journal.failure is not None:
            self.index.forget(self.now())
            self.operations.forget(self.now())
            self.journal.rotate(self._snapshot())
        self.pay_owed()
        # A snapshot has them for the next start, and the history does not read snapshots.
        for key in list(self._unwritten)[:WRITTEN_AGAIN]:
            self._write_again(key)
            del self._unwritten[key]
        # Nothing else may come that would find out: nobody sends orders to a broker that is not ready.
        if self.journal.refusal is not None:
            self._write(journal.encode_control(self.control))

    def _write_again(self, key: tuple[str, ...]) -> None:
        match key:
            case (order_id,) if (record := self.index.get(order_id)) is not None:
                self._write(journal.encode_order(record), order=record.order)
            case (client, name) if (operation := self.operations.get(client, name)) is not None:
                self._write(journal.encode_operation(operation))
            case ():
                self._write(journal.encode_control(self.control), control=self.control)

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

    def put(self, record: OrderRecord) -> OrderRecord:
        """Store an order at a status that is a fact already; the order as it is then.

        If the journal does not take it, memory has it all the same, unless the venue's log tells it again: then the
        order stays as it was, for a fact that is told twice is counted twice.
        """
        # RECEIVED is not journaled: nothing was sent, so that a restart may forget the order.
        if record.status is not OrderStatus.RECEIVED:
            try:
                self._write(journal.encode_order(record), order=record.order)
            except OrderJournalError as error:
                if (held := self.index.get(record.id)) is not None and self._is_told_later(held):
                    self._let_go(held)
                    return held
                self._note_unwritten(error, record.id)
                self._dependencies.updates.publish(Change(position=0, order=record.order))
        self._apply_record(record)
        return record

    def _is_told_later(self, held: OrderRecord) -> bool:
        """True if a fact about the order is read in the venue's log again: by the resolver, or by the next owner."""
        was_sent = held.status is not OrderStatus.RECEIVED
        return held.status is OrderStatus.UNKNOWN or (was_sent and not self._lease.is_unexpired())

    def _let_go(self, record: OrderRecord) -> None:
        if (waiter := self.waiters.get(record.id)) is not None:
            waiter.release()

    def _note_unwritten(self, error: OrderJournalError, *key: str) -> None:
        log.error("not in the journal yet", extra={"subject": key or "control", "fault": str(error)})
        self._unwritten[key] = None

    def put_operation(self, record: OperationRecord) -> None:
        """Store an operation before it does anything: if the journal fails, memory has it all the same."""
        # Its cancels may be sent twice without harm, and its closes are orders with intents of their own. The kill
        # switch must work while the disk does not.
        try:
            self._write(journal.encode_operation(record))
        except OrderJournalError as error:
            self._note_unwritten(error, record.client, record.key)
        self.operations.put(record)

    def _apply_record(self, record: OrderRecord) -> None:
        # Journal, memory, events, waiters: each sees only what those before it have.
        before = self.index.get(record.id)
        self.index.put(record)
        self.owed.pop(record.id, None)
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
        # Whose answer came, or will not come, decides whose the closes are that fit it.
        if record.action is OrderAction.CLOSE_TRADE:
            self._settle_closes()

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
        """The order after the transactions of an answer, which are its own and no other's."""
        return self._fold(self.index[order_id], (*self._closes.claim(transactions), *transactions))

    def search(self, order_id: str, found: tuple[Transaction, ...]) -> OrderRecord:
        """The order after a reading of the log, in which others' transactions are, too."""
        record = self.index[order_id]
        if record.action is not OrderAction.CLOSE_TRADE:
            return self._fold(record, found)
        # What follows a creation that fits no order of ours fits none either: a fill does not say what was asked.
        others: set[str] = set()
        for transaction in sorted(found, key=lambda item: item.id):
            if self.index.about(transaction) is not None or transaction.about_order in others:
                continue
            if not self._closes.take(transaction, self._closing):
                others.add(transaction.about_order)
        self._settle_closes(searched_to=max((item.id for item in found), default=0))
        own = tuple(item for item in found if (about := self.index.about(item)) is not None and about.id == order_id)
        return self._fold(self.index[order_id], own)

    def is_created(self, order_id: str) -> bool:
        """True if the venue has made the order, and what became of it is not known yet."""
        return order_id in self._created

    def _fold(self, record: OrderRecord, transactions: tuple[Transaction, ...]) -> OrderRecord:
        if (created := self._created.pop(record.id, None)) is not None:
            transactions = (created, *transactions)
        moved = lifecycle.fold(record, transactions, self.now())
        if moved.status is OrderStatus.PENDING and record.status in UNRESOLVED and _ends_at_once(moved):
            # The log tells its end right behind: told as resting, a caller would take a fill for none.
            self._set_aside(record, next(item for item in transactions if lifecycle.concerns(record, item)))
            return record
        if moved is not record and (moved := self.put(moved)) is record:
            return record
        if moved.status is OrderStatus.PENDING and len(moved.order.fills) > len(record.order.fills):
            self.parted[record.id] = None
            self.has_parted.set()
        return moved

    def end(self, order_id: str, transaction: Transaction | None) -> OrderRecord:
        """The order behind the transaction that the venue names as its end; None: the venue names none."""
        record = self.index[order_id]
        if transaction is not None and (moved := lifecycle.end(record, transaction, self.now())) is not record:
            self.put(moved)
        return self.index[order_id]

    def _set_aside(self, record: OrderRecord, created: Transaction) -> None:
        self._created[record.id] = created
        # What is told next may name the venue's order and nothing else.
        self.index.note_venue_id(record.id, created.about_order)

    def _closing(self, trade_id: str) -> list[OrderRecord]:
        return [record for record in self.index.closing(trade_id) if record.id not in self._created]

    def _settle_closes(self, *, searched_to: int = 0) -> None:
        """Give closes of trades whose order is known by now to that order, or to another program."""
        while (settled := self._closes.settle(self._closing, searched_to=searched_to)) is not None:
            record, transactions = settled
            if record is not None:
                self._fold(record, transactions)
                continue
            for transaction in transactions:
                self._apply_to_order(transaction)

    def move(self, order_id: str, status: OrderStatus, reason: str | None, message: str | None = None) -> OrderRecord:
        """The order at another status for a reason of our own.

        One that can be the last is in the journal before anybody is told: no log of the venue's would say it again.
        If the journal does not take it, the order stays as it was and the word is `owed`.
        """
        record = self.index[order_id].moved(status, self.now(), reason=reason, message=message)
        if status is OrderStatus.UNKNOWN:
            self.put(record)
            return record
        try:
            # What we write behind a successor's back nobody reads.
            if not self._lease.holds():
                raise OrderJournalError("another process trades this account now")  # noqa: TRY301 - as a failed write
            self._write(journal.encode_order(record), order=record.order)
        except OrderJournalError as error:
            return self._owe(record, error)
        self._apply_record(record)
        return record

    def _owe(self, record: OrderRecord, error: OrderJournalError) -> OrderRecord:
        if record.id not in self.owed:
            log.error("not in the journal yet", extra={"order_id": record.id, "fault": str(error)})
        held = self.index[record.id]
        if held.status is OrderStatus.RECEIVED:
            # The journal does not know it, and need not: its caller may send it again, under the same id.
            reason = lifecycle.JOURNAL_UNAVAILABLE if self._lease.holds() else lifecycle.OWNERSHIP_LOST
            words = f"{record.order.reason}: {error}"
            held = held.moved(OrderStatus.DENIED, self.now(), reason=reason, message=words)
            self._apply_record(held)
            return held
        self.owed[record.id] = record
        self._let_go(record)
        return held

    def pay_owed(self) -> None:
        """Write what is owed to the journal, as far as it takes it."""
        for record in tuple(self.owed.values()):
            self.move(record.id, record.status, record.order.reason, record.order.message)

    def end_flights(self, owed: Mapping[str, OrderRecord]) -> None:
        """Settle the orders that were on their way when the journal was written last.

        `owed` is what our former term could not write.
        """
        for record in self.index.with_status(OrderStatus.SUBMITTED):
            if (word := owed.get(record.id)) is not None:
                self.move(record.id, word.status, word.order.reason, word.order.message)
            else:
                # It may be at the venue: nothing here can tell.
                words = "the process ended before the venue's answer"
                self.move(record.id, OrderStatus.UNKNOWN, "RESTARTED", words)

    def deliver(self, transaction: Transaction) -> None:
        """Write the next transaction of the venue's log, then apply it to orders and positions."""
        self._write(journal.encode_transaction(transaction.raw), transaction=transaction.raw)
        self.control = self.control.after(transaction.raw)
        try:
            self._apply_to_account(transaction)
            if not self._is_told(transaction):
                self._apply_to_order(transaction)
        except (ValueError, KeyError) as error:
            # An unreadable one must not stop those behind it; the next reconciliation finds its effect.
            self._emit(StreamDecodeError(stream="transactions", message=f"{transaction.id}: {error}"))

    def _is_told(self, transaction: Transaction) -> bool:
        """True if the answer to a settled order has told it already. Cheap: it is so of most of the stream."""
        record = self.index.by_venue_id(transaction.about_order)
        if record is None or record.status in UNRESOLVED or record.order.venue_order_id != transaction.about_order:
            return False
        name = str(transaction.id)
        told = any(fill.transaction_id == name for fill in record.order.fills) if transaction.is_fill else False
        return told or transaction.is_create

    def _apply_to_order(self, transaction: Transaction) -> None:
        record = self.index.about(transaction)
        created = self._created.get(record.id) if record is not None else None
        is_behind = created is not None and transaction.order_id == str(created.id)
        if record is not None and (is_behind or lifecycle.concerns(record, transaction)):
            # While an answer is awaited a creation alone says too little: the order may have traded with it.
            if record.status is OrderStatus.SUBMITTED and transaction.is_create:
                self._set_aside(record, transaction)
            else:
                self._fold(record, (transaction,))
        elif self._closes.take(transaction, self._closing):
            self._settle_closes()
        elif transaction.is_create:
            self._adopt_created(transaction)
        elif transaction.is_reject:
            self._learn_refusal(transaction)
        elif transaction.order_id is not None and record is None:
            self._adopt_ended(transaction)

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
                # The caller may protect or close its new trade before the stream tells of it.
                self.trades.open(item, self._opener(item))

    def position(self, instrument: str) -> Decimal:
        """Net units, anticipated fills included."""
        if not self._anticipated:
            return self.positions.get(instrument, Decimal(0))
        ahead = (item.units for item in self._anticipated.values() if item.instrument == instrument)
        return sum(ahead, self.positions.get(instrument, Decimal(0)))

    def held(self) -> set[str]:
        """Names of the instruments with a position."""
        ahead = {item.instrument for item in self._anticipated.values() if item.instrument is not None}
        return ahead | {name for name, units in self.positions.items() if units}

    def mark_positions(self) -> None:
        """Begin to note which positions change: the account's summary was read."""
        self._marked.clear()

    def moved_units(self) -> dict[str, Decimal]:
        """Units at the last mark, of the positions that have changed since; a change is also an anticipated fill."""
        names = (item.instrument for item in self._anticipated.values() if item.instrument is not None)
        return {name: self.positions.get(name, Decimal(0)) for name in names} | self._marked

    def _apply_to_account(self, transaction: Transaction) -> None:
        if (balance := transaction.raw.get("accountBalance")) is not None:
            self.balance = decimal(balance, "accountBalance")
        self._anticipated.pop(transaction.id, None)
        if transaction.is_fill:
            self._resize_protections(self._count_in_trades(transaction))
        # Positions that were read from the venue may include it already.
        if transaction.id > self.positions_at:
            self.positions_at = transaction.id
            if transaction.is_fill and transaction.instrument is not None:
                self._marked.setdefault(transaction.instrument, self.positions[transaction.instrument])
                self.positions[transaction.instrument] += transaction.units

    def _count_in_trades(self, fill: Transaction) -> tuple[OpenTrade, ...]:
        return self.trades.apply(fill, self._opener(fill))

    def _opener(self, fill: Transaction) -> TradeOwner:
        record = self.index.about(fill)
        return owner_of(record) if record is not None else NOBODY

    def _resize_protections(self, trades: Iterable[OpenTrade]) -> None:
        """Give the orders of trades instrument, side and size, which the venue's own objects do not carry."""
        pairs = [(trade, record) for trade in trades for record in self.index.protections(trade.id)]
        for trade, record in pairs:
            request = of_trade(record.order.request, trade)
            if record.status is OrderStatus.PENDING and request != record.order.request:
                changed_at = lifecycle.time_of_change(record.order, self.now())
                self.put(replace(record, order=replace(record.order, request=request, updated_at=changed_at)))

    def set_trades(self, trades: list[VenueTrade], at: int) -> None:
        """Replace the open trades by the venue's, which include every transaction up to `at`."""
        self.trades.set(trades, at)
        self._resize_protections(self.trades)

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

    def _adopt_ended(self, transaction: Transaction) -> None:
        """Store an order whose creation was never read: from its fill, or from its cancel if it bears our mark."""
        tag = parse_tag(transaction.client_id)
        if not transaction.is_fill and (not transaction.is_cancel or tag is None or tag.owner != self._owner):
            return
        adopted = self.adopt(parse_order(ended_order(transaction), self._account, EXTERNAL))
        self._fold(adopted, (transaction,))

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
        request = found.request
        if (trade := self.trades.known(request.trade_id or "")) is not None and request.type in DEPENDENT:
            request, tag = of_trade(request, trade), parse_tag(found.client_id)
            # Of the trade's owner, for it came with its order, or guards what it opened; unless a client placed it.
            if tag is None or not tag.client:
                request = replace(request, client=trade.owner.client)
        order = Order(
            id=order_id,
            request=request,
            status=status,
            reason=reason,
            venue_order_id=venue_order_id,
            created_at=found.time,
            updated_at=self.now(),
        )
        client_id = found.client_id or f"venue:{found.id}"
        record = OrderRecord(order=order, client_id=client_id, checkpoint=int(found.id), action=OrderAction.ADOPTED)
        self.owners.note(record)
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
            self._note_unwritten(error)
