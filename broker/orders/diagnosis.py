"""What the order path's conditions are, seen from a tenure and the streams."""

from __future__ import annotations

from broker.domain import OrderStatus
from broker.orders.checks.prices import Prices
from broker.orders.conditions import BrokerCondition, Conditions
from broker.orders.engine import Tenure
from broker.orders.store.journal_format import TradingState
from broker.venue.streams.line_stream import LineStream

TRADING = {TradingState.ACTIVE: "Ready", TradingState.REDUCING: "Reducing", TradingState.HALTED: "Halted"}
"""Reasons of the condition `Trading`."""
UNKNOWN = frozenset({OrderStatus.UNKNOWN, OrderStatus.PRESUMED_ABSENT})


def say_tenure(conditions: Conditions, tenure: Tenure) -> None:
    """The trading state, orders whose outcome is not known, and the journal."""
    control, unknown = tenure.keeper.control, tenure.keeper.register.count(UNKNOWN)
    reason, active = TRADING[control.state], control.state is TradingState.ACTIVE
    conditions.set(BrokerCondition.TRADING, ok=active, reason=reason, message=control.state_reason, advisory=True)
    words = f"{unknown} orders whose outcome is not known" if unknown else ""
    reason = "OutcomeUnknown" if unknown else "Ready"
    conditions.set(BrokerCondition.OUTCOMES, ok=not unknown, reason=reason, message=words, advisory=True)
    failure = tenure.journal.failure
    reason = "JournalFailed" if failure else "Ready"
    conditions.set(BrokerCondition.JOURNAL, ok=failure is None, reason=reason, message=failure or "")


def say_streams(conditions: Conditions, prices: Prices, transactions: LineStream | None, *, waits: bool) -> None:
    """Each stream, and whether a price has come. `waits`: we stand by, so that their absence is no fault."""
    for name, stream in ((BrokerCondition.PRICES, prices.stream), (BrokerCondition.TRANSACTIONS, transactions)):
        if stream is not None:
            fresh = stream.is_alive
            words = "" if fresh else f"the {stream.name} stream is down: {stream.reason}"
            reason = "Ready" if fresh else "StreamDown"
            conditions.set(name, ok=fresh, reason=reason, message=words, advisory=waits)
    if prices.stream.is_alive and not prices.book.names():
        words = "the stream is open, no price has come yet"
        conditions.set(BrokerCondition.PRICES, ok=False, reason="NoPrices", message=words)
