"""Answers of the API: the domain as JSON. Numbers are texts, times are RFC 3339 in UTC, names are lower case."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from http import HTTPStatus
from typing import Annotated, Any, TypeVar

from fastapi.responses import Response
from msgspec.structs import asdict
from pydantic import BaseModel, Field, PlainSerializer

from broker.domain import (
    Account,
    Fill,
    Order,
    OrderStatus,
    OrderType,
    PositionFill,
    Side,
    TimeInForce,
    TradeEffect,
    TriggerCondition,
    average_price,
)
from broker.orders.checks.dry_run import DryRun

# A URN and not an address: each installation has other addresses, and clients compare the type as a text.
TYPE_PREFIX = "urn:broker:problem:"
PROBLEM_TYPE = "application/problem+json"
REFERENCE = "#/components/schemas/{model}"
"""Of a model in the OpenAPI document."""
ATTACHED = ("take_profit", "stop_loss", "trailing_stop")
"""Orders that an order may bring with it."""


def plain(value: Decimal) -> str:
    """Decimal digits, never an exponent."""
    return format(value, "f")


def rfc3339(value: datetime) -> str:
    """Text of a time, as RFC 3339 in UTC."""
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def rfc3339_ns(value: int) -> str:
    """Text of a time in nanoseconds since 1970, with its nine digits."""
    seconds, fraction = divmod(value, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{fraction:09d}Z"


# A text: most JSON readers make a binary float of a number, which has no 0.1.
Number = Annotated[
    Decimal, PlainSerializer(plain, return_type=str), Field(json_schema_extra={"type": "string", "format": "decimal"})
]
Time = Annotated[
    datetime,
    PlainSerializer(rfc3339, return_type=str),
    Field(json_schema_extra={"type": "string", "format": "date-time"}),
]


VenueTime = Annotated[
    str, Field(json_schema_extra={"format": "date-time"}, description="The venue's, with its nine digits.")
]


class TradePartView(BaseModel):
    """A fill's part in one trade."""

    trade_id: str = Field(description="The venue's id of the trade, to protect or close it.", examples=["6397"])
    effect: TradeEffect
    units: Number = Field(description="Of this part; positive.")
    profit: Number = Field(description="Realised by this part, in the account's currency.")


class FillView(BaseModel):
    """One fill of an order."""

    transaction_id: str = Field(description="The venue's id of the transaction that filled.")
    instrument: str
    side: Side
    units: Number
    price: Number
    time: VenueTime
    profit: Number = Field(description="Realised, in the account's currency, before the costs below.")
    commission: Number = Field(description="Charged; positive.")
    financing: Number = Field(description="Paid (negative) or collected by the trades that it closed.")
    guaranteed_fee: Number = Field(description="Charged for a guaranteed stop; positive.")
    half_spread_cost: Number = Field(description="Half of the spread, which the price contains.")
    trades: list[TradePartView] = Field(description="Trades that it opened, reduced and closed.")


class AttachedView(BaseModel):
    """An order that the venue attaches to the trade when the order fills."""

    price: Number | None
    distance: Number | None = Field(description="From the fill's price.")
    guaranteed: bool
    time_in_force: TimeInForce
    expires_at: Time | None
    tag: str | None
    comment: str | None


class OrderView(BaseModel):
    """An order: the request, its status, and its fills."""

    id: str = Field(description="The broker's id, time-ordered.", examples=["01JGX5TVK2M4N6P8Q0R2S4T6V8"])
    client_order_id: str
    client: str
    status: OrderStatus
    reason: str | None = Field(description="Reason for which it is denied, cancelled, rejected or unknown.")
    message: str | None
    instrument: str
    side: Side
    type: OrderType
    time_in_force: TimeInForce
    expires_at: Time | None
    units: Number
    filled_units: Number
    remaining_units: Number = Field(description="Units that may still trade; 0 once the order has ended.")
    average_price: Number | None = Field(description="Over the fills, weighted by units.")
    price: Number | None
    price_bound: Number | None = Field(description="Worst price that a fill may have.")
    distance: Number | None = Field(description="Of a trailing stop, in price units.")
    position_fill: PositionFill
    trigger_condition: TriggerCondition
    trade_id: str | None = Field(description="Of a take-profit, a stop or the close of a trade: the trade.")
    take_profit: AttachedView | None
    stop_loss: AttachedView | None
    trailing_stop: AttachedView | None
    tag: str | None
    comment: str | None
    venue_order_id: str | None
    fills: list[FillView]
    created_at: Time
    updated_at: Time


class TrialView(BaseModel):
    """The fate that an order would have had. It was only tried: nothing was sent."""

    would_be_sent: bool
    check: str | None = Field(description="The check that denies it.", examples=["collar"])
    reason: str | None = Field(description="The `reason` that the denied order would have.")
    message: str | None
    checks: list[str] = Field(
        description="The checks that were made, in their order; of a denied order the last one is `check`.",
        examples=[["account", "state", "instrument", "form", "precision"]],
    )
    not_made: list[str] = Field(
        description="The checks that were not made: those behind `check`, and those whose facts only the account's "
        "owner has (the rate of orders, duplicates, the day's loss, the circuit breaker).",
        examples=[["order_rate", "duplicate", "daily_loss", "circuit"]],
    )
    trades_account: bool = Field(
        description="True if this replica trades the account; a standby or a preview does not."
    )
    bid: Number | None
    ask: Number | None


class OrderList(BaseModel):
    """Orders that are open, newest last."""

    orders: list[OrderView]


class PriceView(BaseModel):
    """The latest price of an instrument."""

    instrument: str
    bid: Number
    ask: Number
    time: Time = Field(description="The venue's time of the price.")
    tradeable: bool


class PriceList(BaseModel):
    """Latest prices."""

    prices: list[PriceView]


class PositionView(BaseModel):
    """Net holding of an instrument."""

    instrument: str
    units: Number = Field(description="Positive is long, negative short.")
    average_price: Number | None
    unrealized_profit: Number
    realized_profit: Number


class PositionList(BaseModel):
    """Open positions."""

    positions: list[PositionView]


class AccountView(BaseModel):
    """The venue's summary of the account."""

    id: str
    alias: str | None
    environment: str = Field(description="practice, live, or other for a venue of your own.", examples=["practice"])
    currency: str
    created_at: Time | None
    hedging: bool = Field(description="True if long and short trades of an instrument are held side by side.")
    balance: Number
    nav: Number = Field(description="Net asset value: the balance with the unrealised result.")
    unrealized_profit: Number
    realized_profit: Number = Field(description="Over the account's life, as financing, commission and fees are.")
    financing: Number
    commission: Number
    guaranteed_fees: Number = Field(description="Paid for guaranteed stops.")
    position_value: Number
    margin_used: Number
    margin_available: Number
    margin_rate: Number | None = Field(description="The account's own; null if each instrument's applies.")
    margin_call_ratio: Number = Field(description="A margin call comes at 1.")
    margin_closeout_ratio: Number = Field(description="The venue closes all positions at 1.")
    margin_closeout_used: Number = Field(description="The margin that the closeout is judged by.")
    withdrawal_limit: Number
    open_orders: int
    open_trades: int
    open_positions: int
    last_transaction_id: str


class StateView(BaseModel):
    """The trading state: the orders that are taken now."""

    state: str = Field(examples=["active"], description="active, reducing or halted")


class FieldFault(BaseModel):
    """One field of a request that is wrong."""

    field: str = Field(description="Path of the field, for example `units` or `take_profit.price`.")
    message: str


class ProblemView(BaseModel):
    """An error, in the form of RFC 9457."""

    type: str = Field(description="Stable name of the kind of error.", examples=[TYPE_PREFIX + "not-ready"])
    title: str
    status: int
    detail: str = Field(description="The fault of this time, and its remedy.")
    reason: str | None = Field(default=None, description="Constant name of the cause, where there is one.")
    errors: list[FieldFault] | None = Field(default=None, description="Of 422: each field that is wrong.")
    order: OrderView | None = Field(default=None, description="Of an order that was refused or not cancelled.")
    used_for: dict[str, str | None] | None = Field(
        default=None, description="Of a key that was used before: its `operation`, `target` and `order_id`."
    )
    owner: str | None = Field(default=None, description="Address of the broker that trades the account.")
    idempotency_key: str | None = Field(default=None, description="Of a lost answer: the key to send again with.")


class MismatchView(BaseModel):
    """One difference between the venue and the broker."""

    kind: str = Field(examples=["position"])
    subject: str
    ours: str
    theirs: str


class ReconcileView(BaseModel):
    """The result of a comparison with the venue."""

    mismatches: list[MismatchView]


class ConditionView(BaseModel):
    """One named statement of health; an advisory one never makes the broker not ready."""

    name: str
    ok: bool
    reason: str
    message: str
    since: Time
    advisory: bool


class ConditionList(BaseModel):
    """The broker's conditions."""

    conditions: list[ConditionView]


View = TypeVar("View", bound=BaseModel)


def view(model: type[View], source: object) -> View:
    """The fields of `model`, read from the attributes of `source` that have their names."""
    # Not validated: they come from our own types, and validation takes longer than all the rest.
    return model.model_construct(**{name: getattr(source, name) for name in model.model_fields})


def views(model: type[View], sources: Iterable[object]) -> list[View]:
    """A view of each source."""
    return [view(model, source) for source in sources]


def order_view(order: Order) -> OrderView:
    """An order as callers see it."""
    request = order.request
    derived: dict[str, Any] = {
        "filled_units": order.filled_units,
        "remaining_units": order.remaining_units,
        "average_price": average_price(order.fills),
        "fills": [fill_view(fill, order) for fill in order.fills],
    }
    for name in ATTACHED:
        if (attached := getattr(request, name)) is not None:
            derived[name] = view(AttachedView, attached)
    return OrderView.model_construct(
        **{**asdict(request), **asdict(order), **derived}
    )  # it takes what it has fields for


def fill_view(fill: Fill, order: Order) -> FillView:
    """A fill as callers see it."""
    # Journals before 0.2 have fills without an instrument, a side and nanoseconds.
    derived = {
        "instrument": fill.instrument or order.request.instrument,
        "side": fill.side or order.request.side,
        "time": rfc3339_ns(fill.time_ns) if fill.time_ns else rfc3339(fill.time),
        "trades": views(TradePartView, fill.trades),
    }
    return FillView.model_construct(**{**asdict(fill), **derived})


def account_view(account: Account, environment: str) -> AccountView:
    """An account as callers see it; `environment` is practice, live or other."""
    return AccountView.model_construct(
        **{**asdict(account), "margin_rate": account.margin_rate or None}, environment=environment
    )


def trial_view(found: DryRun, *, trades_account: bool) -> TrialView:
    """A trial as callers see it."""
    denial, quote = found.denial, found.quote
    denied = {name: getattr(denial, name, None) for name in ("check", "reason", "message")}
    prices = {name: getattr(quote, name, None) for name in ("bid", "ask")}
    facts: dict[str, Any] = {"checks": list(found.checks), "not_made": list(found.not_made), **denied, **prices}
    return TrialView.model_construct(would_be_sent=denial is None, trades_account=trades_account, **facts)


def json_response(
    shown: BaseModel, status: HTTPStatus = HTTPStatus.OK, headers: Mapping[str, str] | None = None
) -> Response:
    """A view as JSON."""
    return Response(shown.model_dump_json(), status, headers, media_type="application/json")


Responses = dict[int | str, dict[str, Any]]


def problems(*statuses: int) -> Responses:
    """Error answers, as a route declares them for the OpenAPI document."""
    # Not as a model: FastAPI makes a validator of each model of each route, three hundred of them for these.
    schema = {"$ref": REFERENCE.format(model=ProblemView.__name__)}
    return {status: {"content": {PROBLEM_TYPE: {"schema": schema}}} for status in statuses}


COMMON_PROBLEMS = problems(401, 403, 422, 429, 503, 504)
"""Errors that any operation may answer with; each router declares them."""
BODY_ERRORS = (400, 413)
"""Statuses of an operation with a body, which may be unreadable or too large."""
