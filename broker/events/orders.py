"""Declarations of what happens to orders: life-cycle, fills, risk, the trading state."""

from __future__ import annotations

from collections.abc import Mapping

from broker.events import events as e
from broker.events import presets
from producer.declare import Counter, Event, Gauge, Histogram, Log
from telemetry_contract.v1 import telemetry_pb2 as pb

LATENCY_S = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0)
"""Dense where the venue answers (0.1 to 0.35 s), and beyond the HTTP deadline at the top."""
STAGE_S = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
SETTLING_S = (0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
SLIPPAGE_PIPS = (-10.0, -5.0, -2.0, -1.0, -0.5, -0.2, -0.1, 0.0, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)


def _stage(*, labels: tuple[str, ...] = (), constant: Mapping[str, str] | None = None) -> Histogram:
    return Histogram(
        name="broker.order.stage.duration",
        unit="s",
        description="Time that one stage of the order path took.",
        labels=labels,
        constant=constant or {},
        measure="duration_s",
        buckets=STAGE_S,
    )


def _check(
    *, labels: tuple[str, ...] = (), constant: Mapping[str, str] | None = None, zeros: presets.Presets = ()
) -> Counter:
    return Counter(
        name="broker.risk.checks",
        unit="{check}",
        description="Pre-trade checks made; those behind a denial are not.",
        labels=labels,
        constant=constant or {},
        presets=zeros,
    )


LIFECYCLE = (
    Event(
        e.OrderTransition,
        "broker.order.transition",
        labels=("status",),
        measures=("duration_s",),
        instruments=(
            Counter(
                name="broker.orders",
                unit="{order}",
                description="Statuses that orders reached; `received` counts every order once.",
                labels=("status",),
                presets=presets.STATUSES,
            ),
            Histogram(
                name="broker.order.duration",
                unit="s",
                description="Time from the API's receipt of an order to the status that its caller is told.",
                labels=("status",),
                measure="duration_s",
                buckets=LATENCY_S,
            ),
        ),
        log=Log(pb.SEVERITY_INFO, "Order reached a status"),
        reserved=True,
    ),
    Event(
        e.OrderStage,
        "broker.order.stage",
        labels=("stage",),
        measures=("duration_s",),
        instruments=(_stage(labels=("stage",)),),
    ),
    Event(
        e.OrderAcknowledged,
        "broker.order.acknowledged",
        labels=("order_type",),
        measures=("latency_s",),
        instruments=(
            Histogram(
                name="broker.order.ack.latency",
                unit="s",
                description="Time from sending an order to the venue's answer.",
                labels=("order_type",),
                measure="latency_s",
                buckets=LATENCY_S,
            ),
        ),
    ),
    Event(
        e.OrderFilled,
        "broker.order.filled",
        labels=("side", "order_type", "asset_class", "partial"),
        measures=("units", "half_spread_cost", "slippage_pips", "latency_s"),
        instruments=(
            Counter(
                name="broker.fills",
                unit="{fill}",
                description="Trades made.",
                labels=("side", "partial"),
                presets=presets.FILLS,
            ),
            Counter(
                name="broker.filled.units",
                unit="{unit}",
                description="Units traded.",
                labels=("side", "asset_class"),
                measure="units",
                presets=presets.UNITS,
            ),
            Histogram(
                name="broker.order.fill.latency",
                unit="s",
                description="Time from the API's receipt of an order to its fill; orders that rested have none.",
                labels=("order_type",),
                measure="latency_s",
                buckets=LATENCY_S,
            ),
            Histogram(
                name="broker.slippage.pips",
                unit="{pip}",
                description="How much worse a fill was than the price it was decided at; negative is better.",
                labels=("side",),
                measure="slippage_pips",
                buckets=SLIPPAGE_PIPS,
            ),
            Counter(
                name="broker.half_spread.cost",
                unit="{currency}",
                description="Half of the spread that fills paid, in the account's currency.",
                measure="half_spread_cost",
                presets=((),),
            ),
        ),
        log=Log(pb.SEVERITY_INFO, "Order traded"),
        reserved=True,
    ),
    Event(
        e.OrderRefused,
        "broker.order.refused",
        labels=("reason", "source"),
        instruments=(
            Counter(
                name="broker.order.rejects",
                unit="{order}",
                description="Orders refused by our risk checks or by the venue.",
                labels=("reason", "source"),
                presets=presets.REJECTS,
            ),
        ),
        log=Log(pb.SEVERITY_WARN, "Order refused"),
        reserved=True,
    ),
    Event(
        e.OrderCancelled,
        "broker.order.cancelled",
        labels=("reason",),
        instruments=(
            Counter(
                name="broker.order.cancels",
                unit="{order}",
                description="Orders that ended without a trade, or whose rest was cancelled.",
                labels=("reason",),
                presets=presets.CANCELS,
            ),
        ),
        log=Log(pb.SEVERITY_INFO, "Order cancelled"),
        reserved=True,
    ),
    Event(
        e.CancelAnswered,
        "broker.cancel.answered",
        labels=("outcome",),
        measures=("duration_s",),
        instruments=(
            Histogram(
                name="broker.cancel.duration",
                unit="s",
                description="Time from a request to cancel to the venue's answer.",
                labels=("outcome",),
                measure="duration_s",
                buckets=LATENCY_S,
            ),
        ),
        log=Log(pb.SEVERITY_INFO, "Cancel answered"),
    ),
    Event(
        e.UnknownResolved,
        "broker.order.unknown_resolved",
        labels=("result",),
        measures=("duration_s",),
        instruments=(
            Counter(
                name="broker.unknown.resolutions",
                unit="{order}",
                description="Orders whose lost answer was found out.",
                labels=("result",),
                presets=presets.RESOLUTIONS,
            ),
            Histogram(
                name="broker.unknown.resolution",
                unit="s",
                description="Time that the outcome of an order was unknown.",
                labels=("result",),
                measure="duration_s",
                buckets=SETTLING_S,
            ),
        ),
        log=Log(pb.SEVERITY_WARN, "Unknown outcome resolved"),
    ),
    Event(
        e.DuplicateRequest,
        "broker.order.duplicate_request",
        labels=("action",),
        instruments=(
            Counter(
                name="broker.duplicate.requests",
                unit="{request}",
                description="Requests with a client order id seen before: replayed or refused.",
                labels=("action",),
                presets=presets.DUPLICATES,
            ),
        ),
        log=Log(pb.SEVERITY_INFO, "Client order id seen before"),
    ),
)

RISK = (
    Event(
        e.RiskCheck,
        "broker.risk.check",
        labels=("check", "result"),
        instruments=(_check(labels=("check", "result"), zeros=presets.CHECKS),),
    ),
    # One event for all checks: most orders pass, and an event for each check would be two thirds of theirs.
    Event(
        e.RiskPassed,
        "broker.risk.passed",
        measures=("duration_s",),
        instruments=(
            _stage(constant={"stage": "risk"}),
            *(_check(constant={"check": name, "result": "passed"}, zeros=((),)) for name in presets.CHECK_NAMES),
        ),
    ),
    Event(
        e.RiskUtilisation,
        "broker.risk.utilisation",
        labels=("limit",),
        measures=("ratio",),
        instruments=(
            Gauge(
                name="broker.risk.limit.utilisation",
                description="How much of a risk limit is used, 0 to 1.",
                labels=("limit",),
                measure="ratio",
            ),
        ),
    ),
    Event(
        e.TradingStateSample,
        "broker.trading.state_sample",
        labels=("state",),
        measures=("holds",),
        instruments=(
            Gauge(
                name="broker.trading.state",
                description="1 for the trading state that holds, 0 for the others.",
                labels=("state",),
                measure="holds",
            ),
        ),
    ),
    Event(
        e.TradingStateChanged,
        "broker.trading.state_changed",
        labels=("state", "previous"),
        log=Log(pb.SEVERITY_WARN, "Trading state changed"),
        reserved=True,
    ),
)

SAMPLES = (
    Event(
        e.OrderSample,
        "broker.order.sample",
        measures=("in_flight", "unknown", "unresolved", "open_orders"),
        instruments=(
            Gauge(
                name="broker.orders.inflight",
                unit="{order}",
                description="Orders whose answer is awaited.",
                measure="in_flight",
            ),
            Gauge(
                name="broker.orders.unknown",
                unit="{order}",
                description="Orders whose outcome is not known.",
                measure="unknown",
            ),
            Gauge(
                name="broker.journal.unresolved",
                unit="{order}",
                description="Intents in the order journal without an outcome.",
                measure="unresolved",
            ),
            Gauge(
                name="broker.open.orders",
                unit="{order}",
                description="Orders that rest at the venue.",
                measure="open_orders",
            ),
        ),
    ),
    Event(
        e.PositionSample,
        "broker.position.sample",
        labels=("instrument",),
        measures=("units",),
        instruments=(
            Gauge(
                name="broker.position.units",
                unit="{unit}",
                description="Net units held of an instrument on the allow-list.",
                labels=("instrument",),
                measure="units",
            ),
        ),
    ),
    Event(
        e.JournalSync,
        "broker.journal.sync",
        measures=("duration_s",),
        instruments=(
            Histogram(
                name="broker.journal.fsync",
                unit="s",
                description="Time in which the order journal reached the disk.",
                measure="duration_s",
                buckets=STAGE_S,
            ),
        ),
    ),
)
