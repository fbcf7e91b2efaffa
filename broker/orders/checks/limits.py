"""Checks against limits: of an order, of a position, of the account. What rests and what is on its way counts. Pure."""

from __future__ import annotations

from decimal import Decimal

from broker.domain import OrderRequest, Quote, Side
from broker.orders.checks.market_view import Finding, MarketView, limits_in_use
from broker.orders.model.exposure import ZERO, WorkingUnits, resting_orders, units_to_open
from broker.orders.settings import OrderSettings


def size(request: OrderRequest, market: MarketView, settings: OrderSettings) -> Finding:
    """Units are within the instrument's bounds and the limits."""
    if market.instrument is None:
        return None
    if request.units < market.instrument.minimum_units:
        return "UNITS_MINIMUM_NOT_MET", f"units must be at least {market.instrument.minimum_units}"
    # The venue would refuse larger ones with UNITS_LIMIT_EXCEEDED, after a round trip.
    limit = _stricter(_limit("units", request, settings), market.instrument.maximum_units)
    if limit and request.units > limit:
        return "UNITS_LIMIT_EXCEEDED", f"units must be at most {limit}"
    return None


def position(request: OrderRequest, market: MarketView, settings: OrderSettings) -> Finding:
    """The position stays within its limit even if all that works fills."""
    for limits, usage, whose in limits_in_use(request, market, settings):
        if not limits.position_units:
            continue
        opens = units_to_open(request, market.position, usage.working)
        after = usage.working.worst(market.position, request.side) + opens
        if opens and after > limits.position_units:
            held, works = max(market.position * request.side.sign, ZERO), usage.working.opening(request.side)
            parts = f"{held} held, {works} resting or on their way, {opens} of this order"
            words = f"the position could become {after} units ({parts}), more than {limits.position_units}{whose}"
            return "POSITION_LIMIT_EXCEEDED", words
    return None


def notional(request: OrderRequest, market: MarketView, settings: OrderSettings) -> Finding:
    """The order's worth is within the limit."""
    limit = _limit("notional", request, settings)
    if not limit:
        return None
    if market.quote is None or market.conversion is None:
        return "NOTIONAL_UNKNOWN", "no price or no conversion to the account's currency yet"
    value = request.units * _price(request, market.quote) * market.conversion
    if value > limit:
        return "NOTIONAL_LIMIT_EXCEEDED", f"notional is {value:.2f}, more than {limit}"
    return None


def gross_exposure(request: OrderRequest, market: MarketView, settings: OrderSettings) -> Finding:
    """All positions together stay within their limit even if all that works fills."""
    for limits, usage, whose in limits_in_use(request, market, settings):
        if not limits.gross_exposure:
            continue
        before = usage.working.widest(market.position)
        added = _widening(request, market.position, usage.working, before)
        if not added:
            continue
        if market.quote is None or market.conversion is None or usage.other_exposure is None:
            words = "an instrument with a position or a working order has no price or no conversion"
            return "GROSS_EXPOSURE_UNKNOWN", f"{words}: add it to venue.instruments"
        own = before * market.quote.ask + added * _price(request, market.quote)
        value = usage.other_exposure + own * market.conversion
        if value > limits.gross_exposure:
            words = f"positions and what rests or is on its way could be worth {value:.2f}"
            return "GROSS_EXPOSURE_EXCEEDED", f"{words}, more than {limits.gross_exposure}{whose}"
    return None


def margin(request: OrderRequest, market: MarketView, _: OrderSettings) -> Finding:
    """The account has the margin that the order needs. An unknown one is the venue's to judge."""
    available, instrument = market.margin_available, market.instrument
    if available is None or instrument is None or market.quote is None or market.conversion is None:
        return None
    # Netted, as the venue does: units against the position need none.
    opens = request.units - max(ZERO, -market.position * request.side.sign)
    if opens <= 0:
        return None
    rate = max(instrument.margin_rate, market.margin_rate)
    needed = opens * _price(request, market.quote) * market.conversion * rate
    if needed > available:
        words = f"margin of {needed:.2f} is needed, {available:.2f} is available besides orders on their way"
        return "INSUFFICIENT_MARGIN", words
    return None


def open_orders(request: OrderRequest, market: MarketView, settings: OrderSettings) -> Finding:
    """Few enough orders rest, or will."""
    # None of a market order without protections: it trades or ends at once.
    if not (more := resting_orders(request)):
        return None
    for limits, usage, whose in limits_in_use(request, market, settings):
        if limits.open_orders and usage.open_orders + more > limits.open_orders:
            words = f"{usage.open_orders} orders rest or will{whose}, with this one {usage.open_orders + more}"
            return "OPEN_ORDERS_LIMIT_EXCEEDED", f"{words}; {limits.open_orders} may"
    return None


def order_rate(request: OrderRequest, market: MarketView, settings: OrderSettings) -> Finding:
    """Orders come slowly enough."""
    for limits, usage, _ in limits_in_use(request, market, settings):
        # Counted when an order goes, not when it comes: denied orders use up no rate.
        if limits.orders_per_s and usage.order_tokens < 1.0:
            return "ORDER_RATE_EXCEEDED", f"more than {limits.orders_per_s:g} orders a second"
    return None


def daily_loss(_: OrderRequest, market: MarketView, settings: OrderSettings) -> Finding:
    """The day's loss is within the limit."""
    limit = settings.daily_loss
    if limit and -market.day_profit >= limit:
        return "DAILY_LOSS_EXCEEDED", f"today's loss is {-market.day_profit}, the limit {limit}; only reducing"
    return None


def _widening(request: OrderRequest, held: Decimal, working: WorkingUnits, before: Decimal) -> Decimal:
    """Units by which an order widens the largest position that an instrument can come to."""
    opens = units_to_open(request, held, working)
    return max(ZERO, working.worst(held, request.side) + opens - before) if opens else ZERO


def _price(request: OrderRequest, quote: Quote) -> Decimal:
    """The worse of the market and the order's own price: a limit can fill at its own."""
    price = quote.ask if request.side is Side.BUY else quote.bid
    return max(price, request.price or price)


def _limit(name: str, request: OrderRequest, settings: OrderSettings) -> Decimal:
    """The stricter of the account's limit and the client's."""
    limit: Decimal = getattr(settings.account, name)
    own = settings.clients.get(request.client)
    return limit if own is None else _stricter(limit, getattr(own, name))


def _stricter(one: Decimal, other: Decimal) -> Decimal:
    """The lower of two limits, of which 0 is no limit."""
    return min(one, other) if one and other else one or other
