"""Bodies of requests, and their translation into the domain."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Self

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from broker.domain import OrderRequest, OrderType, PositionFill, Protection, Side, TimeInForce


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:  # the first and the last hours of the calendar, in some zones
        raise ValueError("give a time of the years 1 to 9999 in UTC, too") from None


Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]
"""A time with its zone, converted to UTC."""
Amount = Annotated[Decimal, Field(gt=0, max_digits=24, decimal_places=10, examples=["1000"])]
InstrumentName = Annotated[str, StringConstraints(pattern=r"^[A-Z0-9]{2,16}_[A-Z0-9]{2,16}$")]
ClientOrderId = Annotated[str, StringConstraints(pattern=r"^[!-~]{1,64}$")]
VenueId = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,20}$")]
ClientId = Annotated[str, StringConstraints(pattern=r"^[!-~]{1,64}$")]
Reason = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
Note = Annotated[str, StringConstraints(max_length=128, pattern=r"^[^\x00-\x1f\x7f]*$")]

FIELDS = "fields"
"""Type of a validation error whose context lists the errors of several fields."""

# The venue's rules: https://developer.oanda.com/rest-live-v20/order-df/ has the fields of each type of order.
_DISTANT = frozenset({OrderType.STOP_LOSS, OrderType.GUARANTEED_STOP_LOSS})
_PRICED = _DISTANT | {OrderType.LIMIT, OrderType.STOP, OrderType.MARKET_IF_TOUCHED, OrderType.TAKE_PROFIT}
_OF_A_TRADE = _DISTANT | {OrderType.TAKE_PROFIT, OrderType.TRAILING_STOP_LOSS}
_IMMEDIATE = frozenset({TimeInForce.FOK, TimeInForce.IOC})


class Body(BaseModel):
    """A body whose unknown fields are errors."""

    # A misspelt limit must not become a market order.
    model_config = ConfigDict(extra="forbid", frozen=True)


class ProtectionBody(Body):
    """An order to attach when this one fills: at a price, or at a distance from the fill's price."""

    price: Amount | None = None
    distance: Amount | None = None
    guaranteed: bool = False

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.price is None) == (self.distance is None):
            raise ValueError("give price or distance, and only one of them")
        return self


class OrderBody(Body):
    """An order to place. Numbers may be JSON numbers or, better, texts: a text is taken digit for digit."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"instrument": "EUR_USD", "side": "buy", "type": "market", "units": "1000"},
                {
                    "client_order_id": "rebalance-2026-01-05-17",
                    "instrument": "EUR_USD",
                    "side": "sell",
                    "type": "limit",
                    "units": "1000",
                    "price": "1.09500",
                    "time_in_force": "gtc",
                    "take_profit": {"price": "1.08500"},
                },
            ]
        }
    )

    client_order_id: ClientOrderId | None = Field(
        default=None,
        description="Your id: the same id is the same order, however often it is sent. 1 to 64 printable characters. "
        "The Idempotency-Key header says the same; without either, an id is made and a retry is a second order.",
    )
    instrument: InstrumentName = Field(examples=["EUR_USD"])
    side: Side
    type: OrderType
    units: Amount
    price: Amount | None = Field(default=None, description="Limit, stop or trigger price; never of a market order.")
    price_bound: Amount | None = Field(default=None, description="Worst price that a fill may have.")
    distance: Amount | None = Field(default=None, description="Of a trailing stop (or stop loss), in price units.")
    time_in_force: TimeInForce | None = Field(
        default=None, description="Market orders: fok (default) or ioc; else gtc."
    )
    expires_at: Moment | None = Field(default=None, description="Of gtd: when it ends.")
    position_fill: PositionFill = PositionFill.DEFAULT
    trade_id: VenueId | None = Field(default=None, description="The trade that a stop loss or take profit guards.")
    take_profit: ProtectionBody | None = None
    stop_loss: ProtectionBody | None = None
    trailing_stop: ProtectionBody | None = None
    tag: Note | None = None
    comment: Note | None = None

    @model_validator(mode="after")
    def _fields_fit_the_type(self) -> Self:
        # All errors at once: a caller corrects a request once, not once for each field.
        if faults := [(field, message) for is_wrong, field, message in self._rules() if is_wrong]:
            raise PydanticCustomError(FIELDS, "the fields do not fit each other", {"faults": faults})
        return self

    def _rules(self) -> Iterator[tuple[bool, str, str]]:
        """Yield for each rule: True if it is broken, the field, the message."""
        kind, validity, is_gtd = self.type, self.time_in_force, self.time_in_force is TimeInForce.GTD
        has_price, has_distance = self.price is not None, self.distance is not None
        needs_price = kind in _PRICED and not (kind in _DISTANT and has_distance)
        takes_distance = kind in _DISTANT | {OrderType.TRAILING_STOP_LOSS}
        needs_distance = kind is OrderType.TRAILING_STOP_LOSS
        is_unpriced, has_both = kind not in _PRICED, kind in _DISTANT and has_price and has_distance
        yield needs_price and not has_price, "price", f"is required for a {kind} order"
        yield is_unpriced and has_price, "price", f"must be absent for a {kind} order; price_bound limits its fill"
        yield needs_distance and not has_distance, "distance", "is required for a trailing_stop_loss order"
        yield has_distance and not takes_distance, "distance", f"must be absent for a {kind} order"
        yield has_both, "distance", "give price or distance, and only one of them"
        rests_at_market = kind is OrderType.MARKET and validity not in {None, *_IMMEDIATE}
        is_hasty = kind not in {OrderType.MARKET, OrderType.LIMIT} and validity in _IMMEDIATE
        yield rests_at_market, "time_in_force", "of a market order is fok or ioc"
        yield is_hasty, "time_in_force", f"of a {kind} order is gtc, gtd or gfd"
        yield is_gtd and self.expires_at is None, "expires_at", "is required for time_in_force gtd"
        yield not is_gtd and self.expires_at is not None, "expires_at", "must be absent unless time_in_force is gtd"
        is_of_trade, has_trade = kind in _OF_A_TRADE, self.trade_id is not None
        yield is_of_trade and not has_trade, "trade_id", f"is required for a {kind} order"
        yield not is_of_trade and has_trade, "trade_id", f"must be absent for a {kind} order"

    def request(self, *, client: str, client_order_id: str, account: str, traceparent: str | None) -> OrderRequest:
        """The same in the domain."""
        usual = TimeInForce.FOK if self.type is OrderType.MARKET else TimeInForce.GTC
        fields: dict[str, Any] = {**vars(self)}
        for name in ("take_profit", "stop_loss", "trailing_stop"):
            if fields[name] is not None:
                fields[name] = Protection(**vars(fields[name]))
        fields["time_in_force"] = self.time_in_force or usual
        fields["client_order_id"] = client_order_id
        return OrderRequest(**fields, client=client, account=account, traceparent=traceparent)


class ClosePositionBody(Body):
    """The part of a position to close; without units all of it."""

    side: Side | None = Field(default=None, description="`buy` closes the long side, `sell` the short one.")
    units: Amount | None = None


class CloseTradeBody(Body):
    """The part of a trade to close; without units all of it."""

    units: Amount | None = None


class CancelAllBody(Body):
    """The orders to cancel: those that meet every condition; without one all of them."""

    instrument: InstrumentName | None = Field(default=None, examples=["EUR_USD"])
    client: ClientId | None = Field(
        default=None, description="Id of the API key that placed them; another than your own needs the scope `admin`."
    )
    keep_exits: bool = Field(
        default=False, description="Leave take-profits and stops of trades, which protect positions."
    )


class CloseAllBody(Body):
    """The positions to close; without an instrument all of them."""

    instrument: InstrumentName | None = Field(default=None, examples=["EUR_USD"])


class KillBody(Body):
    """The confirmation and the reason of the kill switch."""

    confirm: Annotated[str, StringConstraints(max_length=64)] = Field(
        description="The account's id, as a confirmation.", examples=["101-004-1234567-001"]
    )
    reason: Reason = Field(examples=["feed shows wrong prices"])


class StateBody(Body):
    """The trading state to go to, and why."""

    state: Annotated[str, StringConstraints(pattern="^(active|reducing|halted)$")]
    reason: Reason
