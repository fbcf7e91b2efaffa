"""Events of orders: life-cycle, fills, pre-trade checks, the trading state.

Every counter names the label values that it begins with at zero (`presets`), so that a rate sees the first event of
each. If a label's set is open, as the venue's reasons are, those are named that alerts and objectives ask for.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

from broker.domain import OrderStatus
from producer.declare import Catalogue, Counter, Gauge, Histogram, Label, Log, Measure, combinations
from telemetry_contract.v1 import telemetry_pb2 as pb

# Dense where the venue answers (0.1 to 0.35 s); the last bound lies beyond the HTTP deadline.
LATENCY_S = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0)
STAGE_S = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
SETTLING_S = (0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
SLIPPAGE_PIPS = (-10.0, -5.0, -2.0, -1.0, -0.5, -0.2, -0.1, 0.0, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)
SIDES, BOOLEANS = ("buy", "sell"), ("false", "true")
CHECK_NAMES = (
    "account", "state", "instrument", "form", "precision", "size", "reducing", "position", "tradeable", "stale_price",
    "collar", "protection", "notional", "gross_exposure", "margin", "open_orders", "order_rate", "duplicate",
    "daily_loss", "circuit",
)  # fmt: skip
CANCEL_REASONS = ("OTHER", "CLIENT_REQUEST", "INSUFFICIENT_MARGIN", "MARKET_HALTED", "TIME_IN_FORCE_EXPIRED")
STAGE = Histogram("broker.order.stage.duration", "s", "Time that one stage of the order path took.", buckets=STAGE_S)
RISK_CHECKS = Counter("broker.risk.checks", "{check}", "Pre-trade checks made; those behind a denial are not.")


def latency(name: str, description: str, **more: Any) -> Histogram:
    """Histogram of seconds, with the bounds of an answer that came over the network."""
    return Histogram(name, "s", description, buckets=LATENCY_S, **more)


# Amounts and prices are texts with the venue's decimals; only numbers that a metric adds up or sorts are floats.
# Reserved are the events that an audit needs after a day without a sidecar: fates of orders, and the trading state.
T = TypeVar("T")

ORDERS = Catalogue()


@ORDERS.event("broker.order.transition", log=Log(pb.SEVERITY_INFO, "Order reached a status"), reserved=True)
@Counter(
    "broker.orders",
    "{order}",
    "Statuses that orders reached; `received` counts every order once.",
    presets=combinations(tuple(map(str, OrderStatus))),
)
@latency("broker.order.duration", "Time from the API's receipt of an order to the status that its caller is told.")
class OrderTransition(NamedTuple):
    """An order reached a status."""

    status: Label[str]
    order_type: str
    side: str
    instrument: str
    units: str
    price: str | None
    order_id: str
    client_order_id: str
    venue_order_id: str | None
    reason: str | None
    duration_s: Measure[float | None]
    """From the API's receipt to this status; only where the caller is answered with it."""


@ORDERS.event("broker.order.stage")
@STAGE
class OrderStage(NamedTuple):
    """A stage of the order path ended: validate, risk, journal, throttle, http, parse."""

    stage: Label[str]
    duration_s: Measure[float]


@ORDERS.event("broker.order.acknowledged")
@latency("broker.order.ack.latency", "Time from sending an order to the venue's answer.")
class OrderAcknowledged(NamedTuple):
    """The venue answered a submission."""

    order_type: Label[str]
    latency_s: Measure[float]


@ORDERS.event("broker.order.filled", log=Log(pb.SEVERITY_INFO, "Order traded"), reserved=True)
@Counter("broker.fills", "{fill}", "Trades made.", labels=("side", "partial"), presets=combinations(SIDES, BOOLEANS))
@Counter(
    "broker.filled.units",
    "{unit}",
    "Units traded.",
    labels=("side", "asset_class"),
    measure="units",
    presets=combinations(SIDES, ("CURRENCY", "CFD", "METAL")),
)
@latency(
    "broker.order.fill.latency",
    "Time from the API's receipt of an order to its fill; orders that rested have none.",
    labels=("order_type",),
    measure="latency_s",
)
@Histogram(
    "broker.slippage.pips",
    "{pip}",
    "How much worse a fill was than the price it was decided at; negative is better.",
    labels=("side",),
    measure="slippage_pips",
    buckets=SLIPPAGE_PIPS,
)
@Counter(
    "broker.half_spread.cost",
    "{currency}",
    "Half of the spread that fills paid, in the account's currency.",
    labels=(),
    measure="half_spread_cost",
    presets=combinations(),
)
class OrderFilled(NamedTuple):
    """An order traded."""

    side: Label[str]
    order_type: Label[str]
    asset_class: Label[str]
    partial: Label[str]
    """`true` or `false`."""
    order_id: str
    client_order_id: str
    instrument: str
    transaction_id: str
    price: str
    units: Measure[float]
    profit: str
    half_spread_cost: Measure[float]
    slippage_pips: Measure[float | None]
    latency_s: Measure[float | None]
    """From the API's receipt to the fill; none where the order rested."""


@ORDERS.event("broker.order.refused", log=Log(pb.SEVERITY_WARN, "Order refused"), reserved=True)
@Counter(
    "broker.order.rejects",
    "{order}",
    "Orders refused by our risk checks or by the venue.",
    presets=combinations(("OTHER",), ("risk", "venue")),
)
class OrderRefused(NamedTuple):
    """An order was denied by risk or rejected by the venue."""

    reason: Label[str]
    source: Label[str]
    """`risk` or `venue`."""
    order_id: str
    client_order_id: str
    instrument: str
    message: str | None


@ORDERS.event("broker.order.cancelled", log=Log(pb.SEVERITY_INFO, "Order cancelled"), reserved=True)
@Counter(
    "broker.order.cancels",
    "{order}",
    "Orders that ended without a trade, or whose rest was cancelled.",
    presets=combinations(CANCEL_REASONS),
)
class OrderCancelled(NamedTuple):
    """An order ended without a trade, or its rest was cancelled."""

    reason: Label[str]
    order_id: str
    client_order_id: str
    instrument: str


@ORDERS.event("broker.cancel.answered", log=Log(pb.SEVERITY_INFO, "Cancel answered"))
@latency("broker.cancel.duration", "Time from a request to cancel to the venue's answer.")
class CancelAnswered(NamedTuple):
    """The venue answered a request to cancel."""

    outcome: Label[str]
    duration_s: Measure[float]


@ORDERS.event("broker.order.unknown_resolved", log=Log(pb.SEVERITY_WARN, "Unknown outcome resolved"))
@Counter(
    "broker.unknown.resolutions",
    "{order}",
    "Orders whose lost answer was found out.",
    presets=combinations(
        ("filled", "partially_filled", "pending", "cancelled", "rejected", "presumed_absent", "adopted")
    ),
)
@Histogram("broker.unknown.resolution", "s", "Time that the outcome of an order was unknown.", buckets=SETTLING_S)
class UnknownResolved(NamedTuple):
    """The true outcome of an order whose answer was lost is known."""

    result: Label[str]
    order_id: str
    duration_s: Measure[float]


@ORDERS.event("broker.order.duplicate_request", log=Log(pb.SEVERITY_INFO, "Client order id seen before"))
@Counter(
    "broker.duplicate.requests",
    "{request}",
    "Requests with a client order id seen before: replayed or refused.",
    presets=combinations(("replayed", "refused")),
)
class DuplicateRequest(NamedTuple):
    """A client order id was seen before: replayed or refused."""

    action: Label[str]
    client_order_id: str


@ORDERS.event("broker.risk.check")
@replace(RISK_CHECKS, presets=combinations(CHECK_NAMES, ("passed", "denied")))
class RiskCheck(NamedTuple):
    """A pre-trade check was made of an order that was denied."""

    check: Label[str]
    result: Label[str]
    """`passed` or `denied`."""


def _every_check_passed(kind: type[T]) -> type[T]:
    for name in reversed(CHECK_NAMES):
        replace(RISK_CHECKS, constant={"check": name, "result": "passed"}, presets=combinations())(kind)
    return kind


# One event for all checks: most orders pass, and an event for each check would be two thirds of theirs.
@ORDERS.event("broker.risk.passed")
@replace(STAGE, constant={"stage": "risk"})
@_every_check_passed
class RiskPassed(NamedTuple):
    """Every pre-trade check was made and let an order pass."""

    duration_s: Measure[float]
    """Of the stage."""


@ORDERS.event("broker.risk.utilisation")
@Gauge("broker.risk.limit.utilisation", "", "How much of a risk limit is used, 0 to 1.")
class RiskUtilisation(NamedTuple):
    """Used share of a risk limit, 0 to 1."""

    limit: Label[str]
    ratio: Measure[float]


@ORDERS.event("broker.trading.state_sample")
@Gauge("broker.trading.state", "", "1 for the trading state that holds, 0 for the others.")
class TradingStateSample(NamedTuple):
    """1 for the state that holds, 0 for the others: active, reducing, halted."""

    state: Label[str]
    holds: Measure[int]


@ORDERS.event("broker.trading.state_changed", log=Log(pb.SEVERITY_WARN, "Trading state changed"), reserved=True)
class TradingStateChanged(NamedTuple):
    """Somebody or something changed the trading state."""

    state: Label[str]
    previous: Label[str]
    reason: str
    actor: str


@ORDERS.event("broker.mass_action", log=Log(pb.SEVERITY_WARN, "Mass action ended"), reserved=True)
@Counter(
    "broker.mass_actions",
    "{action}",
    "Cancels of all orders, closes of all positions, and uses of the kill switch.",
    presets=combinations(("cancel_all", "close_all", "kill"), ("complete", "incomplete")),
)
class MassActionEnded(NamedTuple):
    """A mass action ended: cancel_all, close_all or kill."""

    action: Label[str]
    result: Label[str]
    """`complete` or `incomplete`: something was refused, or the venue did not answer."""
    client: str
    client_order_id: str
    subjects: int
    """Orders and positions that it took on."""
    failed: int


@ORDERS.event("broker.order.sample")
@Gauge("broker.orders.inflight", "{order}", "Orders whose answer is awaited.", measure="in_flight")
@Gauge("broker.orders.unknown", "{order}", "Orders whose outcome is not known.", measure="unknown")
@Gauge("broker.journal.unresolved", "{order}", "Intents in the order journal without an outcome.", measure="unresolved")
@Gauge("broker.open.orders", "{order}", "Orders that rest at the venue.", measure="open_orders")
class OrderSample(NamedTuple):
    """Gauges of the order book, on a beat and on a change."""

    in_flight: Measure[int]
    unknown: Measure[int]
    unresolved: Measure[int]
    open_orders: Measure[int]


@ORDERS.event("broker.position.sample")
@Gauge("broker.position.units", "{unit}", "Net units held of an instrument on the allow-list.")
class PositionSample(NamedTuple):
    """Net units of an instrument on the allow-list."""

    instrument: Label[str]
    units: Measure[float]


@ORDERS.event("broker.journal.sync")
@Histogram("broker.journal.fsync", "s", "Time in which the order journal reached the disk.", buckets=STAGE_S)
class JournalSync(NamedTuple):
    """The order journal reached the disk."""

    duration_s: Measure[float]
