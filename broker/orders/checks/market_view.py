"""Facts that the pre-trade checks decide by: the market, the account's books, and the limits that are in use."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal

from msgspec import Struct, field

from broker.domain import Instrument, OrderRequest, Quote
from broker.orders.model.exposure import WorkingUnits
from broker.orders.model.trading_state import TradingState
from broker.orders.settings import OrderSettings, RiskLimits


class Usage(Struct, frozen=True, kw_only=True):
    """Orders that work already, of the account or of one client, besides an order that is replaced."""

    open_orders: int = 0
    """Orders that rest, or will rest once what works has filled."""
    order_tokens: float = 1.0
    """Further orders that the rate limit would let through at once."""
    working: WorkingUnits = field(default_factory=WorkingUnits)
    """In the order's instrument."""
    other_exposure: Decimal | None = Decimal(0)
    """Of all other instruments at worst, in the account's currency; None if one of them has no price."""


class MarketView(Struct, frozen=True, kw_only=True):
    """Facts at the moment when an order comes."""

    now: datetime
    state: TradingState
    account: str
    instrument: Instrument | None
    quote: Quote | None
    prices_alive: bool
    """True while the price stream's heartbeats come: a quiet market sends nothing else."""
    circuit_allows: bool = True
    """False while the circuit breaker holds new exposure back, after failures in a row."""
    conversion: Decimal | None
    """From the quote currency to the account's."""
    position: Decimal
    """Signed net units of the instrument."""
    day_profit: Decimal
    """Of this UTC day, realised and unrealised, without transfers."""
    account_usage: Usage = field(default_factory=Usage)
    client_usage: Usage = field(default_factory=Usage)
    twin: bool = False
    """True if the same client sent the same content within the window."""
    closes: bool = False
    """True if the order is sent as a close of a position or trade."""
    margin_available: Decimal | None = None
    """Besides what orders on their way may use; None if it is not known."""
    margin_rate: Decimal = Decimal(0)
    """Of the account; an instrument's own counts if it is stricter."""


Finding = tuple[str, str] | None
"""Reason and message of a denial."""
Rule = Callable[[OrderRequest, MarketView, OrderSettings], Finding]


def limits_in_use(
    request: OrderRequest, market: MarketView, settings: OrderSettings
) -> list[tuple[RiskLimits, Usage, str]]:
    """The account's limits with what it uses, then the client's, if it has any; and whose they are."""
    found = [(settings.account, market.account_usage, "")]
    if (own := settings.clients.get(request.client)) is not None:
        found.append((own, market.client_usage, f" of {request.client}"))
    return found
