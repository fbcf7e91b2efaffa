"""Rows of the history as callers see them, and pages of rows. Files have the columns in the order of the fields."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from broker.api.schemas.responses import Number, Time
from broker.domain import OrderStatus, OrderType, Side

NEXT = Field(description="Cursor of the next page; null at the end.")


class PastOrder(BaseModel):
    """An order at its last known status."""

    id: str
    client: str
    client_order_id: str
    instrument: str
    type: OrderType
    side: Side
    status: OrderStatus
    reason: str | None
    units: Number
    filled_units: Number
    average_price: Number | None
    venue_order_id: str | None
    created_at: Time
    updated_at: Time


class PastFill(BaseModel):
    """One trade that an order made."""

    transaction_id: str
    order_id: str
    instrument: str
    side: Side
    units: Number
    price: Number
    profit: Number
    half_spread_cost: Number
    time: Time


class PastTransaction(BaseModel):
    """A transaction of the venue's log; `transaction` is the venue's own object."""

    id: int
    type: str
    instrument: str | None
    time: Time | None
    transaction: dict[str, Any]


class PastOrders(BaseModel):
    """A page of orders."""

    orders: list[PastOrder]
    next: str | None = NEXT


class PastFills(BaseModel):
    """A page of fills."""

    fills: list[PastFill]
    next: str | None = NEXT


class PastTransactions(BaseModel):
    """A page of transactions."""

    transactions: list[PastTransaction]
    next: str | None = NEXT
