"""Every event that the broker emits: one named tuple a type, declared in `catalogue`."""

from __future__ import annotations

from typing import NamedTuple


class OrderTransition(NamedTuple):
    """An order reached a status."""

    status: str
    order_type: str
    side: str
    instrument: str
    units: str
    price: str | None
    order_id: str
    client_order_id: str
    venue_order_id: str | None
    reason: str | None
    duration_s: float | None
    """From the API's receipt to this status; only where the caller is answered with it."""


class OrderStage(NamedTuple):
    """A stage of the order path ended: validate, risk, journal, throttle, http, parse."""

    stage: str
    duration_s: float


class OrderAcknowledged(NamedTuple):
    """The venue answered a submission."""

    order_type: str
    latency_s: float


class OrderFilled(NamedTuple):
    """An order traded."""

    side: str
    order_type: str
    asset_class: str
    partial: str
    """`true` or `false`."""
    order_id: str
    client_order_id: str
    instrument: str
    transaction_id: str
    price: str
    units: float
    profit: str
    half_spread_cost: float
    slippage_pips: float | None
    latency_s: float | None
    """From the API's receipt to the fill; none where the order rested."""


class OrderRefused(NamedTuple):
    """An order was denied by risk or rejected by the venue."""

    reason: str
    source: str
    """`risk` or `venue`."""
    order_id: str
    client_order_id: str
    instrument: str
    message: str | None


class OrderCancelled(NamedTuple):
    """An order ended without a trade, or its rest was cancelled."""

    reason: str
    order_id: str
    client_order_id: str
    instrument: str


class CancelAnswered(NamedTuple):
    """The venue answered a request to cancel."""

    outcome: str
    duration_s: float


class UnknownResolved(NamedTuple):
    """The true outcome of an order whose answer was lost is known."""

    result: str
    order_id: str
    duration_s: float


class DuplicateRequest(NamedTuple):
    """A client order id was seen before: replayed or refused."""

    action: str
    client_order_id: str


class OrderSample(NamedTuple):
    """Gauges of the order book, on a beat and on a change."""

    in_flight: int
    unknown: int
    unresolved: int
    open_orders: int


class AccountSample(NamedTuple):
    """Gauges of the account, after each summary."""

    currency: str
    balance: float
    nav: float
    margin_used: float
    margin_available: float
    margin_closeout_ratio: float
    open_positions: int


class ApiRequest(NamedTuple):
    """The venue answered a request, or did not."""

    operation: str
    status_class: str
    """`2xx` … `5xx`, or `none` where no answer came."""
    duration_s: float


class ApiError(NamedTuple):
    """A request to the venue failed."""

    error_type: str
    operation: str
    status: int | None
    request_id: str | None
    message: str | None


class ApiRetry(NamedTuple):
    """A read from the venue is tried again."""

    operation: str


class ThrottleWait(NamedTuple):
    """A request waited for the venue's rate limit."""

    bucket: str
    wait_s: float


class ThrottleSample(NamedTuple):
    """What is left of a rate limit."""

    bucket: str
    tokens: float


class TooManyRequests(NamedTuple):
    """The venue answered 429."""

    operation: str


class ConnectionStatus(NamedTuple):
    """A channel to the venue is up (1) or down (0): rest, prices, transactions."""

    channel: str
    up: int
    reason: str | None


class ConnectionOpened(NamedTuple):
    """A connection to the venue was opened."""

    channel: str


class StreamSample(NamedTuple):
    """Age of the last message of a stream."""

    stream: str
    last_message_age_s: float


class StreamReconnected(NamedTuple):
    """A stream was opened again."""

    stream: str
    cause: str


class StreamGap(NamedTuple):
    """Transactions that a stream missed and a back-fill brought."""

    transactions: int


class StreamDecodeError(NamedTuple):
    """A line of a stream could not be read."""

    stream: str
    message: str


class TransactionLag(NamedTuple):
    """How far what we applied is behind the venue's last transaction."""

    transactions: int


class ReconcileRun(NamedTuple):
    """A comparison with the venue ended."""

    result: str
    finished_at_s: float
    """Unix time."""


class ReconcileMismatch(NamedTuple):
    """The venue and we disagree: order, position or balance."""

    kind: str
    subject: str
    ours: str
    theirs: str


class PositionSample(NamedTuple):
    """Net units of an instrument on the allow-list."""

    instrument: str
    units: float


class PriceSample(NamedTuple):
    """Age of the latest price of an instrument on the allow-list, and whether it trades."""

    instrument: str
    age_s: float
    tradeable: int


class RiskPassed(NamedTuple):
    """Every pre-trade check was made and let an order pass."""

    duration_s: float
    """Of the stage."""


class RiskCheck(NamedTuple):
    """A pre-trade check was made of an order that was denied."""

    check: str
    result: str
    """`passed` or `denied`."""


class RiskUtilisation(NamedTuple):
    """How much of a limit is used, 0 to 1."""

    limit: str
    ratio: float


class TradingStateSample(NamedTuple):
    """1 for the state that holds, 0 for the others: active, reducing, halted."""

    state: str
    holds: int


class TradingStateChanged(NamedTuple):
    """Somebody or something changed the trading state."""

    state: str
    previous: str
    reason: str
    actor: str


class CircuitSample(NamedTuple):
    """1 for the state of the venue's circuit breaker that holds, 0 for the others."""

    state: str
    holds: int


class QueueSample(NamedTuple):
    """Depth of a queue."""

    queue: str
    depth: int


class JournalSync(NamedTuple):
    """The order journal reached the disk."""

    duration_s: float


class CredentialSample(NamedTuple):
    """Age of a credential in use."""

    secret: str
    age_s: float


class CredentialReload(NamedTuple):
    """A new generation of secrets was tried: applied or rejected."""

    secret: str
    result: str
    generation: int
    reason: str | None


class ClockSample(NamedTuple):
    """Offset of the venue's clock from ours."""

    offset_s: float


class DrainEnded(NamedTuple):
    """The process drained."""

    result: str
    duration_s: float


class HttpRequest(NamedTuple):
    """The order API answered a request."""

    method: str
    route: str
    """The template, never the URL."""
    status_class: str
    duration_s: float


class HistorySample(NamedTuple):
    """Rows that wait for the history database."""

    backlog: int


class Lifecycle(NamedTuple):
    """The process started, became ready, or ends."""

    phase: str
    detail: str | None
