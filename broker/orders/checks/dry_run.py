"""Dry run: takes an order through every check up to the socket and does not send it.

Any replica can do it, and so show that it would trade before it owns the account: it asks the venue for the facts
with its own token, so that connection, token and instruments are tried as well. Nothing is written to the journal.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from broker.domain import OrderRequest, Quote
from broker.orders.checks import risk
from broker.orders.model.trading_state import TradingState
from broker.orders.settings import OrderSettings
from broker.venue.rest.client import VenueRest
from broker.venue.v20 import order_requests as order_call

IN_OWNERS_MEMORY = ("order_rate", "duplicate", "daily_loss", "circuit")
"""Checks whose facts only the account's owner has; a dry run leaves them out."""
MARKET_CLOSED = "tradeable"
"""The check that denies while the market is closed."""
NO_CLIENT_ID = "trial"


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRun:
    """Result of a dry run."""

    denial: risk.Denial | None
    checks: tuple[str, ...]
    """The checks that were made, in their order; if there is a denial, the last one denied."""
    not_made: tuple[str, ...]
    """Those behind the denial, and those whose facts only the owner has."""
    quote: Quote | None
    """The venue's price of the instrument just now."""


async def market_now(venue: VenueRest, request: OrderRequest, *, state: TradingState, now: datetime) -> risk.MarketView:
    """The market, asked of the venue now. Raises VenueError: it cannot be asked."""
    known = {item.name: item for item in await venue.instruments()}
    account, (positions, _) = await venue.summary(), await venue.positions()
    names = [request.instrument] if request.instrument in known else []
    quotes, conversions = await venue.pricing(names) if names else ([], {})
    usage = risk.Usage(open_orders=account.open_orders)
    return risk.MarketView(
        now=now,
        state=state,
        account=account.id,
        instrument=known.get(request.instrument),
        quote=next(iter(quotes), None),
        prices_alive=True,
        conversion=conversions.get(request.instrument),
        position=sum((item.units for item in positions if item.instrument == request.instrument), Decimal(0)),
        day_profit=Decimal(0),
        account_usage=usage,
        client_usage=risk.Usage(),
    )


def dry_run(request: OrderRequest, market: risk.MarketView, settings: OrderSettings) -> DryRun:
    """Run the checks, and encode the request for the venue, so that a fault there shows."""
    denial = risk.check(request, market, settings)
    if denial is None:
        order_call.create(request, NO_CLIENT_ID)
    made = tuple(name for name, _ in risk.outcomes(denial) if name not in IN_OWNERS_MEMORY)
    not_made = tuple(name for name in risk.CHECKS if name not in made)
    return DryRun(denial=denial, checks=made, not_made=not_made, quote=market.quote)
