"""Gauges and health conditions of the order path, read from the engine's parts."""

from __future__ import annotations

from datetime import UTC, datetime

from broker.domain import Account, OrderStatus
from broker.events.orders import OrderSample, PositionSample, TradingStateSample
from broker.events.process import QueueSample
from broker.events.venue import AccountSample, CircuitSample, PriceSample, StreamSample, ThrottleSample, TransactionLag
from broker.orders.checks.context import CircuitState
from broker.orders.checks.prices import PriceFeed, QuoteBook
from broker.orders.conditions import BrokerCondition, Conditions
from broker.orders.model.trading_state import TradingState
from broker.orders.store.order_index import IN_FLIGHT, UNRESOLVED
from broker.orders.store.order_store import OrderStore
from broker.venue.rest.client import VenueRest
from broker.venue.settings import VenueSettings
from broker.venue.streams.line_stream import LineStream
from broker.venue.streams.transaction_feed import TransactionFeed
from producer.emitter import Emit

SAMPLED_BY_DEFAULT = 20
"""Instruments with gauges of their own if the settings name none: each is a series in every back end."""
TRADING_REASONS = {TradingState.ACTIVE: "Ready", TradingState.REDUCING: "Reducing", TradingState.HALTED: "Halted"}
"""Reasons of the condition `Trading`."""
LOST = frozenset({OrderStatus.UNKNOWN, OrderStatus.PRESUMED_ABSENT})


def sampled_instruments(settings: VenueSettings, store: OrderStore) -> tuple[str, ...]:
    """Names of the instruments that have gauges of their own."""
    found = settings.sampled_instruments
    return found or (settings.instruments or tuple(sorted(store.instruments)))[:SAMPLED_BY_DEFAULT]


def sample_orders(store: OrderStore, circuit: CircuitState, emit: Emit) -> None:
    """Emit the number of orders by status, the trading state, and the state of the circuit breaker."""
    index = store.index
    emit(
        OrderSample(
            in_flight=index.count(IN_FLIGHT),
            unknown=index.count(frozenset({OrderStatus.UNKNOWN})),
            unresolved=index.count(UNRESOLVED),
            open_orders=index.count(frozenset({OrderStatus.PENDING})),
        )
    )
    for state in TradingState:
        emit(TradingStateSample(state=state, holds=int(state is store.control.state)))
    for item in CircuitState:
        emit(CircuitSample(state=item, holds=int(item is circuit)))


def sample_account(account: Account, emit: Emit) -> None:
    """Emit the venue's summary of the account."""
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
    """Emit rate limits, queues and streams."""
    for throttle in (venue.connections.requests, venue.connections.openings):
        emit(ThrottleSample(bucket=throttle.name, tokens=throttle.tokens))
        emit(QueueSample(queue=throttle.name, depth=throttle.depth))
    for stream in streams:
        emit(StreamSample(stream=stream.name, last_message_age_s=stream.silence_s))
    emit(TransactionLag(transactions=feed.lag))


def sample_instruments(store: OrderStore, book: QuoteBook, names: tuple[str, ...], emit: Emit) -> None:
    """PriceFeed and positions of the instruments that have gauges of their own."""
    now = datetime.now(UTC)
    for name in names:
        emit(PositionSample(instrument=name, units=float(store.positions.get(name, 0))))
        if (quote := book.quote(name)) is not None:
            age_s = (now - quote.received_at).total_seconds()
            emit(PriceSample(instrument=name, age_s=age_s, tradeable=int(quote.tradeable)))


def set_term_conditions(conditions: Conditions, store: OrderStore) -> None:
    """Set the conditions of the trading state, of orders with an unknown outcome, and of the journal."""
    control, lost, failure = store.control, store.index.count(LOST), store.journal.failure or store.journal.refusal
    reason, active = TRADING_REASONS[control.state], control.state is TradingState.ACTIVE
    # Advisory: a halted broker is as ready as an active one; it answers, cancels and reports.
    conditions.set(BrokerCondition.TRADING, ok=active, reason=reason, message=control.state_reason, advisory=True)
    words = f"{lost} orders whose outcome is not known" if lost else ""
    reason = "OutcomeUnknown" if lost else "Ready"
    conditions.set(BrokerCondition.OUTCOMES, ok=not lost, reason=reason, message=words, advisory=True)
    reason = "JournalFailed" if failure else "Ready"
    conditions.set(BrokerCondition.JOURNAL, ok=failure is None, reason=reason, message=failure or "")


def set_stream_conditions(
    conditions: Conditions, prices: PriceFeed, transactions: LineStream | None, *, standby: bool
) -> None:
    """Set a condition for each stream. Of a `standby` their absence is no fault."""
    for name, stream in ((BrokerCondition.PRICES, prices.stream), (BrokerCondition.TRANSACTIONS, transactions)):
        if stream is not None:
            alive = stream.is_alive
            words = "" if alive else f"the {stream.name} stream is down: {stream.reason}"
            reason = "Ready" if alive else "StreamDown"
            conditions.set(name, ok=alive, reason=reason, message=words, advisory=standby)
    if prices.stream.is_alive and not prices.book.names():
        words = "the stream is open, no price has come yet"
        conditions.set(BrokerCondition.PRICES, ok=False, reason="NoPrices", message=words)
