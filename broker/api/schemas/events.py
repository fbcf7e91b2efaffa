"""Data of the events of `/v1/events`, besides orders, prices and the account, which are as their routes show them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, Field

from broker.api.schemas.history import PastTransaction
from broker.venue.v20.transactions import parse_time

_MISSING = "Changes before this event are missing here: read /v1/orders and /v1/history."


class GapView(BaseModel):
    """Changes since Last-Event-ID are not in the broker's journal."""

    reason: str = Field(description="discarded if they are too old, unknown if the id is not of this journal.")
    detail: str = _MISSING


class MissedView(BaseModel):
    """Prices and summaries of the account that were dropped because the reader was slow."""

    count: int


class StateChangeView(BaseModel):
    """The trading state; it may be the same as before."""

    state: str
    actor: str = Field(description="Id of the API key that set it, or broker.")
    reason: str


def transaction_view(raw: Mapping[str, Any]) -> PastTransaction:
    """A transaction of the venue's log as callers see it."""
    return PastTransaction.model_construct(
        id=int(raw["id"]),
        type=str(raw.get("type", "UNKNOWN")),
        instrument=raw.get("instrument"),
        time=parse_time(raw["time"]) if "time" in raw else None,
        transaction=dict(raw),
    )
