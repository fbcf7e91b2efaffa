"""Applies transactions of the venue to an order. Pure.

One fold serves the answer to a request, the scans of the log and the stream. The same transaction may come from all
three, in any order, so that applying it twice or late must change nothing: `lifecycle.TABLE` has no move for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from msgspec.structs import replace

from broker.domain import Fill, Order, OrderStatus
from broker.orders.model.lifecycle import OrderEvent, after
from broker.orders.model.order_record import OrderAction, OrderRecord
from broker.venue.v20.transactions import Transaction


def concerns(record: OrderRecord, transaction: Transaction) -> bool:
    """True if a transaction is about this order: by our client id, or by the venue's order id once it is known."""
    order = record.order
    if transaction.is_reject or transaction.is_create:
        if transaction.client_id is not None and transaction.client_id == record.client_id:
            return True
        if order.venue_order_id is not None:
            return transaction.is_create and str(transaction.id) == order.venue_order_id
        # The venue takes no client id when a trade is closed (v20, PUT trades/{id}/close): its market order is known
        # by the trade that it closes, and only behind the checkpoint, for the trade may have been reduced before.
        return (
            record.action is OrderAction.CLOSE_TRADE
            and transaction.client_id is None
            and transaction.closes_trade == record.target
            and transaction.id > record.checkpoint
        )
    if not (transaction.is_fill or transaction.is_cancel):
        return False
    if order.venue_order_id is not None:
        return transaction.order_id == order.venue_order_id
    return transaction.client_id == record.client_id


def advance(record: OrderRecord, transaction: Transaction, now: datetime) -> OrderRecord:
    """The record after one transaction about it; the same record if the transaction is not news."""
    event = _event(transaction)
    order = record.order
    # The same fill comes from the answer and from the stream.
    if transaction.is_fill and any(fill.transaction_id == str(transaction.id) for fill in order.fills):
        return record
    status = after(order.status, event)
    if status is None:
        return record
    # A partly filled order stays FILLED when its rest is cancelled; the first reason is kept, a repetition has none.
    if event is OrderEvent.CANCEL and status is OrderStatus.FILLED and order.reason is not None:
        return record
    return replace(record, order=_order(order, status, transaction, now))


def fold(record: OrderRecord, transactions: Iterable[Transaction], now: datetime) -> OrderRecord:
    """The record after all transactions that concern it, by rising id."""
    # By id, not by arrival: a fill must not come before the creation that gives the order its id.
    for transaction in sorted(transactions, key=lambda item: item.id):
        if concerns(record, transaction):
            record = advance(record, transaction, now)
    return record


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
        # Not skipped: a fill without a price would be a position without a cost.
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
