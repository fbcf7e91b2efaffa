"""Every order that we follow, in memory: by our id, the caller's id, the venue's ids."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator
from datetime import datetime, timedelta

from broker.domain import OrderStatus
from broker.orders.model.ids import caller_digest, parse_tag
from broker.orders.model.order_record import Action, Entry
from broker.venue.v20.transactions import Transaction

IN_FLIGHT = frozenset({OrderStatus.RECEIVED, OrderStatus.SUBMITTED})
UNRESOLVED = frozenset({OrderStatus.SUBMITTED, OrderStatus.UNKNOWN})
OPEN = frozenset({OrderStatus.RECEIVED, OrderStatus.SUBMITTED, OrderStatus.UNKNOWN, OrderStatus.PENDING})


class Register:
    """Entries with their indexes. Finished orders go, oldest first, beyond their number or age."""

    def __init__(self, *, remember_orders: int, remember_s: float) -> None:
        self._remember_orders = remember_orders
        self._remember = timedelta(seconds=remember_s)
        self._entries: dict[str, Entry] = {}
        self._finished: OrderedDict[str, None] = OrderedDict()
        self._by_key: dict[tuple[str, str], str] = {}
        self._by_client_id: dict[str, str] = {}
        self._by_caller: dict[str, str] = {}
        """Of adopted orders that bear our mark: the caller's id is not at the venue, its digest is."""
        self._by_venue_id: dict[str, str] = {}
        self._closing: dict[str, str] = {}
        """Trade id to the order that closes it, until its market order is known."""
        self._by_status: dict[OrderStatus, OrderedDict[str, None]] = {status: OrderedDict() for status in OrderStatus}
        self._open_by_client: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def put(self, entry: Entry) -> None:
        """Takes an entry, in place of the one with its id."""
        self._unindex(self._entries.get(entry.id))
        self._entries[entry.id] = entry
        self._by_status[entry.status][entry.id] = None
        self._open_by_client[entry.order.request.client] += entry.status in OPEN
        self._by_key[entry.key] = entry.id
        self._by_client_id[entry.client_id] = entry.id
        if entry.action is Action.ADOPTED and (tag := parse_tag(entry.client_id)) is not None:
            self._by_caller[tag.caller] = entry.id
        if entry.order.venue_order_id is not None:
            self._by_venue_id[entry.order.venue_order_id] = entry.id
        if entry.action is Action.CLOSE_TRADE and entry.target and entry.order.venue_order_id is None:
            self._closing[entry.target] = entry.id
        if entry.status.is_final:
            self._finished[entry.id] = None

    def _unindex(self, entry: Entry | None) -> None:
        if entry is None:
            return
        del self._by_status[entry.status][entry.id]
        self._open_by_client[entry.order.request.client] -= entry.status in OPEN
        if entry.target is not None and self._closing.get(entry.target) == entry.id:
            del self._closing[entry.target]

    def get(self, order_id: str) -> Entry | None:
        """By our id."""
        return self._entries.get(order_id)

    def by_key(self, client: str, client_order_id: str) -> Entry | None:
        """By the caller and its id, also where only the venue remembers them."""
        found = self._by_key.get((client, client_order_id))
        if found is None and self._by_caller:
            found = self._by_caller.get(caller_digest(client, client_order_id))
        return self._entries.get(found or "")

    def by_venue_id(self, venue_order_id: str) -> Entry | None:
        """By the venue's order id."""
        return self._entries.get(self._by_venue_id.get(venue_order_id, ""))

    def about(self, transaction: Transaction) -> Entry | None:
        """The order that a transaction may be about; `outcome.concerns` decides."""
        found = self._by_client_id.get(transaction.client_id or "")
        found = found or self._by_venue_id.get(transaction.order_id or str(transaction.id))
        found = found or self._closing.get(transaction.closes_trade or "")
        return self._entries.get(found or "")

    def with_status(self, *statuses: OrderStatus) -> list[Entry]:
        """All at one of these, oldest first within each."""
        return [self._entries[key] for status in statuses for key in self._by_status[status]]

    def count(self, statuses: frozenset[OrderStatus]) -> int:
        """How many are at one of these."""
        return sum(len(self._by_status[status]) for status in statuses)

    def open_of(self, client: str) -> int:
        """How many of a client's orders are open."""
        return self._open_by_client[client]

    def forget(self, now: datetime) -> None:
        """Lets the oldest finished orders go that are too many or too old."""
        while self._finished:
            entry = self._entries[next(iter(self._finished))]
            young = now - entry.order.updated_at < self._remember
            if young and len(self._finished) <= self._remember_orders:
                return
            self._remove(entry)

    def _remove(self, entry: Entry) -> None:
        self._unindex(entry)
        del self._finished[entry.id], self._entries[entry.id]
        venue_id = entry.order.venue_order_id or ""
        for index, key in ((self._by_client_id, entry.client_id), (self._by_venue_id, venue_id)):
            if index.get(key) == entry.id:
                del index[key]
        if self._by_key.get(entry.key) == entry.id:
            del self._by_key[entry.key]
        if (tag := parse_tag(entry.client_id)) is not None:
            self._by_caller.pop(tag.caller, None)
