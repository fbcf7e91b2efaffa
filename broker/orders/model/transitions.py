"""What transactions make of an order. One fold serves answers, scans and the stream, in any order and number."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from msgspec.structs import replace

from broker.domain import Fill, Order, OrderStatus
from broker.orders.model.lifecycle import OrderEvent, after
from broker.orders.model.order_record import Action, Entry
from broker.venue.v20.transactions import Transaction


def concerns(entry: Entry, transaction: Transaction) -> bool:
    """Whether a transaction is about this order.

    By our client id; by the venue's order id once it is known; a closed trade takes no client id, so that its
    market order is known by the trade that it closes, behind the checkpoint.
    """
    order = entry.order
    if transaction.is_reject or transaction.is_create:
        if transaction.client_id is not None and transaction.client_id == entry.client_id:
            return True
        if order.venue_order_id is not None:
            return transaction.is_create and str(transaction.id) == order.venue_order_id
        return (
            entry.action is Action.CLOSE_TRADE
            and transaction.client_id is None
            and transaction.closes_trade == entry.target
            and transaction.id > entry.checkpoint
        )
    if not (transaction.is_fill or transaction.is_cancel):
        return False
    if order.venue_order_id is not None:
        return transaction.order_id == order.venue_order_id
    return transaction.client_id == entry.client_id


def advance(entry: Entry, transaction: Transaction, now: datetime) -> Entry:
    """The entry after one transaction about it; the same entry where it says nothing new."""
    event = _event(transaction)
    order = entry.order
    if transaction.is_fill and any(fill.transaction_id == str(transaction.id) for fill in order.fills):
        return entry
    status = after(order.status, event)
    if status is None:
        return entry
    if event is OrderEvent.CANCEL and status is OrderStatus.FILLED and order.reason is not None:
        return entry
    return replace(entry, order=_order(order, status, transaction, now))


def fold(entry: Entry, transactions: Iterable[Transaction], now: datetime) -> Entry:
    """The entry after all transactions that concern it, by rising id."""
    for transaction in sorted(transactions, key=lambda item: item.id):
        if concerns(entry, transaction):
            entry = advance(entry, transaction, now)
    return entry


def _event(transaction: Transaction) -> OrderEvent:
    if transaction.is_fill:
        return OrderEvent.FILL
    if transaction.is_cancel:
        return OrderEvent.CANCEL
    return OrderEvent.REJECT if transaction.is_reject else OrderEvent.ACCEPT


def _order(order: Order, status: OrderStatus, transaction: Transaction, now: datetime) -> Order:
    venue_order_id = order.venue_order_id or (str(transaction.id) if transaction.is_create else transaction.order_id)
    fills = (*order.fills, _fill(transaction)) if transaction.is_fill else order.fills
    ended = transaction.is_cancel or transaction.is_reject
    return replace(
        order,
        status=status,
        reason=transaction.reason if ended else None,
        message=None,
        venue_order_id=venue_order_id,
        fills=fills,
        updated_at=now,
    )


def _fill(transaction: Transaction) -> Fill:
    if transaction.price is None:
        raise ValueError(f"fill {transaction.id} has no price")
    return Fill(
        transaction_id=str(transaction.id),
        units=abs(transaction.units),
        price=transaction.price,
        time=transaction.time,
        profit=transaction.profit,
        half_spread_cost=transaction.half_spread_cost,
        trade_ids=transaction.trade_ids,
    )
