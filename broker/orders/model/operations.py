"""Operations of callers: the one that an idempotency key belongs to, and the orders that closes are. Pure.

A key belongs to one operation on one target. A repetition is recognised by all that a caller can ask: the operation,
its target, and the request. An order that was read back from the venue has only what the venue keeps of these.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from msgspec import Struct
from msgspec.structs import replace

from broker.domain import Operation, OrderRequest, OrderType, PositionFill, Side, TimeInForce
from broker.orders.model.lifecycle import OrderAction, OrderRecord
from broker.venue.v20.order_requests import DEPENDENT

SEPARATOR = " "
"""Between the key of an operation and the part that names one of its orders; no caller's key has a blank, so that none
can be that of a part."""
_WORDS = {
    Operation.PLACE: "place an order",
    Operation.REPLACE: "replace order {target}",
    Operation.CLOSE_POSITION: "close the position in {target}",
    Operation.CLOSE_TRADE: "close trade {target}",
    Operation.CHANGE_TRADE_ORDERS: "change the orders of trade {target}",
    Operation.CANCEL_ALL: "cancel all orders",
    Operation.CLOSE_ALL: "close all positions",
    Operation.KILL: "use the kill switch",
}


class Asked(Struct, frozen=True, kw_only=True):
    """All that a caller asks for under a key: a repetition asks for the same."""

    operation: Operation
    target: str | None = None
    request: OrderRequest | None = None
    """Of an operation that names its order in full."""
    units: Decimal | None = None
    """Of a close; None closes all."""
    side: Side | None = None
    """Of a close, where the caller gives it: the position's side."""
    content: str = ""
    """Of an operation on several orders or positions: its filters, as a text."""

    def __str__(self) -> str:
        return words(self.operation, self.target)


class OperationRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An operation that is no single order, under its key, as the journal keeps it."""

    client: str
    key: str
    operation: Operation
    target: str | None = None
    content: str = ""
    subjects: tuple[str, ...] | None = None
    """Our ids of the orders to cancel, or the instruments to close; None until they are known."""
    separator: str = "/"
    """Between `key` and its parts; journals from before SEPARATOR have none and mean this one."""
    at: datetime


def words(operation: Operation | None, target: str | None) -> str:
    """An operation in words that follow "to"."""
    return _WORDS[operation or Operation.PLACE].format(target=target or "of an unknown id")


def part_key(record: OperationRecord, part: str) -> str:
    """Client order id of one order of an operation on several."""
    return f"{record.key}{record.separator}{part}"


def made_by(record: OrderRecord) -> tuple[Operation | None, str | None]:
    """Operation and target of an order; None for one of a history before 0.2, which does not tell."""
    request = record.order.request
    if request.operation is not None:
        return request.operation, request.target
    match record.action:
        case OrderAction.CLOSE_POSITION:
            return Operation.CLOSE_POSITION, request.instrument
        case OrderAction.CLOSE_TRADE | OrderAction.REPLACE:
            return Operation(record.action.value), record.target
    # The history keeps orders without the action that made them.
    return (Operation.PLACE, None) if record.client_id else (None, None)


def is_same(record: OrderRecord, asked: Asked, replaced: str | None = None) -> bool:
    """True if a request asks for the same as the record's did; `replaced` is the venue's id of a replaced order."""
    operation, target = made_by(record)
    adopted = record.action is OrderAction.ADOPTED
    if operation is not None and not _is_of(operation, asked.operation, adopted=adopted):
        return False
    if asked.request is None:
        return _is_same_close(record, asked, operation, target)
    if operation is not None and asked.target != target and not (adopted and _may_replace(target, replaced)):
        return False
    held, wanted = record.order.request, asked.request
    if adopted:
        return _is_alike(held, wanted)
    if record.first_texts is not None:
        tag, comment = record.first_texts
        held = replace(held, tag=tag, comment=comment)
    if wanted.type in DEPENDENT:
        # Of the trade, which may be gone or smaller by now.
        wanted = replace(wanted, instrument=held.instrument, side=held.side, units=held.units)
    if operation is Operation.CHANGE_TRADE_ORDERS:
        # Handed on by the order that it replaces; its caller cannot name one.
        wanted = replace(wanted, trigger_condition=held.trigger_condition)
    return _bare(held) == _bare(wanted)


def _is_of(operation: Operation, asked: Operation, *, adopted: bool) -> bool:
    if operation is asked:
        return True
    # The venue's log does not tell these apart.
    pairs = {(Operation.CLOSE_POSITION, Operation.KILL), (Operation.PLACE, Operation.CHANGE_TRADE_ORDERS)}
    return adopted and (operation, asked) in pairs


def _may_replace(target: str | None, replaced: str | None) -> bool:
    """True if an order that was read back as replacing `target` may have replaced the venue's order `replaced`."""
    # Without the replaced order in our books nothing contradicts; the key and the request are the same.
    return replaced is None or target is None or target == f"venue-{replaced}"


def _is_same_close(record: OrderRecord, asked: Asked, operation: Operation | None, target: str | None) -> bool:
    request = record.order.request
    if operation is None and not (
        request.type is OrderType.MARKET and request.position_fill is PositionFill.REDUCE_ONLY
    ):
        return False
    if asked.side is not None and asked.side is request.side:
        return False  # an order that closes goes against the position
    of_trade = asked.operation is Operation.CLOSE_TRADE
    found = target if operation is not None else request.trade_id if of_trade else request.instrument
    if found != asked.target:
        return False
    if request.operation is not None:
        return request.closes_all if asked.units is None else not request.closes_all and request.units == asked.units
    if operation is not None:
        return record.close_units == asked.units
    return asked.units in {None, request.units}


def _is_alike(held: OrderRequest, asked: OrderRequest) -> bool:
    """True if the venue's record of an order fits a request, whose client and exact words the venue does not keep."""
    if asked.type in DEPENDENT:
        parts: tuple[str, ...] = ("type", "trade_id", "price", "distance")
    else:
        parts = ("instrument", "type", "side", "units", "price")
    return all(getattr(held, name) == getattr(asked, name) for name in parts)


def _bare(request: OrderRequest) -> OrderRequest:
    return replace(request, traceparent=None, operation=None, target=None)


def closing_request(asked: Asked, held: Decimal, **given: str | None) -> OrderRequest:
    """A market order against `held` (signed), as much as the caller asks or all of it, and never beyond.

    `given` are the account, instrument, client, client_order_id, trade_id and traceparent.
    """
    return OrderRequest(
        type=OrderType.MARKET,
        side=Side.SELL if held > 0 else Side.BUY,
        units=asked.units if asked.units is not None else abs(held),
        time_in_force=TimeInForce.FOK,
        # The position may shrink while the request is on its way: the rest must not open the other side.
        position_fill=PositionFill.REDUCE_ONLY,
        operation=asked.operation,
        target=asked.target,
        closes_all=asked.units is None,
        **given,  # type: ignore[arg-type] # texts, by name
    )
