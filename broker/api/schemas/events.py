"""Events of `/v1/events` as callers see them: orders, prices and the account as their routes show them, and others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, Field

from broker.api.schemas.history import PastTransaction
from broker.api.schemas.responses import AccountView, OrderView, PriceView, account_view, order_view, rfc3339_ns, view
from broker.domain import Account, Quote
from broker.orders.event_stream import Begun, Gap, Streamed
from broker.orders.store.journal import JournalMark
from broker.orders.store.tail import Change
from broker.orders.updates import Missed
from broker.venue.v20.transactions import parse_time_ns

_MISSING = "Changes before this event are missing here: read /v1/orders and /v1/history."


KINDS = ("order", "price", "transaction", "account", "state")


class GapView(BaseModel):
    """Changes since Last-Event-ID are not in the broker's journal."""

    reason: str = Field(
        description="discarded: they are too old. unknown: the id is not of this journal. unreadable: the volume fails."
    )
    detail: str = _MISSING


class MissedView(BaseModel):
    """Prices and summaries of the account that were dropped because the reader was slow."""

    count: int


class StateChangeView(BaseModel):
    """The trading state; it may be the same as before."""

    state: str
    actor: str = Field(description="Id of the API key that set it, or broker.")
    reason: str


EVENTS: Mapping[str, type[BaseModel]] = {
    "order": OrderView,
    "price": PriceView,
    "transaction": PastTransaction,
    "account": AccountView,
    "state": StateChangeView,
    "gap": GapView,
    "missed": MissedView,
}
"""The `data` of each event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """Events that a reader asks for; None is all."""

    kinds: frozenset[str]
    instruments: frozenset[str] | None = None
    client: str | None = None
    """Of orders only."""

    def wants(self, kind: str, instrument: str | None = None, client: str | None = None) -> bool:
        """True if an event of this kind is asked for; one without an instrument concerns all of them."""
        if kind not in self.kinds or (client is not None and self.client not in {None, client}):
            return False
        return self.instruments is None or instrument is None or instrument in self.instruments


def transaction_view(raw: Mapping[str, Any]) -> PastTransaction:
    """A transaction of the venue's log as callers see it."""
    return PastTransaction.model_construct(
        id=int(raw["id"]),
        type=str(raw.get("type", "UNKNOWN")),
        instrument=raw.get("instrument"),
        time=rfc3339_ns(parse_time_ns(raw["time"])) if "time" in raw else None,
        transaction=dict(raw),
    )


def place_of(update: Streamed) -> JournalMark | None:
    """Place in the journal after an update; None if it has none."""
    if isinstance(update, Begun | Gap):
        return update.mark
    return update.mark if isinstance(update, Change) and update.position else None


def event_of(update: Streamed, wanted: EventFilter, environment: str = "") -> str | None:
    """The event's text without its id, or None for one that was not asked for."""
    if isinstance(update, Begun):
        return "\n"  # an id alone: browsers keep it and tell nobody
    found = _change(update, wanted) if isinstance(update, Change) else _live(update, wanted, environment)
    return f"event: {found[0]}\ndata: {found[1].model_dump_json()}\n\n" if found is not None else None


def _live(update: Streamed, wanted: EventFilter, environment: str) -> tuple[str, BaseModel] | None:
    match update:
        case Gap():
            return "gap", GapView.model_construct(reason=update.reason)
        case Missed():
            return "missed", MissedView.model_construct(count=update.count)
        case Quote() if wanted.wants("price", update.instrument):
            return "price", view(PriceView, update)
        case Account() if wanted.wants("account"):
            return "account", account_view(update, environment)
        case _:
            return None


def _change(change: Change, wanted: EventFilter) -> tuple[str, BaseModel] | None:
    order, raw, control = change.order, change.transaction, change.control
    if order is not None and wanted.wants("order", order.request.instrument, order.request.client):
        return "order", order_view(order)
    if raw is not None and wanted.wants("transaction", raw.get("instrument")):
        return "transaction", transaction_view(raw)
    if control is not None and wanted.wants("state"):
        return "state", StateChangeView.model_construct(
            state=control.state, actor=control.state_actor, reason=control.state_reason
        )
    return None
