"""Every order that we follow, in memory: by our id, the caller's id, the venue's ids and the status. Pure."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator
from datetime import datetime, timedelta

from broker.domain import OrderStatus
from broker.orders.model.ids import caller_digest, parse_tag
from broker.orders.model.order_record import OrderAction, OrderRecord
from broker.venue.v20.transactions import Transaction

IN_FLIGHT = frozenset({OrderStatus.RECEIVED, OrderStatus.SUBMITTED})
UNRESOLVED = frozenset({OrderStatus.SUBMITTED, OrderStatus.UNKNOWN})
OPEN = frozenset({OrderStatus.RECEIVED, OrderStatus.SUBMITTED, OrderStatus.UNKNOWN, OrderStatus.PENDING})


class OrderIndex:
    """Order records by each of their keys. `forget` removes finished orders beyond a number or age, oldest first."""

    def __init__(self, *, remember_orders: int, remember_s: float) -> None:
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
        """The order that a transaction may be about; `transitions.concerns` decides."""
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
