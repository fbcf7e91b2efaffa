"""An order with what we need to follow it: what was asked of the venue, and from where its log is to be read."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from broker.domain import Order, OrderRequest, OrderStatus


class Action(StrEnum):
    """Which request makes the order at the venue."""

    CREATE = "create"
    REPLACE = "replace"
    CLOSE_POSITION = "close_position"
    CLOSE_TRADE = "close_trade"
    ADOPTED = "adopted"
    """None of ours: found at the venue."""


class Entry(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One order in the journal and in memory."""

    order: Order
    client_id: str
    """At the venue: `clientExtensions.id`."""
    checkpoint: int
    """The venue's last transaction id that we knew before sending: the order can only be behind it."""
    action: Action = Action.CREATE
    target: str | None = None
    """Venue order id that is replaced, or trade id that is closed."""
    close_units: Decimal | None = None
    """Of a close: how much; none is all."""
    refused_code: int | None = None
    """The HTTP status of a refusal that is still to be confirmed in the log (429)."""

    @property
    def id(self) -> str:
        """Our order id."""
        return self.order.id

    @property
    def status(self) -> OrderStatus:
        """Where the order stands."""
        return self.order.status

    @property
    def key(self) -> tuple[str, str]:
        """Caller and the caller's id."""
        return (self.order.request.client, self.order.request.client_order_id)

    def moved(
        self, status: OrderStatus, now: datetime, *, reason: str | None = None, message: str | None = None
    ) -> Entry:
        """The entry at another status."""
        order = replace(self.order, status=status, reason=reason, message=message, updated_at=now)
        return replace(self, order=order)


def is_same(entry: Entry, request: OrderRequest) -> bool:
    """Whether a request asks for what the entry's did. Of an adopted order only what the venue keeps is compared."""
    held = entry.order.request
    if entry.action is not Action.ADOPTED:
        return replace(held, traceparent=None) == replace(request, traceparent=None)
    parts = ("instrument", "type", "side", "units", "price")
    return all(getattr(held, name) == getattr(request, name) for name in parts)
