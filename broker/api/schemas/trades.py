"""Answers that show trades and the orders that protect them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from broker.api.schemas.responses import Number, Time
from broker.domain import TimeInForce, TriggerCondition
from broker.orders.trades import LEGS, ShownTrade
from broker.venue.v20.parse import VenueOrder


class ProtectionView(BaseModel):
    """An order that closes a trade: take-profit, stop or trailing stop."""

    venue_order_id: str
    order_id: str | None = Field(description="The broker's id of the order, where it is known.")
    price: Number | None
    distance: Number | None = Field(description="Of a stop that was given as a distance, and of a trailing stop.")
    time_in_force: TimeInForce
    expires_at: Time | None
    trigger_condition: TriggerCondition
    tag: str | None
    comment: str | None


class TradeView(BaseModel):
    """A trade, with its orders."""

    id: str = Field(description="The venue's id of the trade.", examples=["6397"])
    instrument: str
    state: Literal["open", "closed"]
    units: Number = Field(description="The rest of it. Positive is long, negative short.")
    initial_units: Number
    price: Number
    average_close_price: Number | None
    unrealized_profit: Number
    realized_profit: Number = Field(description="Of the part that is closed.")
    financing: Number
    margin_used: Number
    opened_at: Time
    closed_at: Time | None
    client: str | None = Field(description="Id of the API key whose order opened it, where it is known.")
    order_id: str | None = Field(description="The broker's id of that order, where it is known.")
    take_profit: ProtectionView | None
    stop_loss: ProtectionView | None
    guaranteed_stop_loss: ProtectionView | None
    trailing_stop: ProtectionView | None
    tag: str | None
    comment: str | None


class TradeList(BaseModel):
    """Open trades, the oldest first."""

    trades: list[TradeView]


def trade_view(shown: ShownTrade) -> TradeView:
    """A trade as callers see it."""
    trade = shown.trade
    fields: dict[str, Any] = {name: getattr(trade, name, None) for name in TradeView.model_fields}
    fields |= {name: _protection(getattr(trade, name), shown.order_ids.get(name)) for name in LEGS}
    fields |= {"state": "open" if trade.is_open else "closed", "client": shown.client, "order_id": shown.order_id}
    return TradeView.model_construct(**fields)


def _protection(order: VenueOrder | None, order_id: str | None) -> ProtectionView | None:
    if order is None:
        return None
    names = ("price", "distance", "time_in_force", "expires_at", "trigger_condition", "tag", "comment")
    fields: dict[str, Any] = {name: getattr(order.request, name) for name in names}
    return ProtectionView.model_construct(venue_order_id=order.id, order_id=order_id, **fields)
