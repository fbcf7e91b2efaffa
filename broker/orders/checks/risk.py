"""Pre-trade checks: decide if an order may be sent to the venue. Pure: the market and the books are arguments.

Each check has a name, and a reason that a refusal carries. All run on memory, before any socket write
(RTS 6 article 15: price collars, maximum value, volume and messages, duplicates).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal

from msgspec import Struct, field

from broker.domain import Instrument, Operation, OrderRequest, OrderType, PositionFill, Quote, Side, TimeInForce
from broker.orders.model.trading_state import TradingState
from broker.orders.settings import OrderSettings, RiskLimits
from broker.venue.v20.order_requests import DEPENDENT

DATED = frozenset({TimeInForce.GTD, TimeInForce.GFD})
PRICED = frozenset({OrderType.LIMIT, OrderType.STOP, OrderType.MARKET_IF_TOUCHED, OrderType.TAKE_PROFIT})
"""Orders that need a price."""


class Denial(Struct, frozen=True, kw_only=True):
    """Reason not to send an order."""

    check: str
    reason: str
    message: str


class Usage(Struct, frozen=True, kw_only=True):
    """Open orders, and the number of further orders that the rate limit would let through at once."""

    open_orders: int = 0
    order_tokens: float = 1.0


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
    """Of this UTC day, realised and unrealised."""
    account_usage: Usage = field(default_factory=Usage)
    client_usage: Usage = field(default_factory=Usage)
    twin: bool = False
    """True if the same client sent the same content within the window."""


def is_reducing(request: OrderRequest, position: Decimal) -> bool:
    """True if the order can only make the position smaller: it closes a trade, or goes against it and not beyond."""
    if request.type in DEPENDENT:
        return True
    if position == 0 or request.side.sign * position > 0:
        return False
    return request.position_fill is PositionFill.REDUCE_ONLY or request.units <= abs(position)


def check(request: OrderRequest, market: MarketView, settings: OrderSettings) -> Denial | None:
    """The first denial, in the order of CHECKS, or None if the order may go."""
    # The first denial ends it: its reason is what the caller can act on.
    for name, rule in CHECKS.items():
        if (found := rule(request, market, settings)) is not None:
            return Denial(check=name, reason=found[0], message=found[1])
    return None


Finding = tuple[str, str] | None
Rule = Callable[[OrderRequest, MarketView, OrderSettings], Finding]


def _account(request: OrderRequest, market: MarketView, _: OrderSettings) -> Finding:
    if request.account != market.account:
        return "ACCOUNT_UNKNOWN", f"account {request.account} is not traded here; this broker trades {market.account}"
    return None


def _state(request: OrderRequest, market: MarketView, _: OrderSettings) -> Finding:
    if market.state is TradingState.HALTED and request.operation is not Operation.KILL:
        return "TRADING_HALTED", "trading is halted; only cancels are taken"
    if market.state is TradingState.REDUCING and not is_reducing(request, market.position):
        return "TRADING_REDUCING", "only orders that reduce a position are taken"
    return None


def _instrument(request: OrderRequest, market: MarketView, _: OrderSettings) -> Finding:
    # Orders that depend on a trade have its instrument at the venue, and name none.
    if market.instrument is None and request.type not in DEPENDENT:
        return "INSTRUMENT_UNKNOWN", f"{request.instrument} is no instrument of the account"
    return None


def _form(request: OrderRequest, _: MarketView, __: OrderSettings) -> Finding:
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


def _precision(request: OrderRequest, market: MarketView, _: OrderSettings) -> Finding:
    if market.instrument is None:
        return None
    if _is_finer(request.units, market.instrument.units_precision):
        return "UNITS_PRECISION_EXCEEDED", f"units have at most {market.instrument.units_precision} decimal places"
    legs = [leg for leg in (request.take_profit, request.stop_loss, request.trailing_stop) if leg is not None]
    prices = [request.price, request.price_bound, request.distance]
    prices += [value for leg in legs for value in (leg.price, leg.distance)]
    if any(value is not None and _is_finer(value, market.instrument.display_precision) for value in prices):
        return "PRICE_PRECISION_EXCEEDED", f"prices have at most {market.instrument.display_precision} decimal places"
    return None


def _size(request: OrderRequest, market: MarketView, settings: OrderSettings) -> Finding:
    if request.type in DEPENDENT or market.instrument is None:
        return None
    if request.units < market.instrument.minimum_units:
        return "UNITS_MINIMUM_NOT_MET", f"units must be at least {market.instrument.minimum_units}"
    # The venue would refuse larger ones with UNITS_LIMIT_EXCEEDED, after a round trip.
    limit = _stricter(_limit("units", request, settings), market.instrument.maximum_units)
    if limit and request.units > limit:
        return "UNITS_LIMIT_EXCEEDED", f"units must be at most {limit}"
    return None


def _position(request: OrderRequest, market: MarketView, settings: OrderSettings) -> Finding:
    limit = _limit("position_units", request, settings)
    if not limit or is_reducing(request, market.position):
        return None
    # An order that reduces passes above: a limit that was lowered must not lock a position in.
    after = abs(market.position + request.side.sign * request.units)
    if after > limit:
        return "POSITION_LIMIT_EXCEEDED", f"the position would be {after} units, more than {limit}"
    return None


def _tradeable(request: OrderRequest, market: MarketView, _: OrderSettings) -> Finding:
    # Resting orders may be placed while the market is closed; the venue keeps them.
    if request.type is OrderType.MARKET and market.quote is not None and not market.quote.tradeable:
        return "MARKET_HALTED", f"{request.instrument} is not tradeable now"
    return None


def _stale(request: OrderRequest, market: MarketView, settings: OrderSettings) -> Finding:
    # Heartbeats tell a quiet market from a dead stream. A market order trades at any price, so that an old price is
    # refused for it even while heartbeats come.
    if request.type in DEPENDENT:
        return None
    if market.quote is None:
        return "PRICE_UNKNOWN", f"no price of {request.instrument} yet"
    if not market.prices_alive:
        return "PRICE_STALE", "the price stream is silent"
    age_s = (market.now - market.quote.received_at).total_seconds()
    if request.type is OrderType.MARKET and settings.price_age_s and age_s > settings.price_age_s:
        return "PRICE_STALE", f"the price of {request.instrument} is {age_s:.0f} s old"
    return None


def _collar(request: OrderRequest, market: MarketView, settings: OrderSettings) -> Finding:
    ratio = settings.price_collar_ratio
    prices = [value for value in (request.price, request.price_bound) if value is not None]
    if not ratio or not prices or market.quote is None or request.type in DEPENDENT:
        return None
    # The middle: bid and ask are apart by more than a tight collar when markets are thin.
    middle = (market.quote.bid + market.quote.ask) / 2
    for value in prices:
        if abs(value - middle) > middle * ratio:
            return "PRICE_COLLAR", f"{value} is more than {ratio:%} from the market"
    return None


def _notional(request: OrderRequest, market: MarketView, settings: OrderSettings) -> Finding:
    limit = _limit("notional", request, settings)
    if not limit or request.type in DEPENDENT or is_reducing(request, market.position):
        return None
    if market.quote is None or market.conversion is None:
        return "NOTIONAL_UNKNOWN", "no price or no conversion to the account's currency yet"
    # The worse of the market and the order's own price: a limit can fill at its own.
    price = market.quote.ask if request.side is Side.BUY else market.quote.bid
    value = request.units * max(price, request.price or price) * market.conversion
    if value > limit:
        return "NOTIONAL_LIMIT_EXCEEDED", f"notional is {value:.2f}, more than {limit}"
    return None


def _open_orders(request: OrderRequest, market: MarketView, settings: OrderSettings) -> Finding:
    for limits, usage in _used(request, market, settings):
        if limits.open_orders and usage.open_orders >= limits.open_orders:
            return "OPEN_ORDERS_LIMIT_EXCEEDED", f"{usage.open_orders} orders are open, {limits.open_orders} may be"
    return None


def _rate(request: OrderRequest, market: MarketView, settings: OrderSettings) -> Finding:
    for limits, usage in _used(request, market, settings):
        # Counted when an order goes, not when it comes: denied orders use up no rate.
        if limits.orders_per_s and usage.order_tokens < 1.0:
            return "ORDER_RATE_EXCEEDED", f"more than {limits.orders_per_s:g} orders a second"
    return None


def _duplicate(_: OrderRequest, market: MarketView, settings: OrderSettings) -> Finding:
    if market.twin:
        return "DUPLICATE_ORDER", f"the same order came within {settings.duplicate_window_s:g} s under another id"
    return None


def _circuit(request: OrderRequest, market: MarketView, _: OrderSettings) -> Finding:
    # Reducing orders go all the same: a breaker must not keep risk in the book.
    if not market.circuit_allows and not is_reducing(request, market.position):
        return "CIRCUIT_OPEN", "the venue failed several times in a row; only reducing orders for a moment"
    return None


def _daily_loss(request: OrderRequest, market: MarketView, settings: OrderSettings) -> Finding:
    limit = settings.daily_loss
    if limit and -market.day_profit >= limit and not is_reducing(request, market.position):
        return "DAILY_LOSS_EXCEEDED", f"today's loss is {-market.day_profit}, the limit {limit}; only reducing"
    return None


CHECKS: Mapping[str, Rule] = {
    "account": _account,
    "state": _state,
    "instrument": _instrument,
    "form": _form,
    "precision": _precision,
    "size": _size,
    "position": _position,
    "tradeable": _tradeable,
    "stale_price": _stale,
    "collar": _collar,
    "notional": _notional,
    "open_orders": _open_orders,
    "order_rate": _rate,
    "duplicate": _duplicate,
    "daily_loss": _daily_loss,
    "circuit": _circuit,
}


def outcomes(denial: Denial | None) -> Iterator[tuple[str, str]]:
    """The checks that were made, each `passed` or `denied`; those behind a denial were not."""
    for name in CHECKS:
        if denial is not None and name == denial.check:
            yield name, "denied"
            return
        yield name, "passed"


def _limit(name: str, request: OrderRequest, settings: OrderSettings) -> Decimal:
    """The stricter of the account's limit and the client's."""
    limit: Decimal = getattr(settings.account, name)
    own = settings.clients.get(request.client)
    return limit if own is None else _stricter(limit, getattr(own, name))


def _stricter(one: Decimal, other: Decimal) -> Decimal:
    """The lower of two limits, of which 0 is no limit."""
    return min(one, other) if one and other else one or other


def _used(request: OrderRequest, market: MarketView, settings: OrderSettings) -> list[tuple[RiskLimits, Usage]]:
    found = [(settings.account, market.account_usage)]
    if (own := settings.clients.get(request.client)) is not None:
        found.append((own, market.client_usage))
    return found


def _is_finer(value: Decimal, places: int) -> bool:
    """True if a number has more decimal places than that; zeros at its end do not count."""
    # Most numbers pass here and need no normalize(), which makes a new Decimal.
    if -int(value.as_tuple().exponent) <= places:
        return False
    return -int(value.normalize().as_tuple().exponent) > places
