"""Telemetry events of an order's move from one record to the next. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from broker.domain import Fill, Instrument, Order, OrderStatus, OrderType
from broker.events.orders import OrderCancelled, OrderFilled, OrderRefused, OrderTransition, UnknownResolved
from broker.orders.model.lifecycle import OrderAction, OrderRecord, fills_in_full
from broker.venue.v20.transactions import reason_label

LOST = frozenset({OrderStatus.UNKNOWN, OrderStatus.PRESUMED_ABSENT})
ENDED_AT_VENUE = frozenset({OrderStatus.CANCELLED, OrderStatus.PARTIALLY_FILLED, OrderStatus.FILLED})


def transition(order: Order, duration_s: float | None) -> OrderTransition:
    """The event of an order's new status."""
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


def events_of(
    before: OrderRecord | None,
    record: OrderRecord,
    *,
    instruments: Mapping[str, Instrument],
    decision_price: Decimal | None,
    duration_s: float | None,
) -> Iterator[tuple[Any, ...]]:
    """All events of a move; `duration_s` since the API received the order, None if no caller waits."""
    order = record.order
    old_status = before.status if before is not None else None
    # Counters of orders are of our own orders: those that people or other programs placed would distort them.
    if order.status is not old_status and record.action is not OrderAction.ADOPTED:
        moved = transition(order, duration_s)
        # An order that passes its checks is stored once for both: its intent is the first that memory has of it.
        if before is None and order.status is OrderStatus.SUBMITTED:
            # By place: `_replace` goes through a mapping, and costs as much as the event itself.
            yield OrderTransition(OrderStatus.RECEIVED.value, *moved[1:])
        yield moved
    told = len(before.order.fills) if before is not None else 0
    for fill in order.fills[told:]:
        yield _filled(record, fill, instruments, decision_price, duration_s)
    # The process that sent it has reported a refusal that we only read back.
    if before is not None or record.action is not OrderAction.ADOPTED:
        yield from _ended(before, order)
    if before is not None and old_status in LOST and order.status is not old_status:
        # The one move between the two is to PRESUMED_ABSENT (lifecycle.TABLE), whose name is the result.
        result = "adopted" if old_status is OrderStatus.PRESUMED_ABSENT else str(order.status)
        lost_s = (order.updated_at - before.order.updated_at).total_seconds()
        yield UnknownResolved(result=result, order_id=order.id, duration_s=lost_s)


def _ended(before: OrderRecord | None, order: Order) -> Iterator[tuple[Any, ...]]:
    request = order.request
    # A later transaction about the same end (a second cancel, a late fill) is not another end.
    known = before.order.reason if before is not None and before.status.is_final else None
    if order.reason is None or order.reason == known:
        return
    if order.status in {OrderStatus.DENIED, OrderStatus.REJECTED}:
        yield OrderRefused(
            reason=reason_label(order.reason),
            source="risk" if order.status is OrderStatus.DENIED else "venue",
            order_id=order.id,
            client_order_id=request.client_order_id,
            instrument=request.instrument,
            message=_words(order.reason, order.message),
        )
    elif order.status in ENDED_AT_VENUE:
        yield OrderCancelled(
            reason=reason_label(order.reason),
            order_id=order.id,
            client_order_id=request.client_order_id,
            instrument=request.instrument,
        )


def _words(reason: str, message: str | None) -> str | None:
    return message if reason_label(reason) == reason else f"{reason}: {message or ''}"


def _filled(
    record: OrderRecord,
    fill: Fill,
    instruments: Mapping[str, Instrument],
    decision_price: Decimal | None,
    duration_s: float | None,
) -> OrderFilled:
    order, request = record.order, record.order.request
    # The fill's own, where it has them: an order of a trade has neither side nor instrument.
    side, name = fill.side or request.side, fill.instrument or request.instrument
    slippage, instrument = None, instruments.get(name)
    if decision_price is not None and instrument is not None and request.type is OrderType.MARKET:
        slippage = float((fill.price - decision_price) * side.sign * Decimal(10) ** -instrument.pip_location)
    return OrderFilled(
        side=side,
        order_type=request.type,
        asset_class=instrument.kind if instrument is not None else "UNKNOWN",
        partial="false" if fills_in_full(record, order.filled_units) else "true",
        order_id=order.id,
        client_order_id=request.client_order_id,
        instrument=name,
        transaction_id=fill.transaction_id,
        price=str(fill.price),
        units=float(fill.units),
        profit=str(fill.profit),
        half_spread_cost=float(fill.half_spread_cost),
        slippage_pips=slippage,
        latency_s=duration_s,
    )
