"""Pre-trade checks: decide if an order may be sent to the venue. Pure: the market and the books are arguments.

Each check has a name, and a reason that a refusal carries. All run on memory, before any socket write
(RTS 6 article 15: price collars, maximum value, volume and messages, duplicates).

Most checks guard entries. An exit (`is_exit`) passes those, for a limit must not keep risk in the book; if it
would have been refused as an entry, the venue gets it as REDUCE_ONLY, so that it cannot turn the position after all.
`CHECKS` says of each check which of the two it is, and why.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal

from msgspec import Struct

from broker.domain import Operation, OrderRequest, OrderType, PositionFill
from broker.orders.checks import limits, order_form
from broker.orders.checks.market_view import Finding, MarketView, Rule
from broker.orders.model.trading_state import TradingState
from broker.orders.settings import OrderSettings
from broker.venue.v20.order_requests import DEPENDENT


class Denial(Struct, frozen=True, kw_only=True):
    """Reason not to send an order."""

    check: str
    reason: str
    message: str


class Check(Struct, frozen=True):
    """A pre-trade check."""

    rule: Rule
    guards_exits: bool
    """True if an exit is refused by it as well."""
    why: str
    """Reason for which an exit is, or is not."""


def is_exit(request: OrderRequest, position: Decimal, *, closes: bool = False) -> bool:
    """True if all of an order can only reduce: a close, an order of a trade, or one against `position` and within it.

    `closes`: it is sent as a close of a position or trade. An order against the position that is reduce_only may be
    larger: the venue cuts it.
    """
    # A close needs no position of ours: the venue has it, though our books may be behind.
    if closes or request.type in DEPENDENT:
        return True
    if position * request.side.sign >= 0 or request.position_fill is PositionFill.OPEN_ONLY:
        return False
    return request.position_fill is PositionFill.REDUCE_ONLY or request.units <= abs(position)


def check(request: OrderRequest, market: MarketView, settings: OrderSettings) -> Denial | None:
    """The first denial, in the order of CHECKS, or None if the order may go."""
    return _first(request, market, settings, exits_pass=True)


def check_as_entry(request: OrderRequest, market: MarketView, settings: OrderSettings) -> Denial | None:
    """The denial that the order would get if it were no exit."""
    return _first(request, market, settings, exits_pass=False)


def _first(request: OrderRequest, market: MarketView, settings: OrderSettings, *, exits_pass: bool) -> Denial | None:
    # The first denial ends it: its reason is what the caller can act on.
    for name, (rule, guards_exits) in _RULES.items():
        if (found := rule(request, market, settings)) is None:
            continue
        if exits_pass and not guards_exits and is_exit(request, market.position, closes=market.closes):
            continue
        return Denial(check=name, reason=found[0], message=found[1])
    return None


def _account(request: OrderRequest, market: MarketView, _: OrderSettings) -> Finding:
    if request.account != market.account:
        return "ACCOUNT_UNKNOWN", f"account {request.account} is not traded here; this broker trades {market.account}"
    return None


def _halted(request: OrderRequest, market: MarketView, _: OrderSettings) -> Finding:
    if market.state is TradingState.HALTED and request.operation is not Operation.KILL:
        return "TRADING_HALTED", "trading is halted; only cancels are taken"
    return None


def _reducing(request: OrderRequest, market: MarketView, _: OrderSettings) -> Finding:
    if market.state is not TradingState.REDUCING:
        return None
    words = "only orders that reduce a position are taken"
    against = -market.position * request.side.sign
    return "TRADING_REDUCING", f"{words}: here at most {against} units" if against > 0 else words


def _instrument(request: OrderRequest, market: MarketView, _: OrderSettings) -> Finding:
    if market.instrument is None:
        return "INSTRUMENT_UNKNOWN", f"{request.instrument} is no instrument of the account"
    return None


def _tradeable(request: OrderRequest, market: MarketView, _: OrderSettings) -> Finding:
    # Resting orders may be placed while the market is closed; the venue keeps them.
    if request.type is OrderType.MARKET and market.quote is not None and not market.quote.tradeable:
        return "MARKET_HALTED", f"{request.instrument} is not tradeable now"
    return None


def _stale(request: OrderRequest, market: MarketView, settings: OrderSettings) -> Finding:
    # Heartbeats tell a quiet market from a dead stream. Whoever wants more sets an age: a market order trades at any
    # price, so that one beyond it is refused for market orders even while heartbeats come.
    if market.quote is None:
        return "PRICE_UNKNOWN", f"no price of {request.instrument} yet"
    if not market.prices_alive:
        return "PRICE_STALE", "the price stream is silent"
    age_s = (market.now - market.quote.received_at).total_seconds()
    if request.type is OrderType.MARKET and settings.price_age_s and age_s > settings.price_age_s:
        return "PRICE_STALE", f"the price of {request.instrument} is {age_s:.0f} s old"
    return None


def _duplicate(_: OrderRequest, market: MarketView, settings: OrderSettings) -> Finding:
    if market.twin:
        return "DUPLICATE_ORDER", f"the same order came within {settings.duplicate_window_s:g} s under another id"
    return None


def _circuit(_: OrderRequest, market: MarketView, __: OrderSettings) -> Finding:
    if not market.circuit_allows:
        return "CIRCUIT_OPEN", "the venue failed several times in a row; only reducing orders for a moment"
    return None


CHECKS: Mapping[str, Check] = {
    "account": Check(_account, True, "an order for another account closes nothing here"),
    "state": Check(_halted, True, "somebody has stopped everything but cancels"),
    "instrument": Check(_instrument, False, "a position may outlive its instrument's listing; the venue decides"),
    "form": Check(order_form.form, True, "the venue refuses the order as well; correct the field"),
    "precision": Check(order_form.precision, True, "the venue refuses the order as well; correct the field"),
    "size": Check(limits.size, False, "the limit is on what an order adds; the venue has the last word"),
    "reducing": Check(_reducing, False, "the state is made for exits"),
    "position": Check(limits.position, False, "an exit makes the position smaller"),
    "tradeable": Check(_tradeable, False, "the venue decides, for our view of the market may be old"),
    "stale_price": Check(_stale, False, "an exit needs no price of ours"),
    "collar": Check(order_form.collar, True, "a slip in a price costs as much; closes and market orders have none"),
    "protection": Check(order_form.protections, False, "an exit opens no trade to attach anything to"),
    "notional": Check(limits.notional, False, "the limit is on what an order adds"),
    "gross_exposure": Check(limits.gross_exposure, False, "an exit makes the exposure smaller"),
    "margin": Check(limits.margin, False, "an exit frees margin"),
    "open_orders": Check(limits.open_orders, False, "a stop is needed most when many orders rest; the venue counts"),
    "order_rate": Check(limits.order_rate, False, "a burst of entries must not hold an exit back"),
    "duplicate": Check(_duplicate, False, "a second exit cannot open anything"),
    "daily_loss": Check(limits.daily_loss, False, "the limit asks for exits"),
    "circuit": Check(_circuit, False, "a breaker must not keep risk in the book"),
}
"""The checks in their order, each with its part in exits."""
_RULES = {name: (item.rule, item.guards_exits) for name, item in CHECKS.items()}


def outcomes(denial: Denial | None) -> Iterator[tuple[str, str]]:
    """The checks that were made, each `passed` or `denied`; those behind a denial were not."""
    for name in CHECKS:
        if denial is not None and name == denial.check:
            yield name, "denied"
            return
        yield name, "passed"
