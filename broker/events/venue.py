"""Events of the connection to the venue: requests, rate limits, streams, prices, the account."""

from __future__ import annotations

from typing import NamedTuple

from broker.events.orders import STAGE_S, latency
from producer.declare import Catalogue, Counter, Gauge, Histogram, Label, Log, Measure, combinations
from telemetry_contract.v1 import telemetry_pb2 as pb

OPERATIONS = (
    "create_order", "cancel_order", "replace_order", "close_position", "close_trade",
    "account_summary", "account_instruments", "pricing", "open_positions", "open_trades", "pending_orders",
    "transactions_since",
)  # fmt: skip
ERROR_TYPES = (
    "answer_lost", "foreign_answer", "not_authorized", "not_sent", "rate_limited", "refused", "unreadable",
    "venue_failed", "withheld",
)  # fmt: skip
STREAMS = ("prices", "transactions")

VENUE = Catalogue()


@VENUE.event("broker.api.request")
@Counter("broker.api.requests", "{request}", "Requests to the venue.")
@latency("broker.api.request.duration", "Time that the venue took to answer.", labels=("operation",))
class ApiRequest(NamedTuple):
    """The venue answered a request, or did not."""

    operation: Label[str]
    status_class: Label[str]
    """`2xx` … `5xx`, or `none` where no answer came."""
    duration_s: Measure[float]


@VENUE.event("broker.api.error", log=Log(pb.SEVERITY_ERROR, "Request to the venue failed"))
@Counter("broker.api.errors", "{error}", "Requests to the venue that failed.", presets=combinations(ERROR_TYPES))
class ApiError(NamedTuple):
    """A request to the venue failed."""

    error_type: Label[str]
    operation: str
    status: int | None
    request_id: str | None
    message: str | None


@VENUE.event("broker.api.retry")
@Counter(
    "broker.api.retries", "{request}", "Reads from the venue that were tried again.", presets=combinations(OPERATIONS)
)
class ApiRetry(NamedTuple):
    """A read from the venue is tried again."""

    operation: Label[str]


@VENUE.event("broker.ratelimit.waited")
@Histogram("broker.ratelimit.wait", "s", "Time that requests waited for the venue's rate limit.", buckets=STAGE_S)
class ThrottleWait(NamedTuple):
    """A request waited for the venue's rate limit."""

    bucket: Label[str]
    wait_s: Measure[float]


@VENUE.event("broker.ratelimit.sample")
@Gauge("broker.ratelimit.tokens", "{request}", "Requests that the rate limit allows at once.")
class ThrottleSample(NamedTuple):
    """Requests left of a rate limit."""

    bucket: Label[str]
    tokens: Measure[float]


@VENUE.event("broker.api.too_many_requests")
@Counter("broker.http.429", "{response}", "Answers 429 from the venue.", presets=combinations(OPERATIONS))
class TooManyRequests(NamedTuple):
    """The venue answered 429."""

    operation: Label[str]


@VENUE.event("broker.connection.changed")
@Gauge("broker.connection.status", "", "1 where the channel to the venue is up, 0 where it is down.")
class ConnectionStatus(NamedTuple):
    """A channel to the venue is up (1) or down (0): rest, prices, transactions."""

    channel: Label[str]
    up: Measure[int]
    reason: str | None


@VENUE.event("broker.connection.opened")
@Counter(
    "broker.connections.opened",
    "{connection}",
    "Connections opened to the venue, which allows two a second.",
    presets=combinations(("rest", *STREAMS)),
)
class ConnectionOpened(NamedTuple):
    """A connection to the venue was opened."""

    channel: Label[str]


@VENUE.event("broker.stream.sample")
@Gauge("broker.stream.last_message.age", "s", "Age of the last message of a stream; heartbeats come every 5 s.")
class StreamSample(NamedTuple):
    """Age of the last message of a stream."""

    stream: Label[str]
    last_message_age_s: Measure[float]


@VENUE.event("broker.stream.reconnected", log=Log(pb.SEVERITY_WARN, "Stream opened again"))
@Counter(
    "broker.stream.reconnects",
    "{connection}",
    "Streams opened again.",
    presets=combinations(STREAMS, ("connection_lost", "silent", "closed_by_venue")),
)
class StreamReconnected(NamedTuple):
    """A stream was opened again."""

    stream: Label[str]
    cause: Label[str]


@VENUE.event("broker.stream.gap", log=Log(pb.SEVERITY_WARN, "Gap of a stream back-filled"))
@Counter(
    "broker.stream.gap.transactions",
    "{transaction}",
    "Transactions that a stream missed and a back-fill brought.",
    measure="transactions",
    presets=combinations(),
)
class StreamGap(NamedTuple):
    """Transactions that a stream missed and a back-fill brought."""

    transactions: Measure[int]


@VENUE.event("broker.stream.decode_error", log=Log(pb.SEVERITY_ERROR, "Line of a stream could not be read"))
@Counter(
    "broker.stream.decode.errors",
    "{message}",
    "Lines of a stream that could not be read.",
    presets=combinations(STREAMS),
)
class StreamDecodeError(NamedTuple):
    """A line of a stream could not be read."""

    stream: Label[str]
    message: str


@VENUE.event("broker.transaction.lag_sample")
@Gauge("broker.transaction.lag", "{transaction}", "How far what we applied is behind the venue's last transaction.")
class TransactionLag(NamedTuple):
    """Transactions of the venue that we have not applied yet."""

    transactions: Measure[int]


@VENUE.event("broker.price.sample")
@Gauge("broker.price.age", "s", "Age of the latest price of an instrument on the allow-list.", measure="age_s")
@Gauge(
    "broker.instrument.tradeable",
    "",
    "1 where an instrument on the allow-list trades, 0 where not.",
    measure="tradeable",
)
class PriceSample(NamedTuple):
    """Age of the latest price of an instrument on the allow-list, and whether it trades."""

    instrument: Label[str]
    age_s: Measure[float]
    tradeable: Measure[int]


@VENUE.event("broker.clock.sample")
@Gauge("broker.clock.offset", "s", "Offset of the venue's clock from ours.")
class ClockSample(NamedTuple):
    """Offset of the venue's clock from ours."""

    offset_s: Measure[float]


@VENUE.event("broker.circuit.sample")
@Gauge("broker.circuit.state", "", "1 for the state of the venue's circuit breaker that holds, 0 for the others.")
class CircuitSample(NamedTuple):
    """1 for the state of the venue's circuit breaker that holds, 0 for the others."""

    state: Label[str]
    holds: Measure[int]


@VENUE.event("broker.account.sample")
@Gauge("broker.account.balance", "{currency}", "Balance of the account.", measure="balance")
@Gauge("broker.account.nav", "{currency}", "Net asset value of the account.", measure="nav")
@Gauge("broker.margin.used", "{currency}", "Margin in use.", measure="margin_used")
@Gauge("broker.margin.available", "{currency}", "Margin left.", measure="margin_available")
@Gauge(
    "broker.margin.closeout.ratio",
    "",
    "How near the venue's margin closeout is; at 1 it closes positions.",
    labels=(),
    measure="margin_closeout_ratio",
)
@Gauge("broker.open.positions", "{position}", "Positions that are open.", labels=(), measure="open_positions")
class AccountSample(NamedTuple):
    """Gauges of the account, after each summary."""

    currency: Label[str]
    balance: Measure[float]
    nav: Measure[float]
    margin_used: Measure[float]
    margin_available: Measure[float]
    margin_closeout_ratio: Measure[float]
    open_positions: Measure[int]


@VENUE.event("broker.reconcile.run", log=Log(pb.SEVERITY_INFO, "Comparison with the venue ended"))
@Counter(
    "broker.reconcile.runs",
    "{run}",
    "Comparisons of our books with the venue's.",
    presets=combinations(("ok", "mismatch", "moving", "failed")),
)
@Gauge(
    "broker.reconcile.last_success.timestamp",
    "s",
    "When a comparison last ended and found no difference, Unix time.",
    labels=(),
    only_when={"result": "ok"},
)
class ReconcileRun(NamedTuple):
    """A comparison with the venue ended."""

    result: Label[str]
    finished_at_s: Measure[float]
    """Unix time."""


@VENUE.event("broker.reconcile.mismatch", log=Log(pb.SEVERITY_ERROR, "Our books and the venue's differ"))
@Counter(
    "broker.reconcile.mismatches",
    "{difference}",
    "Differences between our books and the venue's.",
    presets=combinations(("order", "foreign_order", "position", "balance", "trade")),
)
class ReconcileMismatch(NamedTuple):
    """The venue and we disagree: order, position or balance."""

    kind: Label[str]
    subject: str
    ours: str
    theirs: str
