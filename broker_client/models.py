"""Models of the order API.

Generated from the order API's OpenAPI document: change that, and run `python -m tools.client`.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Literal, Self

import msgspec
from msgspec import UNSET, UnsetType

__all__ = [
    "UNSET",
    "AccountView",
    "AttachedView",
    "BookBucketView",
    "BookView",
    "CancelAllBody",
    "CandleList",
    "CandlePricesView",
    "CandleView",
    "CloseAllBody",
    "ClosePositionBody",
    "CloseTradeBody",
    "ConditionList",
    "ConditionView",
    "ConversionList",
    "ConversionView",
    "DepthView",
    "ExtensionsBody",
    "FieldFault",
    "FillView",
    "FinancingDayView",
    "FinancingView",
    "GapView",
    "InstrumentView",
    "InstrumentsView",
    "KeyView",
    "KillBody",
    "KillView",
    "MismatchView",
    "MissedView",
    "OrderBody",
    "OrderList",
    "OrderStatus",
    "OrderType",
    "OrderView",
    "OutcomeList",
    "OutcomeView",
    "PastFill",
    "PastFills",
    "PastOrder",
    "PastOrders",
    "PastTransaction",
    "PastTransactions",
    "PositionFill",
    "PositionList",
    "PositionView",
    "PriceLevelView",
    "PriceList",
    "PriceView",
    "ProblemView",
    "ProtectionBody",
    "ProtectionView",
    "ReconcileView",
    "Side",
    "StateBody",
    "StateChangeView",
    "StateView",
    "TimeInForce",
    "TradeEffect",
    "TradeList",
    "TradeOrdersBody",
    "TradePartView",
    "TradeView",
    "TrialView",
    "TriggerCondition",
]


class OpenEnum(StrEnum):
    """Names of which a newer broker may have more: one that is not known here is taken as its text."""

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, str):
            return None
        member = str.__new__(cls, value)
        member._name_ = value.upper()
        member._value_ = value
        return member


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A model of an answer. Fields that are not known here are left out."""


class RequestBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model of a request. A field that is UNSET is not sent; None is sent as null."""


class OrderStatus(OpenEnum):
    """Status of an order. `orders/model/lifecycle.py` has the table of moves."""

    RECEIVED = "received"
    DENIED = "denied"
    SUBMITTED = "submitted"
    PENDING = "pending"
    FILLED = "filled"
    PARTIALLY_FILLED = "partially_filled"
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    UNKNOWN = "unknown"
    PRESUMED_ABSENT = "presumed_absent"


class OrderType(OpenEnum):
    """Kind of an order: the event that makes it trade (OANDA v20, order-definitions)."""

    MARKET = "market"
    LIMIT = "limit"
    STOP = "stop"
    MARKET_IF_TOUCHED = "market_if_touched"
    TAKE_PROFIT = "take_profit"
    STOP_LOSS = "stop_loss"
    GUARANTEED_STOP_LOSS = "guaranteed_stop_loss"
    TRAILING_STOP_LOSS = "trailing_stop_loss"


class PositionFill(OpenEnum):
    """Effect that a fill may have on the position."""

    DEFAULT = "default"
    OPEN_ONLY = "open_only"
    REDUCE_FIRST = "reduce_first"
    REDUCE_ONLY = "reduce_only"


class Side(OpenEnum):
    """Direction; the venue's units are positive for a buy, negative for a sell."""

    BUY = "buy"
    SELL = "sell"


class TimeInForce(OpenEnum):
    """Time for which an order stays in force. Market orders take FOK or IOC only."""

    GTC = "gtc"
    GTD = "gtd"
    GFD = "gfd"
    FOK = "fok"
    IOC = "ioc"


class TradeEffect(OpenEnum):
    """Effect of a fill on a trade."""

    OPENED = "opened"
    REDUCED = "reduced"
    CLOSED = "closed"


class TriggerCondition(OpenEnum):
    """Price that triggers a resting order (v20, `OrderTriggerCondition`)."""

    DEFAULT = "default"
    INVERSE = "inverse"
    BID = "bid"
    ASK = "ask"
    MID = "mid"


class AccountView(Answer, frozen=True, kw_only=True):
    """The venue's summary of the account."""

    id: str
    alias: str | None = None
    environment: str
    """practice, live, or other for a venue of your own."""
    currency: str
    created_at: datetime | None = None
    hedging: bool
    """True if long and short trades of an instrument are held side by side."""
    balance: Decimal
    nav: Decimal
    """Net asset value: the balance with the unrealised result."""
    unrealized_profit: Decimal
    realized_profit: Decimal
    """Over the account's life, as financing, commission and fees are."""
    financing: Decimal
    commission: Decimal
    guaranteed_fees: Decimal
    """Paid for guaranteed stops."""
    position_value: Decimal
    margin_used: Decimal
    margin_available: Decimal
    margin_rate: Decimal | None = None
    """The account's own; null if each instrument's applies."""
    margin_call_ratio: Decimal
    """A margin call comes at 1."""
    margin_closeout_ratio: Decimal
    """The venue closes all positions at 1."""
    margin_closeout_used: Decimal
    """The margin that the closeout is judged by."""
    withdrawal_limit: Decimal
    open_orders: int
    open_trades: int
    open_positions: int
    last_transaction_id: str


class AttachedView(Answer, frozen=True, kw_only=True):
    """An order that the venue attaches to the trade when the order fills."""

    price: Decimal | None = None
    distance: Decimal | None = None
    """From the fill's price."""
    guaranteed: bool
    time_in_force: TimeInForce
    expires_at: datetime | None = None
    tag: str | None = None
    comment: str | None = None


class BookBucketView(Answer, frozen=True, kw_only=True):
    """Share of the orders or positions of the venue's clients in a range of prices."""

    price: Decimal
    """Begin of the range, which is `bucket_width` wide."""
    long_percent: Decimal
    short_percent: Decimal


class BookView(Answer, frozen=True, kw_only=True):
    """Orders or positions of all of the venue's clients in an instrument, at a moment."""

    instrument: str
    time: datetime
    price: Decimal
    """Mid price of that moment."""
    bucket_width: Decimal
    buckets: list[BookBucketView]


class CancelAllBody(RequestBody, frozen=True, kw_only=True):
    """The orders to cancel: those that meet every condition; without one all of them."""

    instrument: str | UnsetType | None = UNSET
    client: str | UnsetType | None = UNSET
    """Id of the API key that placed them; another than your own needs the scope `admin`."""
    keep_exits: bool | UnsetType = UNSET
    """Leave take-profits and stops of trades, which protect positions."""


class CandleList(Answer, frozen=True, kw_only=True):
    """Candles of an instrument, the oldest first."""

    instrument: str
    granularity: str
    candles: list[CandleView]


class CandlePricesView(Answer, frozen=True, kw_only=True):
    """Prices of a candle, as texts."""

    o: Decimal
    """Open."""
    h: Decimal
    """High."""
    l: Decimal
    """Low."""
    c: Decimal
    """Close."""


class CandleView(Answer, frozen=True, kw_only=True):
    """Prices of one span of time; of bid, mid and ask those that were asked for."""

    time: datetime
    """Start of the span."""
    complete: bool
    """False of the span that still runs."""
    volume: int
    """Number of prices in it."""
    bid: CandlePricesView | None = None
    mid: CandlePricesView | None = None
    ask: CandlePricesView | None = None


class CloseAllBody(RequestBody, frozen=True, kw_only=True):
    """The positions to close; without an instrument all of them."""

    instrument: str | UnsetType | None = UNSET


class ClosePositionBody(RequestBody, frozen=True, kw_only=True):
    """The part of a position to close; without units all of it."""

    side: Side | UnsetType | None = UNSET
    """`buy` closes the long side, `sell` the short one."""
    units: Decimal | UnsetType | None = UNSET


class CloseTradeBody(RequestBody, frozen=True, kw_only=True):
    """The part of a trade to close; without units all of it."""

    units: Decimal | UnsetType | None = UNSET


class ConditionList(Answer, frozen=True, kw_only=True):
    """The broker's conditions."""

    conditions: list[ConditionView]


class ConditionView(Answer, frozen=True, kw_only=True):
    """One named statement of health; an advisory one never makes the broker not ready."""

    name: str
    ok: bool
    reason: str
    message: str
    since: datetime
    advisory: bool


class ConversionList(Answer, frozen=True, kw_only=True):
    """Conversions of the currencies of some instruments."""

    conversions: list[ConversionView]


class ConversionView(Answer, frozen=True, kw_only=True):
    """Factors from a currency to the account's: multiply an amount by one of them."""

    currency: str
    gain: Decimal
    """For profit and received financing."""
    loss: Decimal
    """For losses and paid financing."""
    position_value: Decimal
    """For the value of a position."""


class DepthView(Answer, frozen=True, kw_only=True):
    """Price levels of an instrument, the best first."""

    instrument: str
    time: datetime
    """The venue's time of the price."""
    tradeable: bool
    bids: list[PriceLevelView]
    asks: list[PriceLevelView]
    closeout_bid: Decimal | None = None
    """Price at which a position is closed where there is no bid."""
    closeout_ask: Decimal | None = None


class ExtensionsBody(RequestBody, frozen=True, kw_only=True):
    """Tag and comment of an order or trade; what is absent stays, null empties it."""

    tag: str | UnsetType | None = UNSET
    comment: str | UnsetType | None = UNSET


class FieldFault(Answer, frozen=True, kw_only=True):
    """One field of a request that is wrong."""

    field: str
    """Path of the field, for example `units` or `take_profit.price`."""
    message: str


class FillView(Answer, frozen=True, kw_only=True):
    """One fill of an order."""

    transaction_id: str
    """The venue's id of the transaction that filled."""
    instrument: str
    side: Side
    units: Decimal
    price: Decimal
    time: datetime
    """The venue's, with its nine digits."""
    profit: Decimal
    """Realised, in the account's currency, before the costs below."""
    commission: Decimal
    """Charged; positive."""
    financing: Decimal
    """Paid (negative) or collected by the trades that it closed."""
    guaranteed_fee: Decimal
    """Charged for a guaranteed stop; positive."""
    half_spread_cost: Decimal
    """Half of the spread, which the price contains."""
    trades: list[TradePartView]
    """Trades that it opened, reduced and closed."""


class FinancingDayView(Answer, frozen=True, kw_only=True):
    """Weekday at whose end financing is charged."""

    day: str
    days_charged: int


class FinancingView(Answer, frozen=True, kw_only=True):
    """Yearly rates for holding an instrument overnight; what is positive is paid to the holder."""

    long_rate: Decimal
    short_rate: Decimal
    days: list[FinancingDayView]


class GapView(Answer, frozen=True, kw_only=True):
    """Changes since Last-Event-ID are not in the broker's journal."""

    reason: str
    """discarded: they are too old. unknown: the id is not of this journal. unreadable: the volume fails."""
    detail: str | None = None


class InstrumentView(Answer, frozen=True, kw_only=True):
    """The venue's rules of an instrument."""

    name: str
    display_name: str
    kind: str
    """currency, cfd, metal, …"""
    display_precision: int
    """Decimal places of a price."""
    units_precision: int
    """Decimal places of units."""
    pip_location: int
    """Power of ten of a pip."""
    minimum_units: Decimal
    """Smallest order."""
    maximum_units: Decimal
    """Largest order."""
    maximum_position_units: Decimal | None = None
    """Largest position; null if it has no limit."""
    margin_rate: Decimal
    """Share of a position's value that is held as margin."""
    minimum_trailing_distance: Decimal
    maximum_trailing_distance: Decimal | None = None
    financing: FinancingView | None = None
    """Null if the venue does not say."""
    tradeable: bool | None = None
    """By the latest price; null if this replica has none."""


class InstrumentsView(Answer, frozen=True, kw_only=True):
    """Instruments of the account."""

    instruments: list[InstrumentView]
    read_at: datetime
    """Time at which the venue said so; read anew every five minutes."""


class KeyView(Answer, frozen=True, kw_only=True):
    """The API key of the request."""

    id: str
    """Its id: the `client` of orders that are placed with it."""
    scopes: list[str]
    accounts: list[str]
    """The accounts of this broker; with several, requests name one."""
    version: str
    """Of the broker's program."""


class KillBody(RequestBody, frozen=True, kw_only=True):
    """The confirmation and the reason of the kill switch."""

    confirm: str
    """The account's id, as a confirmation."""
    reason: str


class KillView(Answer, frozen=True, kw_only=True):
    """Outcomes of the kill switch: for each order that rested or was on its way, and for each position."""

    complete: bool
    """True if nothing is left to do: every outcome is `done` or `ended`."""
    results: list[OutcomeView]
    state: str


class MismatchView(Answer, frozen=True, kw_only=True):
    """One difference between the venue and the broker."""

    kind: str
    subject: str
    ours: str
    theirs: str


class MissedView(Answer, frozen=True, kw_only=True):
    """Prices and summaries of the account that were dropped because the reader was slow."""

    count: int


class OrderBody(RequestBody, frozen=True, kw_only=True):
    """An order to place. Numbers may be JSON numbers or, better, texts: a text is taken digit for digit."""

    client_order_id: str | UnsetType | None = UNSET
    """Your id: the same id is the same order, however often it is sent. 1 to 64 printable characters. The
    Idempotency-Key header says the same; without either, an id is made and a retry is a second order.
    """
    type: OrderType
    instrument: str | UnsetType | None = UNSET
    """Required, but for orders of a trade (with `trade_id`): those have the trade's."""
    side: Side | UnsetType | None = UNSET
    """As `instrument`."""
    units: Decimal | UnsetType | None = UNSET
    """As `instrument`."""
    price: Decimal | UnsetType | None = UNSET
    """Limit, stop or trigger price; never of a market order."""
    price_bound: Decimal | UnsetType | None = UNSET
    """Worst price that a fill may have, of market, stop and market_if_touched orders."""
    distance: Decimal | UnsetType | None = UNSET
    """Of a trailing stop (or stop loss), in price units."""
    time_in_force: TimeInForce | UnsetType | None = UNSET
    """Market orders: fok (default) or ioc; limit and stop orders: any; others: gtc, gtd or gfd."""
    expires_at: datetime | UnsetType | None = UNSET
    """Of gtd: when it ends."""
    position_fill: PositionFill | UnsetType = UNSET
    trigger_condition: TriggerCondition | UnsetType = UNSET
    """Price that triggers an order that rests: `default` is the ask for a buy and the bid for a sell."""
    trade_id: str | UnsetType | None = UNSET
    """The trade that a stop loss or take profit guards."""
    take_profit: ProtectionBody | UnsetType | None = UNSET
    stop_loss: ProtectionBody | UnsetType | None = UNSET
    trailing_stop: ProtectionBody | UnsetType | None = UNSET
    tag: str | UnsetType | None = UNSET
    comment: str | UnsetType | None = UNSET


class OrderList(Answer, frozen=True, kw_only=True):
    """Orders that are open, newest last."""

    orders: list[OrderView]


class OrderView(Answer, frozen=True, kw_only=True):
    """An order: the request, its status, and its fills."""

    id: str
    """The broker's id, time-ordered."""
    client_order_id: str
    client: str
    status: OrderStatus
    reason: str | None = None
    """Reason for which it is denied, cancelled, rejected or unknown."""
    message: str | None = None
    instrument: str
    side: Side
    type: OrderType
    time_in_force: TimeInForce
    expires_at: datetime | None = None
    units: Decimal
    filled_units: Decimal
    remaining_units: Decimal
    """Units that may still trade; 0 once the order has ended."""
    average_price: Decimal | None = None
    """Over the fills, weighted by units."""
    price: Decimal | None = None
    price_bound: Decimal | None = None
    """Worst price that a fill may have."""
    distance: Decimal | None = None
    """Of a trailing stop, in price units."""
    position_fill: PositionFill
    trigger_condition: TriggerCondition
    trade_id: str | None = None
    """Of a take-profit, a stop or the close of a trade: the trade."""
    take_profit: AttachedView | None = None
    stop_loss: AttachedView | None = None
    trailing_stop: AttachedView | None = None
    tag: str | None = None
    comment: str | None = None
    venue_order_id: str | None = None
    fills: list[FillView]
    created_at: datetime
    updated_at: datetime


class OutcomeList(Answer, frozen=True, kw_only=True):
    """Outcomes; those first that leave something to do."""

    complete: bool
    """True if nothing is left to do: every outcome is `done` or `ended`."""
    results: list[OutcomeView]


class OutcomeView(Answer, frozen=True, kw_only=True):
    """The result for one order or position."""

    subject: str
    """The broker's id of the order, the instrument of the position, or the field of the request."""
    outcome: str
    """`done`: as asked. `ended`: it had ended otherwise, see `order`. `refused`: by the broker or the venue, `reason`
    says why. `unknown`: the venue's answer was lost, its log will tell. `failed`: the venue could not be asked;
    send the request again with the same key.
    """
    reason: str | None = None
    message: str | None = None
    order: OrderView | None = None
    """The order that was cancelled, that closes the position, or was made."""


class PastFill(Answer, frozen=True, kw_only=True):
    """One fill of an order. Fills before 0.2 have no costs and no trades."""

    transaction_id: str
    order_id: str
    instrument: str
    side: Side
    units: Decimal
    price: Decimal
    profit: Decimal
    half_spread_cost: Decimal
    time: datetime
    """The venue's, with its nine digits."""
    commission: Decimal | None = None
    financing: Decimal | None = None
    guaranteed_fee: Decimal | None = None
    trades: list[TradePartView] | None = None


class PastFills(Answer, frozen=True, kw_only=True):
    """A page of fills."""

    fills: list[PastFill]
    next: str | None = None
    """Cursor of the next page; null at the end."""


class PastOrder(Answer, frozen=True, kw_only=True):
    """An order at its last known status."""

    id: str
    client: str
    client_order_id: str
    instrument: str
    type: OrderType
    side: Side
    status: OrderStatus
    reason: str | None = None
    units: Decimal
    filled_units: Decimal
    average_price: Decimal | None = None
    venue_order_id: str | None = None
    created_at: datetime
    updated_at: datetime
    time_in_force: TimeInForce
    expires_at: datetime | None = None
    remaining_units: Decimal
    price: Decimal | None = None
    price_bound: Decimal | None = None
    distance: Decimal | None = None
    position_fill: PositionFill
    trigger_condition: TriggerCondition
    trade_id: str | None = None
    take_profit: AttachedView | None = None
    stop_loss: AttachedView | None = None
    trailing_stop: AttachedView | None = None
    tag: str | None = None
    comment: str | None = None


class PastOrders(Answer, frozen=True, kw_only=True):
    """A page of orders."""

    orders: list[PastOrder]
    next: str | None = None
    """Cursor of the next page; null at the end."""


class PastTransaction(Answer, frozen=True, kw_only=True):
    """A transaction of the venue's log; `transaction` is the venue's own object."""

    id: int
    type: str
    instrument: str | None = None
    time: datetime | None = None
    transaction: dict[str, Any]


class PastTransactions(Answer, frozen=True, kw_only=True):
    """A page of transactions."""

    transactions: list[PastTransaction]
    next: str | None = None
    """Cursor of the next page; null at the end."""


class PositionList(Answer, frozen=True, kw_only=True):
    """Open positions."""

    positions: list[PositionView]


class PositionView(Answer, frozen=True, kw_only=True):
    """Net holding of an instrument."""

    instrument: str
    units: Decimal
    """Positive is long, negative short."""
    average_price: Decimal | None = None
    unrealized_profit: Decimal
    realized_profit: Decimal


class PriceLevelView(Answer, frozen=True, kw_only=True):
    """Units that can be traded at a price."""

    price: Decimal
    liquidity: Decimal


class PriceList(Answer, frozen=True, kw_only=True):
    """Latest prices."""

    prices: list[PriceView]


class PriceView(Answer, frozen=True, kw_only=True):
    """The latest price of an instrument."""

    instrument: str
    bid: Decimal
    ask: Decimal
    time: datetime
    """The venue's time of the price."""
    tradeable: bool


class ProblemView(Answer, frozen=True, kw_only=True):
    """An error, in the form of RFC 9457."""

    type: str
    """Stable name of the kind of error."""
    title: str
    status: int
    detail: str
    """The fault of this time, and its remedy."""
    reason: str | None = None
    """Constant name of the cause, where there is one."""
    errors: list[FieldFault] | None = None
    """Of 422: each field that is wrong."""
    order: OrderView | None = None
    """Of an order that was refused or not cancelled."""
    used_for: dict[str, str | None] | None = None
    """Of a key that was used before: its `operation`, `target` and `order_id`."""
    owner: str | None = None
    """Address of the broker that trades the account."""
    idempotency_key: str | None = None
    """Of a lost answer: the key to send again with."""


class ProtectionBody(RequestBody, frozen=True, kw_only=True):
    """An order to attach when this one fills: at a price, or at a distance from the fill's price."""

    price: Decimal | UnsetType | None = UNSET
    """Not of a trailing stop."""
    distance: Decimal | UnsetType | None = UNSET
    """From the fill's price, in price units."""
    guaranteed: bool | UnsetType = UNSET
    """Of a stop loss only."""
    time_in_force: Literal["gtc", "gtd", "gfd"] | UnsetType = UNSET
    expires_at: datetime | UnsetType | None = UNSET
    """Of gtd: when it ends."""
    tag: str | UnsetType | None = UNSET
    comment: str | UnsetType | None = UNSET


class ProtectionView(Answer, frozen=True, kw_only=True):
    """An order that closes a trade: take-profit, stop or trailing stop."""

    venue_order_id: str
    order_id: str | None = None
    """The broker's id of the order, where it is known."""
    price: Decimal | None = None
    distance: Decimal | None = None
    """Of a stop that was given as a distance, and of a trailing stop."""
    time_in_force: TimeInForce
    expires_at: datetime | None = None
    trigger_condition: TriggerCondition
    tag: str | None = None
    comment: str | None = None


class ReconcileView(Answer, frozen=True, kw_only=True):
    """The result of a comparison with the venue."""

    mismatches: list[MismatchView]


class StateBody(RequestBody, frozen=True, kw_only=True):
    """The trading state to go to, and why."""

    state: str
    reason: str


class StateChangeView(Answer, frozen=True, kw_only=True):
    """The trading state; it may be the same as before."""

    state: str
    actor: str
    """Id of the API key that set it, or broker."""
    reason: str


class StateView(Answer, frozen=True, kw_only=True):
    """The trading state: the orders that are taken now."""

    state: str
    """active, reducing or halted"""


class TradeList(Answer, frozen=True, kw_only=True):
    """Open trades, the oldest first."""

    trades: list[TradeView]


class TradeOrdersBody(RequestBody, frozen=True, kw_only=True):
    """The orders of a trade to change: each that is named gets this order, or with null is cancelled."""

    take_profit: ProtectionBody | UnsetType | None = UNSET
    stop_loss: ProtectionBody | UnsetType | None = UNSET
    guaranteed_stop_loss: ProtectionBody | UnsetType | None = UNSET
    trailing_stop: ProtectionBody | UnsetType | None = UNSET


class TradePartView(Answer, frozen=True, kw_only=True):
    """A fill's part in one trade."""

    trade_id: str
    """The venue's id of the trade, to protect or close it."""
    effect: TradeEffect
    units: Decimal
    """Of this part; positive."""
    profit: Decimal
    """Realised by this part, in the account's currency."""


class TradeView(Answer, frozen=True, kw_only=True):
    """A trade, with its orders."""

    id: str
    """The venue's id of the trade."""
    instrument: str
    state: str
    units: Decimal
    """The rest of it. Positive is long, negative short."""
    initial_units: Decimal
    price: Decimal
    average_close_price: Decimal | None = None
    unrealized_profit: Decimal
    realized_profit: Decimal
    """Of the part that is closed."""
    financing: Decimal
    margin_used: Decimal
    opened_at: datetime
    closed_at: datetime | None = None
    client: str | None = None
    """Id of the API key whose order opened it, where it is known."""
    order_id: str | None = None
    """The broker's id of that order, where it is known."""
    take_profit: ProtectionView | None = None
    stop_loss: ProtectionView | None = None
    guaranteed_stop_loss: ProtectionView | None = None
    trailing_stop: ProtectionView | None = None
    tag: str | None = None
    comment: str | None = None


class TrialView(Answer, frozen=True, kw_only=True):
    """The fate that an order would have had. It was only tried: nothing was sent."""

    would_be_sent: bool
    check: str | None = None
    """The check that denies it."""
    reason: str | None = None
    """The `reason` that the denied order would have."""
    message: str | None = None
    checks: list[str]
    """The checks that were made, in their order; of a denied order the last one is `check`."""
    not_made: list[str]
    """The checks that were not made: those behind `check`, and those whose facts only the account's owner has (the
    rate of orders, duplicates, the day's loss, the circuit breaker).
    """
    trades_account: bool
    """True if this replica trades the account; a standby or a preview does not."""
    bid: Decimal | None = None
    ask: Decimal | None = None
