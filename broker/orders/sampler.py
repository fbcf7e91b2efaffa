"""The gauges of the order path, on a beat."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from broker.domain import Account, OrderStatus
from broker.events.events import (
    AccountSample,
    CircuitSample,
    OrderSample,
    PositionSample,
    PriceSample,
    QueueSample,
    StreamSample,
    ThrottleSample,
    TradingStateSample,
    TransactionLag,
)
from broker.orders.checks.context import Pretrade
from broker.orders.store.index import IN_FLIGHT, UNRESOLVED
from broker.orders.store.journal_format import TradingState
from broker.orders.store.order_store import Keeper
from broker.venue.rest.circuit_breaker import CircuitState
from broker.venue.rest.client import VenueRest
from broker.venue.streams.line_stream import LineStream
from broker.venue.streams.quote_book import QuoteBook
from broker.venue.streams.transaction_feed import TransactionFeed

Emit = Callable[[tuple[Any, ...]], None]
SAMPLED_BY_DEFAULT = 20


def sample_orders(keeper: Keeper, emit: Emit) -> None:
    """How many orders are where."""
    register = keeper.register
    emit(
        OrderSample(
            in_flight=register.count(IN_FLIGHT),
            unknown=register.count(frozenset({OrderStatus.UNKNOWN})),
            unresolved=register.count(UNRESOLVED),
            open_orders=register.count(frozenset({OrderStatus.PENDING})),
        )
    )
    for state in TradingState:
        emit(TradingStateSample(state=state, holds=int(state is keeper.control.state)))


def sample_circuit(state: CircuitState, emit: Emit) -> None:
    """Whether new orders go through."""
    for item in CircuitState:
        emit(CircuitSample(state=item, holds=int(item is state)))


def sample_account(account: Account, emit: Emit) -> None:
    """The venue's summary."""
    emit(
        AccountSample(
            currency=account.currency,
            balance=float(account.balance),
            nav=float(account.nav),
            margin_used=float(account.margin_used),
            margin_available=float(account.margin_available),
            margin_closeout_ratio=float(account.margin_closeout_ratio),
            open_positions=account.open_positions,
        )
    )


def sample_venue(venue: VenueRest, feed: TransactionFeed, streams: list[LineStream], emit: Emit) -> None:
    """Rate limits, queues and streams."""
    for throttle in (venue.connections.requests, venue.connections.openings):
        emit(ThrottleSample(bucket=throttle.name, tokens=throttle.tokens))
        emit(QueueSample(queue=throttle.name, depth=throttle.depth))
    for stream in streams:
        emit(StreamSample(stream=stream.name, last_message_age_s=stream.silence_s))
    emit(TransactionLag(transactions=feed.lag))


def sample_instruments(keeper: Keeper, book: QuoteBook, names: tuple[str, ...], emit: Emit) -> None:
    """Prices and positions of the instruments that have gauges of their own."""
    now = datetime.now(UTC)
    for name in names:
        emit(PositionSample(instrument=name, units=float(keeper.positions.get(name, 0))))
        if (quote := book.quote(name)) is not None:
            age_s = (now - quote.received_at).total_seconds()
            emit(PriceSample(instrument=name, age_s=age_s, tradeable=int(quote.tradeable)))


def sample_risk(pretrade: Pretrade, account: Account, keeper: Keeper) -> None:
    """Today's profit against the day's first value of the account (UTC), then the limits."""
    today = datetime.now(UTC).date()
    if keeper.control.day != today or keeper.control.day_nav is None:
        keeper.set_control(day=today, day_nav=account.nav)
    pretrade.day_profit = account.nav - (keeper.control.day_nav or account.nav)
    pretrade.sample()
