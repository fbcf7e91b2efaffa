"""Clients of open trades and of the orders that guard them.

A trade belongs to the client of the order that opened it. That order is in memory, or in the venue's log, where it
bears our mark: a digest of the client, not its name. So what a successor without the journal reads back is nobody's
until the client comes, and is given to it then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from msgspec.structs import replace

from broker.orders.model.ids import client_digest, parse_tag
from broker.orders.model.lifecycle import OrderAction, OrderRecord
from broker.orders.store.trade_book import EXTERNAL, NOBODY, OpenTrade, TradeBook, TradeOwner
from broker.venue.v20.transactions import Transaction


class OrderRecords(Protocol):
    """The orders in memory; see `order_index.OrderIndex`."""

    def __iter__(self) -> Iterator[OrderRecord]: ...

    def get(self, order_id: str) -> OrderRecord | None:
        """By our id."""

    def protections(self, trade_id: str) -> list[OrderRecord]:
        """Orders of a trade that have not ended."""


class TradeOwners:
    """Finds the owners of trades, and gives them what is theirs; `put` stores a changed order."""

    def __init__(
        self, orders: OrderRecords, trades: TradeBook, deployment: str, put: Callable[[OrderRecord], object]
    ) -> None:
        self._orders = orders
        self._trades = trades
        self._deployment = deployment
        self._put = put
        self._unclaimed: set[str] = set()
        """Marks of clients that have not come."""

    def restore(self) -> None:
        """Take note of all marks after a start."""
        self._unclaimed = {mark_of(record) for record in self._orders} | {trade.owner.mark for trade in self._trades}

    def note(self, record: OrderRecord) -> None:
        """Take note of the mark of an order that was read back."""
        self._unclaimed.add(mark_of(record))

    def unknown(self) -> list[OpenTrade]:
        """Trades whose opening order is not known here, neither as ours nor as another's."""
        if all(trade.owner != NOBODY for trade in self._trades):
            return []
        # Once a term at most: a journal from before the book was kept has the orders, but not their trades.
        fills = {fill.transaction_id: record for record in self._orders for fill in record.order.fills}
        for trade in list(self._trades):
            if trade.owner == NOBODY and (record := fills.get(trade.id)) is not None:
                self._set(trade, owner_of(record))
        return [trade for trade in self._trades if trade.owner == NOBODY]

    def learn(self, fill: Transaction) -> None:
        """Find the owner of a trade by the fill that opened it, long before what we have read of the log."""
        if (trade := self._trades.get(str(fill.id))) is None:
            return
        tag = parse_tag(fill.client_id)
        if tag is None or tag.owner != self._deployment:
            self._set(trade, TradeOwner(order_id=f"venue-{fill.order_id}"))
            return
        record = self._orders.get(tag.order_id)
        marked = TradeOwner(order_id=tag.order_id, mark=tag.client)
        self._set(trade, owner_of(record) if record is not None else marked)

    def claim(self, client: str) -> None:
        """Give a client the orders and trades under its mark."""
        mark = client_digest(client)
        if mark not in self._unclaimed:
            return
        self._unclaimed.discard(mark)
        for record in [record for record in self._orders if mark_of(record) == mark]:
            self._give(record, client)
        for trade in [trade for trade in self._trades if trade.owner.mark == mark]:
            self._set(trade, TradeOwner(client=client, order_id=trade.owner.order_id))

    def _set(self, trade: OpenTrade, owner: TradeOwner) -> None:
        self._unclaimed.add(owner.mark)
        self._trades.put(replace(trade, owner=owner))
        for record in self._orders.protections(trade.id):
            # One that bears a mark of its own was placed by a client, who need not be the trade's.
            if record.order.request.client == EXTERNAL != owner.client and not mark_of(record):
                self._give(record, owner.client)

    def _give(self, record: OrderRecord, client: str) -> None:
        request = replace(record.order.request, client=client)
        self._put(replace(record, order=replace(record.order, request=request)))


def owner_of(record: OrderRecord) -> TradeOwner:
    """The owner of the trades that an order opens."""
    return TradeOwner(client=record.order.request.client, order_id=record.id, mark=mark_of(record))


def mark_of(record: OrderRecord) -> str:
    """Digest of the client of an order that was read back from the venue; empty if its name is known, or no client."""
    if record.action is not OrderAction.ADOPTED or record.order.request.client != EXTERNAL:
        return ""
    tag = parse_tag(record.client_id)
    return tag.client if tag is not None else ""
