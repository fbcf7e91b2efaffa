"""Checks of an order by itself and against the market's price: its fields, its digits, its prices. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from broker.domain import OrderRequest, OrderType, Protection, Quote, Side, TimeInForce
from broker.orders.checks.market_view import Finding, MarketView
from broker.orders.settings import OrderSettings
from broker.venue.v20.order_requests import DEPENDENT

DATED = frozenset({TimeInForce.GTD, TimeInForce.GFD})
PRICED = frozenset({OrderType.LIMIT, OrderType.STOP, OrderType.MARKET_IF_TOUCHED, OrderType.TAKE_PROFIT})
"""Orders that need a price."""


def form(request: OrderRequest, _: MarketView, __: OrderSettings) -> Finding:
    """The fields fit the type."""
    kind = request.type
    if kind is OrderType.MARKET and request.time_in_force in DATED:
        return "TIME_IN_FORCE_INVALID", "a market order is fok or ioc"
    if kind in DEPENDENT and request.trade_id is None:
        return "TRADE_ID_UNSPECIFIED", f"a {kind} order needs trade_id"
    if kind in PRICED:
        if request.price is None:
            return "PRICE_UNSPECIFIED", f"a {kind} order needs price"
    elif kind in DEPENDENT and request.price is None and request.distance is None:
        return "PRICE_DISTANCE_UNSPECIFIED", f"a {kind} order needs price or distance"
    if request.time_in_force is TimeInForce.GTD and request.expires_at is None:
        return "TIME_IN_FORCE_GTD_TIMESTAMP_MISSING", "gtd needs expires_at"
    return None


def precision(request: OrderRequest, market: MarketView, _: OrderSettings) -> Finding:
    """Units and prices have no more digits than the venue takes."""
    if market.instrument is None:
        return None
    if _is_finer(request.units, market.instrument.units_precision):
        return "UNITS_PRECISION_EXCEEDED", f"units have at most {market.instrument.units_precision} decimal places"
    prices = [request.price, request.price_bound, request.distance]
    prices += [value for _, leg in _attached(request) for value in (leg.price, leg.distance)]
    if any(value is not None and _is_finer(value, market.instrument.display_precision) for value in prices):
        return "PRICE_PRECISION_EXCEEDED", f"prices have at most {market.instrument.display_precision} decimal places"
    return None


def collar(request: OrderRequest, market: MarketView, settings: OrderSettings) -> Finding:
    """Prices of the order are near the market."""
    # Stops and targets lie further away than entries do, attached or placed later.
    ratio = settings.protection_collar_ratio if request.type in DEPENDENT else settings.price_collar_ratio
    prices = [value for value in (request.price, request.price_bound) if value is not None]
    # Of a silent stream the price may be long past: an exit must not be measured by it.
    if not ratio or not prices or market.quote is None or not market.prices_alive:
        return None
    middle = _middle(market.quote)
    for value in prices:
        if abs(value - middle) > middle * ratio:
            return "PRICE_COLLAR", f"{value} is more than {ratio:%} from the market"
    return None


def protections(request: OrderRequest, market: MarketView, settings: OrderSettings) -> Finding:
    """Attached stops and targets are on their side of the price, and near enough to trigger at all."""
    for name, leg in _attached(request):
        if (found := _protection(name, leg, request, market, settings.protection_collar_ratio)) is not None:
            return found
    return None


def _protection(name: str, leg: Protection, request: OrderRequest, market: MarketView, ratio: Decimal) -> Finding:
    if leg.distance is not None and leg.distance <= 0:
        return "PROTECTION_DISTANCE_INVALID", f"{name}.distance must be above 0"
    if market.quote is None:
        return None
    # A resting order fills at its own price or near it, the others at the market's.
    middle, quote = request.price or _middle(market.quote), market.quote
    low, high = (request.price or quote.bid), (request.price or quote.ask)
    if leg.distance is not None and leg.distance >= middle:
        return "PROTECTION_DISTANCE_INVALID", f"{name}.distance must be below the price, {middle}"
    if leg.price is not None and name != "trailing_stop":
        is_above = (request.side is Side.BUY) == (name == "take_profit")
        # Between bid and ask the venue decides.
        if leg.price <= low if is_above else leg.price >= high:
            side = "above" if is_above else "below"
            words = f"{name}.price of a {request.side} must be {side} {middle}, not {leg.price}"
            return f"{name.upper()}_ON_FILL_LOSS", words
    away = leg.distance if leg.price is None else abs(leg.price - middle)
    if ratio and away is not None and away > middle * ratio:
        field = "distance" if leg.price is None else "price"
        return "PRICE_COLLAR", f"{name}.{field} is more than {ratio:%} from the price, {middle}"
    return None


def _attached(request: OrderRequest) -> Iterator[tuple[str, Protection]]:
    if request.take_profit is not None:
        yield "take_profit", request.take_profit
    if request.stop_loss is not None:
        yield "stop_loss", request.stop_loss
    if request.trailing_stop is not None:
        yield "trailing_stop", request.trailing_stop


def _middle(quote: Quote) -> Decimal:
    # Bid and ask are apart by more than a tight collar when markets are thin.
    return (quote.bid + quote.ask) / 2


def _is_finer(value: Decimal, places: int) -> bool:
    """True if a number has more decimal places than that; zeros at its end do not count."""
    # Most numbers pass here and need no normalize(), which makes a new Decimal.
    if -int(value.as_tuple().exponent) <= places:
        return False
    return -int(value.normalize().as_tuple().exponent) > places
