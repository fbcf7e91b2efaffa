"""Label values that every counter of the broker begins with: at zero, so that a rate sees the first of each.

Where a label's set is open (the venue's reasons), the ones named here are those that alerts and objectives ask for.
"""

from __future__ import annotations

from itertools import product

from broker.domain import OrderStatus

Presets = tuple[tuple[str, ...], ...]


def each(*values: str) -> Presets:
    """One label, with each of these values."""
    return tuple((value,) for value in values)


STATUSES = each(*map(str, OrderStatus))
SIDES = ("buy", "sell")
FILLS: Presets = tuple(product(SIDES, ("false", "true")))
UNITS: Presets = tuple(product(SIDES, ("CURRENCY", "CFD", "METAL")))
REJECTS: Presets = tuple(product(("OTHER",), ("risk", "venue")))
CANCELS = each("OTHER", "CLIENT_REQUEST", "INSUFFICIENT_MARGIN", "MARKET_HALTED", "TIME_IN_FORCE_EXPIRED")
RESOLUTIONS = each("filled", "pending", "cancelled", "rejected", "presumed_absent", "adopted")
DUPLICATES = each("replayed", "refused")
OPERATIONS = each(
    "create_order", "cancel_order", "replace_order", "close_position", "close_trade",
    "account_summary", "account_instruments", "pricing", "open_positions", "open_trades", "pending_orders",
    "transactions_since",
)  # fmt: skip
ERRORS = each(
    "answer_lost", "not_authorized", "not_sent", "rate_limited", "refused", "unreadable", "venue_failed", "withheld"
)
STREAMS = ("prices", "transactions")
CHANNELS = each("rest", *STREAMS)
RECONNECTS: Presets = tuple(product(STREAMS, ("connection_lost", "silent", "closed_by_venue")))
MISMATCHES = each("order", "foreign_order", "position", "balance", "trade")
RECONCILES = each("ok", "mismatch", "moving", "failed")
DRAINS = each("complete", "deadline")
RELOADS = each("applied", "rejected")
CHECK_NAMES = (
    "account", "state", "instrument", "form", "precision", "size", "position", "tradeable", "stale_price",
    "collar", "notional", "open_orders", "order_rate", "duplicate", "daily_loss", "circuit",
)  # fmt: skip
CHECKS: Presets = tuple(product(CHECK_NAMES, ("passed", "denied")))
