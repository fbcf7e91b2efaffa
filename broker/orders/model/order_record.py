"""An order with the facts needed to follow it: the request to the venue, and the place in its log to search from."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from broker.domain import Order, OrderRequest, OrderStatus


class OrderAction(StrEnum):
    """Request that makes the order at the venue."""

    CREATE = "create"
    REPLACE = "replace"
    CLOSE_POSITION = "close_position"
    CLOSE_TRADE = "close_trade"
    ADOPTED = "adopted"
    """None of ours: found at the venue."""


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
        order = replace(self.order, status=status, reason=reason, message=message, updated_at=now)
        return replace(self, order=order)


def is_same(record: OrderRecord, request: OrderRequest) -> bool:
    """True if a request asks for the same as the record's did."""
    held = record.order.request
    if record.action is not OrderAction.ADOPTED:
        return replace(held, traceparent=None) == replace(request, traceparent=None)
    # Read back from the venue, which keeps neither the client nor the exact wording of a request.
    parts = ("instrument", "type", "side", "units", "price")
    return all(getattr(held, name) == getattr(request, name) for name in parts)


def is_same_close(
    record: OrderRecord, *, instrument: str | None, trade_id: str | None, units: Decimal | None
) -> bool:
    """True if a close asks for the same as the record's did, whatever the position is by now."""
    request = record.order.request
    is_of_target = trade_id in {request.trade_id, record.target} if trade_id else request.instrument == instrument
    closed = record.close_units if record.action in CLOSES else None
    return is_of_target and units in {closed, request.units if units is not None else closed}
