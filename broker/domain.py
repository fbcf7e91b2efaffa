"""Orders, fills, quotes and money. Prices, units and money are `Decimal`; times are aware datetimes."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from msgspec import Struct

AVERAGE_PLACES = Decimal("1e-10")


class OrderType(StrEnum):
    """Kind of an order: the event that makes it trade (OANDA v20, order-definitions)."""

    MARKET = "market"
    LIMIT = "limit"
    STOP = "stop"
    MARKET_IF_TOUCHED = "market_if_touched"
    TAKE_PROFIT = "take_profit"
    STOP_LOSS = "stop_loss"
    GUARANTEED_STOP_LOSS = "guaranteed_stop_loss"
    TRAILING_STOP_LOSS = "trailing_stop_loss"


class Side(StrEnum):
    """Direction; the venue's units are positive for a buy, negative for a sell."""

    BUY = "buy"
    SELL = "sell"

    @property
    def sign(self) -> int:
        """+1 or -1."""
        return 1 if self is Side.BUY else -1


class TimeInForce(StrEnum):
    """Time for which an order stays in force. Market orders take FOK or IOC only."""

    GTC = "gtc"
    GTD = "gtd"
    GFD = "gfd"
    FOK = "fok"
    IOC = "ioc"


class PositionFill(StrEnum):
    """Effect that a fill may have on the position."""

    DEFAULT = "default"
    OPEN_ONLY = "open_only"
    REDUCE_FIRST = "reduce_first"
    REDUCE_ONLY = "reduce_only"


class TriggerCondition(StrEnum):
    """Price that triggers a resting order (v20, `OrderTriggerCondition`)."""

    DEFAULT = "default"
    """The ask for a buy, the bid for a sell."""
    INVERSE = "inverse"
    """The bid for a buy, the ask for a sell."""
    BID = "bid"
    ASK = "ask"
    MID = "mid"


class Operation(StrEnum):
    """Operation of the order API. An idempotency key belongs to one operation on one target."""

    PLACE = "place"
    REPLACE = "replace"
    CLOSE_POSITION = "close_position"
    CLOSE_TRADE = "close_trade"
    CHANGE_TRADE_ORDERS = "change_trade_orders"
    CANCEL_ALL = "cancel_all"
    CLOSE_ALL = "close_all"
    KILL = "kill"


class OrderStatus(StrEnum):
    """Status of an order. `orders/model/lifecycle.py` has the table of moves."""

    RECEIVED = "received"
    """Received from the caller; nothing was sent."""
    DENIED = "denied"
    """Refused before the venue saw it: risk, limits, a halt. Final."""
    SUBMITTED = "submitted"
    """The intent is in the journal; the request may be on the wire."""
    PENDING = "pending"
    """Rests at the venue."""
    FILLED = "filled"
    """Traded in full. Final."""
    PARTIALLY_FILLED = "partially_filled"
    """Traded in part, and the rest has ended. Final. An order whose rest still works is PENDING, with fills."""
    CANCELLED = "cancelled"
    """Ended by the venue or by a cancel without a trade. Final."""
    REJECTED = "rejected"
    """Refused by the venue. Final."""
    UNKNOWN = "unknown"
    """The answer was lost; scans of the venue's log find the outcome."""
    PRESUMED_ABSENT = "presumed_absent"
    """Not found up to the horizon of the scans; alerted, never sent again, adopted if it appears."""

    @property
    def is_final(self) -> bool:
        """True if the order has ended; only a fill that is told late can follow (`lifecycle.TABLE`)."""
        return self in _FINAL


_FINAL = frozenset(
    {OrderStatus.DENIED, OrderStatus.FILLED, OrderStatus.PARTIALLY_FILLED, OrderStatus.CANCELLED, OrderStatus.REJECTED}
)


class Protection(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An order to attach when the order fills: a price, or a distance from the fill's price."""

    price: Decimal | None = None
    distance: Decimal | None = None
    guaranteed: bool = False
    time_in_force: TimeInForce = TimeInForce.GTC
    """GTC, GTD or GFD."""
    expires_at: datetime | None = None
    """Of GTD."""
    tag: str | None = None
    comment: str | None = None


class OrderRequest(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Order that a caller asks for."""

    client_order_id: str
    """The caller's id, or its Idempotency-Key: the same id is the same order. 1 to 64 characters."""
    client: str
    """Id of the caller's API key."""
    account: str
    instrument: str
    type: OrderType
    side: Side
    units: Decimal
    """Positive."""
    price: Decimal | None = None
    """Limit, stop or trigger price; none for a market order."""
    price_bound: Decimal | None = None
    """Worst price that a fill may have."""
    distance: Decimal | None = None
    """Of a trailing stop, in price units."""
    time_in_force: TimeInForce = TimeInForce.GTC
    expires_at: datetime | None = None
    """Of GTD."""
    position_fill: PositionFill = PositionFill.DEFAULT
    trigger_condition: TriggerCondition = TriggerCondition.DEFAULT
    """Of an order that rests."""
    trade_id: str | None = None
    """The trade that a take-profit, stop-loss or trailing stop belongs to."""
    take_profit: Protection | None = None
    stop_loss: Protection | None = None
    trailing_stop: Protection | None = None
    tag: str | None = None
    comment: str | None = None
    traceparent: str | None = None
    """W3C trace context of the caller."""
    operation: Operation | None = None
    """Operation that asked for it; None in journals and histories before 0.2."""
    target: str | None = None
    """Order that it replaces (our id), position or trade that it closes, trade whose orders it changes."""
    closes_all: bool = False
    """Of a close: of all that there is, whatever `units` says."""


class TradeEffect(StrEnum):
    """Effect of a fill on a trade."""

    OPENED = "opened"
    REDUCED = "reduced"
    CLOSED = "closed"


class TradePart(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A fill's part in one trade."""

    trade_id: str
    effect: TradeEffect
    units: Decimal
    """Positive."""
    profit: Decimal = Decimal(0)
    """Realised by this part, in the account's currency."""


class Fill(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One trade that an order made."""

    transaction_id: str
    units: Decimal
    """Positive; may be less than was asked."""
    price: Decimal
    time: datetime
    """To the microsecond; `time_ns` has all of the venue's digits."""
    time_ns: int = 0
    instrument: str = ""
    """As the venue's fill says it: an order of a trade has none of its own. Empty in journals before 0.2."""
    side: Side | None = None
    profit: Decimal = Decimal(0)
    """Realised, in the account's currency."""
    commission: Decimal = Decimal(0)
    financing: Decimal = Decimal(0)
    guaranteed_fee: Decimal = Decimal(0)
    half_spread_cost: Decimal = Decimal(0)
    trade_ids: tuple[str, ...] = ()
    """Trades opened, reduced or closed."""
    trades: tuple[TradePart, ...] = ()
    """The same with effect and units. Empty in journals before 0.2."""


class Order(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An order as we know it: the request, its status and its fills."""

    id: str
    """Ours: time-ordered, unique, 26 characters."""
    request: OrderRequest
    status: OrderStatus
    reason: str | None = None
    """Constant name of the reason if denied, cancelled, rejected or unknown; the venue's own if it decided."""
    message: str | None = None
    """One sentence for people."""
    venue_order_id: str | None = None
    fills: tuple[Fill, ...] = ()
    created_at: datetime
    updated_at: datetime

    @property
    def filled_units(self) -> Decimal:
        """Sum over the fills."""
        if len(self.fills) == 1:
            return self.fills[0].units
        return sum((fill.units for fill in self.fills), Decimal(0))

    @property
    def remaining_units(self) -> Decimal:
        """Units that may still trade: none of an order that has ended."""
        return Decimal(0) if self.status.is_final else max(self.request.units - self.filled_units, Decimal(0))


def average_price(fills: tuple[Fill, ...]) -> Decimal | None:
    """Price over the fills, weighted by units, to ten places; a single fill's own digits; None without fills."""
    if len(fills) == 1:
        return fills[0].price
    units = sum((fill.units for fill in fills), Decimal(0))
    if not units:
        return None
    worth = sum((fill.units * fill.price for fill in fills), Decimal(0))
    return (worth / units).quantize(AVERAGE_PLACES).normalize()


class FinancingDay(Struct, frozen=True):
    """Weekday at whose end financing is charged, for a number of days; more than one before a weekend."""

    day: str
    days_charged: int


class InstrumentFinancing(Struct, frozen=True, kw_only=True):
    """Yearly rates for holding an instrument overnight; what is positive is paid to the holder."""

    long_rate: Decimal
    short_rate: Decimal
    days: tuple[FinancingDay, ...] = ()


class Instrument(Struct, frozen=True, kw_only=True):
    """The venue's facts about an instrument."""

    name: str
    display_precision: int
    """Decimal places of a price."""
    units_precision: int
    pip_location: int
    """Power of ten of a pip, for example -4."""
    minimum_units: Decimal
    maximum_units: Decimal
    margin_rate: Decimal
    kind: str = "CURRENCY"
    display_name: str = ""
    maximum_position_units: Decimal = Decimal(0)
    """0 is no limit."""
    minimum_trailing_distance: Decimal = Decimal(0)
    maximum_trailing_distance: Decimal = Decimal(0)
    """0 is no limit."""
    financing: InstrumentFinancing | None = None
    """None if the venue does not say."""


class Quote(Struct, frozen=True, kw_only=True):
    """The latest price of an instrument."""

    instrument: str
    bid: Decimal
    ask: Decimal
    time: datetime
    """The venue's time of the price."""
    received_at: datetime
    tradeable: bool = True


class Position(Struct, frozen=True, kw_only=True):
    """Net holding of an instrument."""

    instrument: str
    units: Decimal
    """Positive is long, negative short."""
    average_price: Decimal | None
    unrealized_profit: Decimal
    realized_profit: Decimal


class Account(Struct, frozen=True, kw_only=True):
    """The venue's summary of an account."""

    id: str
    currency: str
    balance: Decimal
    nav: Decimal
    margin_used: Decimal
    margin_available: Decimal
    margin_closeout_ratio: Decimal
    open_orders: int
    open_trades: int
    open_positions: int
    last_transaction_id: str
    alias: str | None = None
    created_at: datetime | None = None
    hedging: bool = False
    """True if long and short trades of one instrument are held side by side."""
    unrealized_profit: Decimal = Decimal(0)
    realized_profit: Decimal = Decimal(0)
    """Over the account's life, as financing, commission and fees are."""
    financing: Decimal = Decimal(0)
    commission: Decimal = Decimal(0)
    guaranteed_fees: Decimal = Decimal(0)
    position_value: Decimal = Decimal(0)
    margin_rate: Decimal = Decimal(0)
    """The account's own; 0 if it has none, and each instrument's applies."""
    margin_closeout_used: Decimal = Decimal(0)
    """Margin that the closeout is judged by."""
    margin_call_ratio: Decimal = Decimal(0)
    withdrawal_limit: Decimal = Decimal(0)
