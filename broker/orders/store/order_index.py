"""Indexes of what the account's journal holds: orders by each of their keys, and operations under keys of their own."""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta

from broker.domain import OrderStatus
from broker.orders.model import lifecycle
from broker.orders.model.exposure import ACCOUNT, ExposureBook, resting_orders
from broker.orders.model.ids import caller_digest, parse_tag
from broker.orders.model.lifecycle import OrderAction, OrderRecord
from broker.orders.model.operations import OperationRecord
from broker.venue.v20.order_requests import DEPENDENT
from broker.venue.v20.transactions import Transaction

IN_FLIGHT = frozenset({OrderStatus.RECEIVED, OrderStatus.SUBMITTED})
UNRESOLVED = frozenset({OrderStatus.SUBMITTED, OrderStatus.UNKNOWN})
OPEN = frozenset({OrderStatus.RECEIVED, OrderStatus.SUBMITTED, OrderStatus.UNKNOWN, OrderStatus.PENDING})


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
        self._noted: dict[str, str] = {}
        """Venue's id by order, where the record may not say it; see `note_venue_id`."""
        self._of_trade: defaultdict[str, dict[str, None]] = defaultdict(dict)
        """Trade id to its protections that have not ended."""
        self._closing: defaultdict[str, dict[str, None]] = defaultdict(dict)
        """Trade id to the orders that close it and whose transactions are not known."""
        # Ordered by entry into the status: counts and "oldest first" need no scan of all orders.
        self._by_status: dict[OrderStatus, OrderedDict[str, None]] = {status: OrderedDict() for status in OrderStatus}
        self._open_by_client: Counter[str] = Counter()
        self.exposure = ExposureBook()

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[OrderRecord]:
        return iter(self._records.values())

    def __getitem__(self, order_id: str) -> OrderRecord:
        return self._records[order_id]

    def put(self, record: OrderRecord) -> None:
        """Store a record in place of the one with its id."""
        before = self._records.get(record.id)
        self._unindex(before)
        # The client of an order becomes known later than its order, where the venue's log told of it.
        if before is not None and before.key != record.key and self._by_key.get(before.key) == record.id:
            del self._by_key[before.key]
        self._records[record.id] = record
        self._by_status[record.status][record.id] = None
        self._count_open(record, 1)
        self.exposure.add(record)
        if lifecycle.holds_id(record.order):
            self._by_key[record.key] = record.id
        elif self._by_key.get(record.key) == record.id:
            del self._by_key[record.key]
        # A copy of our client id, which somebody else's order may bear, leads to ours all the same.
        self._by_client_id.setdefault(record.client_id, record.id)
        if record.action is OrderAction.ADOPTED and (tag := parse_tag(record.client_id)) is not None:
            self._by_caller[tag.caller] = record.id
        for known in _venue_ids(record):
            self._by_venue_id[known] = record.id
        # Until the venue gives the order an id, its trade is all that leads to it.
        if _is_nameless_close(record):
            self._closing[record.target or ""][record.id] = None
        if record.status.is_final:
            self._finished[record.id] = None
        elif record.order.request.type in DEPENDENT:
            self._of_trade[record.order.request.trade_id or ""][record.id] = None

    def _unindex(self, record: OrderRecord | None) -> None:
        if record is None:
            return
        del self._by_status[record.status][record.id]
        self._count_open(record, -1)
        self.exposure.remove(record)
        if _is_nameless_close(record):
            del self._closing[record.target or ""][record.id]
            if not self._closing[record.target or ""]:
                del self._closing[record.target or ""]
        trade_id = record.order.request.trade_id or ""
        if (held := self._of_trade.get(trade_id)) is not None:
            held.pop(record.id, None)
            if not held:
                del self._of_trade[trade_id]

    def _count_open(self, record: OrderRecord, sign: int) -> None:
        if record.status in OPEN and (count := resting_orders(record.order.request)):
            for key in (ACCOUNT, record.order.request.client):
                self._open_by_client[key] += sign * count

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
        """The order that a transaction is about, by the venue's order id or our client id."""
        # The venue's id first: it is never given twice, and people can change the client id of a resting order.
        found = self._by_venue_id.get(transaction.about_order)
        return self._records.get(found or self._by_client_id.get(transaction.client_id or "", ""))

    def note_venue_id(self, order_id: str, venue_order_id: str) -> None:
        """Find an order by the venue's id of it from now on, although its record does not say it yet."""
        self._by_venue_id[venue_order_id] = order_id
        self._noted[order_id] = venue_order_id

    def closing(self, trade_id: str) -> list[OrderRecord]:
        """Orders that close a trade and whose transactions are not known yet."""
        return [self._records[order_id] for order_id in self._closing.get(trade_id, ())]

    def protections(self, trade_id: str) -> list[OrderRecord]:
        """Orders of a trade that have not ended: its take-profit and stops."""
        return [self._records[key] for key in self._of_trade.get(trade_id, ())]

    def with_status(self, *statuses: OrderStatus) -> list[OrderRecord]:
        """All orders at one of these, oldest first within each."""
        return [self._records[key] for status in statuses for key in self._by_status[status]]

    def count(self, statuses: frozenset[OrderStatus]) -> int:
        """Number of orders at one of these."""
        return sum(len(self._by_status[status]) for status in statuses)

    def open_of(self, client: str) -> int:
        """Number of the orders of a client, or of ACCOUNT, that rest, or will rest once what works has filled."""
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
        # Only keys that still lead here: a later order can have taken over a caller's id.
        noted = self._noted.pop(record.id, None)
        for known in (*_venue_ids(record), *([noted] if noted is not None else [])):
            if self._by_venue_id.get(known) == record.id:
                del self._by_venue_id[known]
        if self._by_client_id.get(record.client_id) == record.id:
            del self._by_client_id[record.client_id]
        if self._by_key.get(record.key) == record.id:
            del self._by_key[record.key]
        if (tag := parse_tag(record.client_id)) is not None and self._by_caller.get(tag.caller) == record.id:
            del self._by_caller[tag.caller]


def _venue_ids(record: OrderRecord) -> Iterator[str]:
    if record.order.venue_order_id is not None:
        yield record.order.venue_order_id
    if record.refused_by is not None:
        yield str(record.refused_by)


def _is_nameless_close(record: OrderRecord) -> bool:
    nameless = record.status in lifecycle.SENT and record.order.venue_order_id is None
    return nameless and record.action is OrderAction.CLOSE_TRADE


class OperationIndex:
    """Operations by their client and key. `forget` removes those beyond a number or age, oldest first."""

    def __init__(self, remember: int, remember_s: float) -> None:
        self._remember = remember
        self._remember_for = timedelta(seconds=remember_s)
        # In the order of their begin: a repetition does not move one, and so does not keep it alive.
        self._records: dict[tuple[str, str], OperationRecord] = {}

    def __iter__(self) -> Iterator[OperationRecord]:
        return iter(self._records.values())

    def put(self, record: OperationRecord) -> None:
        """Store a record in place of the one with its key."""
        self._records[record.client, record.key] = record

    def get(self, client: str, key: str) -> OperationRecord | None:
        """By the caller and its key."""
        return self._records.get((client, key))

    def forget(self, now: datetime) -> None:
        """Remove the oldest ones that are too many or too old."""
        while self._records:
            name, record = next(iter(self._records.items()))
            if now - record.at < self._remember_for and len(self._records) <= self._remember:
                return
            del self._records[name]
