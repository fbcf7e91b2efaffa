"""The events that an order's step from one state to another amounts to."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from broker.domain import Fill, Instrument, Order, OrderStatus, OrderType
from broker.events.orders import OrderCancelled, OrderFilled, OrderRefused, OrderTransition, UnknownResolved
from broker.orders.model.order_record import Action, Entry
from broker.venue.v20.reasons import label

LOST = frozenset({OrderStatus.UNKNOWN, OrderStatus.PRESUMED_ABSENT})


def transition(order: Order, duration_s: float | None) -> OrderTransition:
    """That an order is at its status."""
    request = order.request
    return OrderTransition(
        status=str(order.status),  # plain text takes the emitter's short way, a member of an enumeration does not
        order_type=str(request.type),
        side=str(request.side),
        instrument=request.instrument,
        units=str(request.units),
        price=str(request.price) if request.price is not None else None,
        order_id=order.id,
        client_order_id=request.client_order_id,
        venue_order_id=order.venue_order_id,
        reason=order.reason,
        duration_s=duration_s,
    )


def step(
    before: Entry | None,
    entry: Entry,
    *,
    instrument: Instrument | None,
    decision_price: Decimal | None,
    duration_s: float | None,
) -> Iterator[tuple[Any, ...]]:
    """Everything to tell about a step; `duration_s` since the API's receipt, where a caller waits."""
    order = entry.order
    old_status = before.status if before is not None else None
    if order.status is not old_status and entry.action is not Action.ADOPTED:  # the counts are of our own orders
        yield transition(order, duration_s)
    known = len(before.order.fills) if before is not None else 0
    for fill in order.fills[known:]:
        yield _filled(order, fill, instrument, decision_price, duration_s)
    if before is not None or entry.action is not Action.ADOPTED:  # a refusal read back was told by its own process
        yield from _ended(before, order)
    if before is not None and old_status in LOST and order.status not in LOST:
        lost_s = (order.updated_at - before.order.updated_at).total_seconds()
        result = "adopted" if old_status is OrderStatus.PRESUMED_ABSENT else str(order.status)
        yield UnknownResolved(result=result, order_id=order.id, duration_s=lost_s)
    elif old_status is OrderStatus.UNKNOWN and order.status is OrderStatus.PRESUMED_ABSENT and before is not None:
        lost_s = (order.updated_at - before.order.updated_at).total_seconds()
        yield UnknownResolved(result="presumed_absent", order_id=order.id, duration_s=lost_s)


def _ended(before: Entry | None, order: Order) -> Iterator[tuple[Any, ...]]:
    request = order.request
    known = (before.status, before.order.reason) if before is not None else (None, None)
    if order.reason is None or (order.status, order.reason) == known:
        return
    if order.status in {OrderStatus.DENIED, OrderStatus.REJECTED}:
        yield OrderRefused(
            reason=label(order.reason),
            source="risk" if order.status is OrderStatus.DENIED else "venue",
            order_id=order.id,
            client_order_id=request.client_order_id,
            instrument=request.instrument,
            message=_words(order.reason, order.message),
        )
    elif order.status in {OrderStatus.CANCELLED, OrderStatus.FILLED}:
        yield OrderCancelled(
            reason=label(order.reason),
            order_id=order.id,
            client_order_id=request.client_order_id,
            instrument=request.instrument,
        )


def _words(reason: str, message: str | None) -> str | None:
    return message if label(reason) == reason else f"{reason}: {message or ''}"


def _filled(
    order: Order,
    fill: Fill,
    instrument: Instrument | None,
    decision_price: Decimal | None,
    duration_s: float | None,
) -> OrderFilled:
    request = order.request
    slippage = None
    if decision_price is not None and instrument is not None and request.type is OrderType.MARKET:
        slippage = float((fill.price - decision_price) * request.side.sign * Decimal(10) ** -instrument.pip_location)
    return OrderFilled(
        side=request.side,
        order_type=request.type,
        asset_class=instrument.kind if instrument is not None else "UNKNOWN",
        partial="true" if order.filled_units < request.units else "false",
        order_id=order.id,
        client_order_id=request.client_order_id,
        instrument=request.instrument,
        transaction_id=fill.transaction_id,
        price=str(fill.price),
        units=float(fill.units),
        profit=str(fill.profit),
        half_spread_cost=float(fill.half_spread_cost),
        slippage_pips=slippage,
        latency_s=duration_s,
    )
