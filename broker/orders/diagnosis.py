"""What the order path's conditions are, seen from a tenure and the streams."""

from __future__ import annotations

from broker.domain import OrderStatus
from broker.orders.checks.prices import Prices
from broker.orders.conditions import Conditions
from broker.orders.engine import Tenure
from broker.orders.store.journal_format import TradingState
from broker.venue.streams.line_stream import LineStream
from producer.health import camel_case

TRADING = {TradingState.ACTIVE: "Ready", TradingState.REDUCING: "Reducing", TradingState.HALTED: "Halted"}
"""Reasons of the condition `Trading`."""
UNKNOWN = frozenset({OrderStatus.UNKNOWN, OrderStatus.PRESUMED_ABSENT})


def say_tenure(conditions: Conditions, tenure: Tenure) -> None:
    """The trading state, orders whose outcome is not known, and the journal."""
    control, unknown = tenure.keeper.control, tenure.keeper.register.count(UNKNOWN)
    reason, active = TRADING[control.state], control.state is TradingState.ACTIVE
    conditions.set("Trading", ok=active, reason=reason, message=control.state_reason, advisory=True)
    words = f"{unknown} orders whose outcome is not known" if unknown else ""
    reason = "OutcomeUnknown" if unknown else "Ready"
    conditions.set("Outcomes", ok=not unknown, reason=reason, message=words, advisory=True)
    failure = tenure.journal.failure
    reason = "JournalFailed" if failure else "Ready"
    conditions.set("Journal", ok=failure is None, reason=reason, message=failure or "")


def say_streams(conditions: Conditions, prices: Prices, transactions: LineStream | None, *, waits: bool) -> None:
    """Each stream, and whether a price has come. `waits`: we stand by, so that their absence is no fault."""
    for stream in (prices.stream, transactions):
        if stream is not None:
            fresh = stream.is_alive
            words = "" if fresh else f"the {stream.name} stream is down: {stream.reason}"
            reason = "Ready" if fresh else "StreamDown"
            conditions.set(camel_case(stream.name), ok=fresh, reason=reason, message=words, advisory=waits)
    if prices.stream.is_alive and not prices.book.names():
        words = "the stream is open, no price has come yet"
        conditions.set(camel_case(prices.stream.name), ok=False, reason="NoPrices", message=words)
