"""Dry run: takes an order through every check up to the socket and does not send it.

Any replica can do it, and so show that it would trade before it owns the account: it asks the venue for the facts
with its own token, so that connection, token and instruments are tried as well. Nothing is written to the journal.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from broker.domain import Order, OrderRequest, OrderStatus, Quote
from broker.orders.checks import risk
from broker.orders.checks.market_view import MarketView, Usage
from broker.orders.model.exposure import ACCOUNT, ExposureBook, gross_worth
from broker.orders.model.lifecycle import OrderRecord
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


async def market_now(
    venue: VenueRest, request: OrderRequest, *, state: TradingState, now: datetime, settings: OrderSettings
) -> MarketView:
    """The market, asked of the venue now. Raises VenueError: it cannot be asked."""
    known = {item.name: item for item in await venue.instruments()}
    account, (positions, _), (orders, _) = await venue.summary(), await venue.positions(), await venue.pending_orders()
    held = {item.instrument: item.units for item in positions}
    book = ExposureBook()
    for item in orders:
        resting = Order(
            id=item.id, request=item.request, status=OrderStatus.PENDING, created_at=item.time, updated_at=now
        )
        book.add(OrderRecord(order=resting, client_id="", checkpoint=0))
    names = sorted({request.instrument, *held, *book.instruments()} & known.keys())
    quotes, conversions = await venue.pricing(names) if names else ([], {})
    prices = {quote.instrument: quote for quote in quotes}
    worth = {name: quote.ask * conversions[name] for name, quote in prices.items() if name in conversions}
    usage = Usage(
        open_orders=account.open_orders,
        working=book.of(request.instrument),
        other_exposure=gross_worth(book, ACCOUNT, held, worth.get, besides=request.instrument),
    )
    return MarketView(
        now=now,
        state=state,
        account=account.id,
        instrument=known.get(request.instrument),
        quote=prices.get(request.instrument),
        prices_alive=True,
        conversion=conversions.get(request.instrument),
        position=held.get(request.instrument, Decimal(0)),
        day_profit=Decimal(0),
        account_usage=usage,
        client_usage=Usage(),
        margin_available=account.margin_available if settings.margin_check else None,
        margin_rate=account.margin_rate,
    )


def dry_run(request: OrderRequest, market: MarketView, settings: OrderSettings) -> DryRun:
    """Run the checks, and encode the request for the venue, so that a fault there shows."""
    denial = risk.check(request, market, settings)
    if denial is None:
        order_call.create(request, NO_CLIENT_ID)
    made = tuple(name for name, _ in risk.outcomes(denial) if name not in IN_OWNERS_MEMORY)
    not_made = tuple(name for name in risk.CHECKS if name not in made)
    return DryRun(denial=denial, checks=made, not_made=not_made, quote=market.quote)
