"""Declarations of the connection to the venue: requests, limits, streams, prices, the account."""

from __future__ import annotations

from broker.events import events as e
from broker.events import presets
from broker.events.orders import LATENCY_S, STAGE_S
from producer.declare import Counter, Event, Gauge, Histogram, Log
from telemetry_contract.v1 import telemetry_pb2 as pb

REQUESTS = (
    Event(
        e.ApiRequest,
        "broker.api.request",
        labels=("operation", "status_class"),
        measures=("duration_s",),
        instruments=(
            Counter(
                name="broker.api.requests",
                unit="{request}",
                description="Requests to the venue.",
                labels=("operation", "status_class"),
            ),
            Histogram(
                name="broker.api.request.duration",
                unit="s",
                description="Time that the venue took to answer.",
                labels=("operation",),
                measure="duration_s",
                buckets=LATENCY_S,
            ),
        ),
    ),
    Event(
        e.ApiError,
        "broker.api.error",
        labels=("error_type",),
        instruments=(
            Counter(
                name="broker.api.errors",
                unit="{error}",
                description="Requests to the venue that failed.",
                labels=("error_type",),
                presets=presets.ERRORS,
            ),
        ),
        log=Log(pb.SEVERITY_ERROR, "Request to the venue failed"),
    ),
    Event(
        e.ApiRetry,
        "broker.api.retry",
        labels=("operation",),
        instruments=(
            Counter(
                name="broker.api.retries",
                unit="{request}",
                description="Reads from the venue that were tried again.",
                labels=("operation",),
                presets=presets.OPERATIONS,
            ),
        ),
    ),
    Event(
        e.ThrottleWait,
        "broker.ratelimit.waited",
        labels=("bucket",),
        measures=("wait_s",),
        instruments=(
            Histogram(
                name="broker.ratelimit.wait",
                unit="s",
                description="Time that requests waited for the venue's rate limit.",
                labels=("bucket",),
                measure="wait_s",
                buckets=STAGE_S,
            ),
        ),
    ),
    Event(
        e.ThrottleSample,
        "broker.ratelimit.sample",
        labels=("bucket",),
        measures=("tokens",),
        instruments=(
            Gauge(
                name="broker.ratelimit.tokens",
                unit="{request}",
                description="Requests that the rate limit allows at once.",
                labels=("bucket",),
                measure="tokens",
            ),
        ),
    ),
    Event(
        e.TooManyRequests,
        "broker.api.too_many_requests",
        labels=("operation",),
        instruments=(
            Counter(
                name="broker.http.429",
                unit="{response}",
                description="Answers 429 from the venue.",
                labels=("operation",),
                presets=presets.OPERATIONS,
            ),
        ),
    ),
    Event(
        e.ConnectionStatus,
        "broker.connection.changed",
        labels=("channel",),
        measures=("up",),
        instruments=(
            Gauge(
                name="broker.connection.status",
                description="1 where the channel to the venue is up, 0 where it is down.",
                labels=("channel",),
                measure="up",
            ),
        ),
    ),
    Event(
        e.ConnectionOpened,
        "broker.connection.opened",
        labels=("channel",),
        instruments=(
            Counter(
                name="broker.connections.opened",
                unit="{connection}",
                description="Connections opened to the venue, which allows two a second.",
                labels=("channel",),
                presets=presets.CHANNELS,
            ),
        ),
    ),
)

STREAMS = (
    Event(
        e.StreamSample,
        "broker.stream.sample",
        labels=("stream",),
        measures=("last_message_age_s",),
        instruments=(
            Gauge(
                name="broker.stream.last_message.age",
                unit="s",
                description="Age of the last message of a stream; heartbeats come every 5 s.",
                labels=("stream",),
                measure="last_message_age_s",
            ),
        ),
    ),
    Event(
        e.StreamReconnected,
        "broker.stream.reconnected",
        labels=("stream", "cause"),
        instruments=(
            Counter(
                name="broker.stream.reconnects",
                unit="{connection}",
                description="Streams opened again.",
                labels=("stream", "cause"),
                presets=presets.RECONNECTS,
            ),
        ),
        log=Log(pb.SEVERITY_WARN, "Stream opened again"),
    ),
    Event(
        e.StreamGap,
        "broker.stream.gap",
        measures=("transactions",),
        instruments=(
            Counter(
                name="broker.stream.gap.transactions",
                unit="{transaction}",
                description="Transactions that a stream missed and a back-fill brought.",
                measure="transactions",
                presets=((),),
            ),
        ),
        log=Log(pb.SEVERITY_WARN, "Gap of a stream back-filled"),
    ),
    Event(
        e.StreamDecodeError,
        "broker.stream.decode_error",
        labels=("stream",),
        instruments=(
            Counter(
                name="broker.stream.decode.errors",
                unit="{message}",
                description="Lines of a stream that could not be read.",
                labels=("stream",),
                presets=presets.each(*presets.STREAMS),
            ),
        ),
        log=Log(pb.SEVERITY_ERROR, "Line of a stream could not be read"),
    ),
    Event(
        e.TransactionLag,
        "broker.transaction.lag_sample",
        measures=("transactions",),
        instruments=(
            Gauge(
                name="broker.transaction.lag",
                unit="{transaction}",
                description="How far what we applied is behind the venue's last transaction.",
                measure="transactions",
            ),
        ),
    ),
    Event(
        e.PriceSample,
        "broker.price.sample",
        labels=("instrument",),
        measures=("age_s", "tradeable"),
        instruments=(
            Gauge(
                name="broker.price.age",
                unit="s",
                description="Age of the latest price of an instrument on the allow-list.",
                labels=("instrument",),
                measure="age_s",
            ),
            Gauge(
                name="broker.instrument.tradeable",
                description="1 where an instrument on the allow-list trades, 0 where not.",
                labels=("instrument",),
                measure="tradeable",
            ),
        ),
    ),
    Event(
        e.ClockSample,
        "broker.clock.sample",
        measures=("offset_s",),
        instruments=(
            Gauge(
                name="broker.clock.offset",
                unit="s",
                description="Offset of the venue's clock from ours.",
                measure="offset_s",
            ),
        ),
    ),
    Event(
        e.CircuitSample,
        "broker.circuit.sample",
        labels=("state",),
        measures=("holds",),
        instruments=(
            Gauge(
                name="broker.circuit.state",
                description="1 for the state of the venue's circuit breaker that holds, 0 for the others.",
                labels=("state",),
                measure="holds",
            ),
        ),
    ),
)

ACCOUNT = (
    Event(
        e.AccountSample,
        "broker.account.sample",
        labels=("currency",),
        measures=("balance", "nav", "margin_used", "margin_available", "margin_closeout_ratio", "open_positions"),
        instruments=(
            Gauge(
                name="broker.account.balance",
                unit="{currency}",
                description="Balance of the account.",
                labels=("currency",),
                measure="balance",
            ),
            Gauge(
                name="broker.account.nav",
                unit="{currency}",
                description="Net asset value of the account.",
                labels=("currency",),
                measure="nav",
            ),
            Gauge(
                name="broker.margin.used",
                unit="{currency}",
                description="Margin in use.",
                labels=("currency",),
                measure="margin_used",
            ),
            Gauge(
                name="broker.margin.available",
                unit="{currency}",
                description="Margin left.",
                labels=("currency",),
                measure="margin_available",
            ),
            Gauge(
                name="broker.margin.closeout.ratio",
                description="How near the venue's margin closeout is; at 1 it closes positions.",
                measure="margin_closeout_ratio",
            ),
            Gauge(
                name="broker.open.positions",
                unit="{position}",
                description="Positions that are open.",
                measure="open_positions",
            ),
        ),
    ),
    Event(
        e.ReconcileRun,
        "broker.reconcile.run",
        labels=("result",),
        measures=("finished_at_s",),
        instruments=(
            Counter(
                name="broker.reconcile.runs",
                unit="{run}",
                description="Comparisons of our books with the venue's.",
                labels=("result",),
                presets=presets.RECONCILES,
            ),
            Gauge(
                name="broker.reconcile.last_success.timestamp",
                unit="s",
                description="When a comparison last ended and found no difference, Unix time.",
                measure="finished_at_s",
                only_when={"result": "ok"},
            ),
        ),
        log=Log(pb.SEVERITY_INFO, "Comparison with the venue ended"),
    ),
    Event(
        e.ReconcileMismatch,
        "broker.reconcile.mismatch",
        labels=("kind",),
        instruments=(
            Counter(
                name="broker.reconcile.mismatches",
                unit="{difference}",
                description="Differences between our books and the venue's.",
                labels=("kind",),
                presets=presets.MISMATCHES,
            ),
        ),
        log=Log(pb.SEVERITY_ERROR, "Our books and the venue's differ"),
    ),
)
