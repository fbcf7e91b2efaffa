"""Life cycle of an order: the one table of events and statuses, the record of an order, and its moves. Pure.

A move that is not in `TABLE` cannot happen. One fold serves the answer to a request, the scans of the log and the
stream. The same transaction may come from all three, in any order, so that applying it twice or late must change
nothing: the table has no move for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType

from msgspec import Struct
from msgspec.structs import replace

from broker.domain import Fill, Order, OrderRequest, OrderStatus, OrderType, Side, TimeInForce, TriggerCondition
from broker.venue.v20.order_requests import DEPENDENT
from broker.venue.v20.transactions import Transaction, decimal

NOT_AUTHORIZED = "NOT_AUTHORIZED"
"""Reason of an order that the venue did not look at, for it refused our token."""
JOURNAL_UNAVAILABLE, OWNERSHIP_LOST = "JOURNAL_UNAVAILABLE", "OWNERSHIP_LOST"
RESOURCES_UNAVAILABLE = "RESOURCES_UNAVAILABLE"
"""Reasons of an order that was not sent, for the journal or the lease did not let us."""
RATE_LIMITED = "RATE_LIMITED"
"""Reason of an order that the venue did not look at, for there were too many requests."""


class OrderEvent(StrEnum):
    """Events of an order."""

    DENY = "deny"
    """Refused on our side; nothing was sent."""
    SUBMIT = "submit"
    """The intent is in the journal."""
    NOT_SENT = "not_sent"
    """No connection could be made: the venue certainly received nothing."""
    ACCEPT = "accept"
    """The venue made the order."""
    FILL = "fill"
    """The order has traded all that it was for."""
    FILL_IN_PART = "fill_in_part"
    """An order that rests traded in part: the rest works on."""
    FILL_AND_KILL = "fill_and_kill"
    """An immediate order traded in part: the venue keeps no rest of it."""
    CANCEL = "cancel"
    """The venue ended an order that had not traded."""
    CANCEL_REST = "cancel_rest"
    """The venue ended the rest of an order that had traded."""
    REJECT = "reject"
    """The venue refused the order."""
    LOSE = "lose"
    """No usable answer came, or the process ended before one came."""
    GIVE_UP = "give_up"
    """Scans up to the horizon did not find it."""


S, E = OrderStatus, OrderEvent
SENT = (S.SUBMITTED, S.UNKNOWN, S.PRESUMED_ABSENT)
"""Statuses of an order that may be at the venue: its log alone decides."""

TABLE = MappingProxyType(
    {
        (S.RECEIVED, E.DENY): S.DENIED,
        (S.RECEIVED, E.SUBMIT): S.SUBMITTED,
        (S.SUBMITTED, E.NOT_SENT): S.DENIED,
        (S.SUBMITTED, E.LOSE): S.UNKNOWN,
        (S.UNKNOWN, E.GIVE_UP): S.PRESUMED_ABSENT,
        **{(status, E.ACCEPT): S.PENDING for status in SENT},
        **{(status, E.REJECT): S.REJECTED for status in SENT},
        **{(status, E.FILL_IN_PART): S.PENDING for status in SENT},
        **{(status, E.FILL_AND_KILL): S.PARTIALLY_FILLED for status in SENT},
        **{(status, E.FILL): S.FILLED for status in SENT},
        **{(status, E.CANCEL): S.CANCELLED for status in SENT},
        (S.PENDING, E.FILL_IN_PART): S.PENDING,
        (S.PENDING, E.FILL_AND_KILL): S.PARTIALLY_FILLED,
        (S.PENDING, E.FILL): S.FILLED,
        (S.PENDING, E.CANCEL): S.CANCELLED,
        (S.PENDING, E.CANCEL_REST): S.PARTIALLY_FILLED,
        # The answer to a cancel can overtake the stream, which then brings what the order had traded before.
        **{(S.CANCELLED, event): S.PARTIALLY_FILLED for event in (E.FILL_IN_PART, E.FILL_AND_KILL)},
        (S.CANCELLED, E.FILL): S.FILLED,
        **{
            (S.PARTIALLY_FILLED, event): S.PARTIALLY_FILLED
            for event in (E.FILL_IN_PART, E.FILL_AND_KILL, E.CANCEL_REST)
        },
        (S.PARTIALLY_FILLED, E.FILL): S.FILLED,
        # Journals before 0.2 have orders as FILLED from the first fill on, whatever the venue did with the rest.
        **{(S.FILLED, event): S.FILLED for event in (E.FILL, E.FILL_IN_PART, E.FILL_AND_KILL, E.CANCEL_REST)},
    }
)


def after(status: OrderStatus, event: OrderEvent) -> OrderStatus | None:
    """The status that follows, or None if the event does not apply: it is late, or a repetition."""
    return TABLE.get((status, event))


class OrderAction(StrEnum):
    """Request that makes the order at the venue."""

    CREATE = "create"
    REPLACE = "replace"
    CLOSE_POSITION = "close_position"
    CLOSE_TRADE = "close_trade"
    CHANGE_TRADE_ORDERS = "change_trade_orders"
    """One order of a trade, in place of the one that the trade has."""
    ADOPTED = "adopted"
    """None of ours: found at the venue."""


IMMEDIATE = frozenset({TimeInForce.FOK, TimeInForce.IOC})
"""Times in force of an order that leaves no rest to work on."""
CLOSES = frozenset({OrderAction.CLOSE_POSITION, OrderAction.CLOSE_TRADE})


class OrderRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One order in the journal and in memory."""

    order: Order
    client_id: str
    """At the venue: `clientExtensions.id`."""
    checkpoint: int
    """The venue's last transaction id that we knew before sending: the order can only be behind it."""
    action: OrderAction = OrderAction.CREATE
    target: str | None = None
    """Venue order id that is replaced, or trade id that is closed."""
    close_units: Decimal | None = None
    """Units to close; None closes all."""
    refused_code: int | None = None
    """HTTP status of a refusal that scans of the log have yet to confirm (429)."""
    reduce_only: bool = False
    """True if it goes to the venue as REDUCE_ONLY, whatever was asked: it was let through as an exit."""
    refused_by: int | None = None
    """Transaction that refused it, where no client id leads from it to this order."""

    first_texts: tuple[str | None, str | None] | None = None
    """Tag and comment that the caller placed it with, if they were changed since: a repetition has these."""

    @property
    def id(self) -> str:
        """Our order id."""
        return self.order.id

    @property
    def status(self) -> OrderStatus:
        """Status of the order."""
        return self.order.status

    @property
    def key(self) -> tuple[str, str]:
        """Caller and the caller's id."""
        return (self.order.request.client, self.order.request.client_order_id)

    def moved(
        self, status: OrderStatus, now: datetime, *, reason: str | None = None, message: str | None = None
    ) -> OrderRecord:
        """The record at another status."""
        changed_at = time_of_change(self.order, now)
        order = replace(self.order, status=status, reason=reason, message=message, updated_at=changed_at)
        return replace(self, order=order)


def time_of_change(order: Order, now: datetime) -> datetime:
    """The time of a change: never before the change that the order has already.

    The history takes the later of two states of an order (`history.writer`). A wall clock that was set back would make
    the end of an order the earlier one.
    """
    return max(now, order.updated_at)


UNTRIED = frozenset(
    {
        (OrderStatus.DENIED, NOT_AUTHORIZED),
        (OrderStatus.DENIED, JOURNAL_UNAVAILABLE),
        (OrderStatus.DENIED, OWNERSHIP_LOST),
        (OrderStatus.DENIED, RESOURCES_UNAVAILABLE),
        (OrderStatus.REJECTED, RATE_LIMITED),
    }
)
"""Ends of an order, with their reasons, that say nothing of the order itself: the venue did not look at it."""


def holds_id(order: Order) -> bool:
    """False of an order that the venue did not look at: its caller may use the same id again."""
    return (order.status, order.reason) not in UNTRIED


def concerns(record: OrderRecord, transaction: Transaction) -> bool:
    """True if a transaction is about this order: by the venue's order id once it is known, else by our client id."""
    known = record.order.venue_order_id
    if not (transaction.is_create or transaction.is_reject or transaction.is_fill or transaction.is_cancel):
        return False
    if known is not None:
        # Another order under the same client id is somebody's copy.
        return transaction.about_order == known
    if record.refused_by is not None:
        return transaction.id == record.refused_by
    named = transaction.client_id is not None and transaction.client_id == record.client_id
    return named or may_be_close(record, transaction)


def may_be_close(record: OrderRecord, transaction: Transaction) -> bool:
    """True if a transaction can be of the order that closes the record's trade; another close can look the same."""
    # The venue takes no client id when a trade is closed (v20, PUT trades/{id}/close): its market order is known by
    # the trade that it closes, and only behind the checkpoint, for the trade may have been reduced before.
    if (
        record.action is not OrderAction.CLOSE_TRADE
        or record.order.venue_order_id is not None
        or transaction.client_id is not None
        or transaction.closes_trade != record.target
        or transaction.id <= record.checkpoint
    ):
        return False
    asked = (transaction.raw.get("tradeClose") or {}).get("units")
    # A fill does not say what was asked.
    return asked is None or record.close_units == (None if asked == "ALL" else decimal(asked, "tradeClose.units"))


def is_immediate(request: OrderRequest) -> bool:
    """True if an order trades or ends at once: the venue keeps no rest of it."""
    return request.type is OrderType.MARKET or request.time_in_force in IMMEDIATE


def fills_in_full(record: OrderRecord, units: Decimal) -> bool:
    """True if an order that has traded `units` has nothing left to trade."""
    request = record.order.request
    # Such an order is for whatever there is to close by then, which may be less than when it was asked for.
    closes_all = request.closes_all or (record.action in CLOSES and record.close_units is None)
    takes_what_is_there = request.type in DEPENDENT or closes_all
    return takes_what_is_there or units >= request.units


def advance(record: OrderRecord, transaction: Transaction, now: datetime) -> OrderRecord:
    """The record after one transaction about it; the same record if the transaction is not news."""
    order = record.order
    # The same fill comes from the answer and from the stream.
    if transaction.is_fill and any(fill.transaction_id == str(transaction.id) for fill in order.fills):
        return record
    fills = (*order.fills, fill_of(transaction)) if transaction.is_fill else order.fills
    status = after(order.status, _event(record, transaction))
    if status is None:
        return record
    # The first reason of an end is kept: a repetition has none, and a late fill does not take it back.
    reason = order.reason if order.status.is_final else None
    if reason is not None and not transaction.is_fill:
        return record
    ended = transaction.is_cancel or transaction.is_reject
    venue_order_id = str(transaction.id) if transaction.is_create else transaction.order_id
    order = replace(
        order,
        request=_told(record, transaction),
        status=status,
        reason=transaction.reason if ended else reason,
        message=None,
        venue_order_id=order.venue_order_id or venue_order_id,
        fills=fills,
        updated_at=time_of_change(order, now),
    )
    refused_by = transaction.id if transaction.is_reject and transaction.client_id is None else None
    return replace(record, order=order, refused_by=refused_by)


def fold(record: OrderRecord, transactions: Iterable[Transaction], now: datetime) -> OrderRecord:
    """The record after all transactions that concern it, by rising id."""
    # By id, not by arrival: a fill must not come before the creation that gives the order its id.
    for transaction in sorted(transactions, key=lambda item: item.id):
        if concerns(record, transaction):
            record = advance(record, transaction, now)
    return record


def end(record: OrderRecord, transaction: Transaction, now: datetime) -> OrderRecord:
    """The record of an order whose end, as the venue names it, is this transaction; it may be a fill that is known."""
    record = fold(record, (transaction,), now)
    # The venue keeps no rest of an order that may only reduce, or of a stop, though it traded less than was asked; no
    # transaction of its own tells of that (v20: `fillingTransactionID` of the order).
    if record.status is OrderStatus.PENDING and transaction.is_fill:
        return record.moved(TABLE[record.status, OrderEvent.FILL_AND_KILL], now)
    return record


def _event(record: OrderRecord, transaction: Transaction) -> OrderEvent:
    request, traded = record.order.request, record.order.filled_units
    if transaction.is_fill:
        if fills_in_full(record, traded + abs(transaction.units)):
            return OrderEvent.FILL
        return OrderEvent.FILL_AND_KILL if is_immediate(request) else OrderEvent.FILL_IN_PART
    if transaction.is_cancel:
        return OrderEvent.CANCEL_REST if traded else OrderEvent.CANCEL
    return OrderEvent.REJECT if transaction.is_reject else OrderEvent.ACCEPT


def _told(record: OrderRecord, transaction: Transaction) -> OrderRequest:
    """The request with what a transaction tells of it, and the caller could not name."""
    request = record.order.request
    if transaction.is_fill:
        return traded(request, transaction)
    # The order that it takes the place of hands on its trigger (v20: the details of a trade's orders have none).
    handed_on = str(transaction.raw.get("triggerCondition")) if transaction.is_create else ""
    if record.action is OrderAction.CHANGE_TRADE_ORDERS and handed_on in TriggerCondition.__members__:
        return replace(request, trigger_condition=TriggerCondition[handed_on])
    return request


def traded(request: OrderRequest, fill: Transaction) -> OrderRequest:
    """The request of an order of a trade that was not known, with what its fill tells of the trade."""
    if request.instrument or request.type not in DEPENDENT or fill.instrument is None:
        return request
    side = Side.BUY if fill.units > 0 else Side.SELL
    return replace(request, instrument=fill.instrument, side=side, units=abs(fill.units))


def fill_of(transaction: Transaction) -> Fill:
    """The fill that a transaction tells of. Raises ValueError: it has no price."""
    if transaction.price is None:
        # Not skipped: a fill without a price would be a position without a cost.
        raise ValueError(f"fill {transaction.id} has no price")
    return Fill(
        transaction_id=str(transaction.id),
        units=abs(transaction.units),
        price=transaction.price,
        time=transaction.time,
        time_ns=transaction.time_ns,
        instrument=transaction.instrument or "",
        side=(Side.BUY if transaction.units > 0 else Side.SELL) if transaction.units else None,
        profit=transaction.profit,
        commission=transaction.commission,
        financing=transaction.financing,
        guaranteed_fee=transaction.guaranteed_fee,
        half_spread_cost=transaction.half_spread_cost,
        trade_ids=tuple(part.trade_id for part in transaction.trades),
        trades=transaction.trades,
    )
