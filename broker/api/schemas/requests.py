"""Bodies of requests, and their translation into the domain."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from broker.domain import (
    Operation,
    OrderRequest,
    OrderType,
    PositionFill,
    Protection,
    Side,
    TimeInForce,
    TriggerCondition,
)
from broker.venue.v20.order_requests import DEPENDENT, FIELDS, LEG_FIELDS, TIMES


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:  # the first and the last hours of the calendar, in some zones
        raise ValueError("give a time of the years 1 to 9999 in UTC, too") from None


Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]
"""A time with its zone, converted to UTC."""


def _in_digits(value: object) -> object:
    # Decimal itself also takes exponents, signs, underscores, blanks, and the digits of other scripts.
    if isinstance(value, str) and _DIGITS.fullmatch(value) is None:
        raise ValueError("write the number with digits and at most one point")
    return value


_DIGITS = re.compile(r"-?([0-9]+\.?[0-9]*|\.[0-9]+)")
InDigits = BeforeValidator(_in_digits)
Amount = Annotated[Decimal, Field(gt=0, max_digits=24, decimal_places=10, examples=["1000"]), InDigits]
"""A positive number: a text of digits and at most one point, or a JSON number."""
InstrumentName = Annotated[str, StringConstraints(pattern=r"^[A-Z0-9]{2,16}_[A-Z0-9]{2,16}$")]
ClientOrderId = Annotated[str, StringConstraints(pattern=r"^[!-~]{1,64}$")]
KnownOrderId = Annotated[str, StringConstraints(pattern=r"^[!-~]{1,64}( [!-~]{1,40})?$")]
"""A caller's id, or that of one order of an operation on several (`operations.part_key`)."""
VenueId = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,20}$")]
ClientId = Annotated[str, StringConstraints(pattern=r"^[!-~]{1,64}$")]
Reason = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
Note = Annotated[str, StringConstraints(max_length=128, pattern=r"^[^\x00-\x1f\x7f]*$")]

FIELDS_DIFFER = "fields"
"""Type of a validation error whose context lists the errors of several fields."""

_LEGS = tuple(LEG_FIELDS)
_ALWAYS = frozenset({"client_order_id", "type"})
# Of an order of a trade they come from the trade; where they are given they must agree with it.
_FROM_TRADE = frozenset({"instrument", "side", "units"})
_EITHER = frozenset({OrderType.STOP_LOSS, OrderType.GUARANTEED_STOP_LOSS})
"""Types with a price or a distance."""


class Body(BaseModel):
    """A body whose unknown fields are errors."""

    # A misspelt limit must not become a market order.
    model_config = ConfigDict(extra="forbid", frozen=True)


class ProtectionBody(Body):
    """An order to attach when this one fills: at a price, or at a distance from the fill's price."""

    price: Amount | None = Field(default=None, description="Not of a trailing stop.")
    distance: Amount | None = Field(default=None, description="From the fill's price, in price units.")
    guaranteed: bool = Field(default=False, description="Of a stop loss only.")
    time_in_force: Literal[TimeInForce.GTC, TimeInForce.GTD, TimeInForce.GFD] = TimeInForce.GTC
    expires_at: Moment | None = Field(default=None, description="Of gtd: when it ends.")
    tag: Note | None = None
    comment: Note | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.price is None) == (self.distance is None):
            raise ValueError("give price or distance, and only one of them")
        if (self.time_in_force is TimeInForce.GTD) != (self.expires_at is not None):
            raise ValueError("expires_at and time_in_force gtd need each other")
        return self

    def protection(self) -> Protection:
        """The same in the domain."""
        return Protection(**vars(self))


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
    type: OrderType
    instrument: InstrumentName | None = Field(
        default=None,
        validate_default=True,
        description="Required, but for orders of a trade (with `trade_id`): those have the trade's.",
        examples=["EUR_USD"],
    )
    side: Side | None = Field(default=None, validate_default=True, description="As `instrument`.")
    units: Amount | None = Field(default=None, validate_default=True, description="As `instrument`.")
    price: Amount | None = Field(default=None, description="Limit, stop or trigger price; never of a market order.")
    price_bound: Amount | None = Field(
        default=None, description="Worst price that a fill may have, of market, stop and market_if_touched orders."
    )
    distance: Amount | None = Field(default=None, description="Of a trailing stop (or stop loss), in price units.")
    time_in_force: TimeInForce | None = Field(
        default=None,
        description="Market orders: fok (default) or ioc; limit and stop orders: any; others: gtc, gtd or gfd.",
    )
    expires_at: Moment | None = Field(default=None, description="Of gtd: when it ends.")
    position_fill: PositionFill = PositionFill.DEFAULT
    trigger_condition: TriggerCondition = Field(
        default=TriggerCondition.DEFAULT,
        description="Price that triggers an order that rests: `default` is the ask for a buy and the bid for a sell.",
    )
    trade_id: VenueId | None = Field(default=None, description="The trade that a stop loss or take profit guards.")
    take_profit: ProtectionBody | None = None
    stop_loss: ProtectionBody | None = None
    trailing_stop: ProtectionBody | None = None
    tag: Note | None = None
    comment: Note | None = None

    @field_validator("instrument", "side", "units")
    @classmethod
    def _is_given(cls, value: object, info: ValidationInfo) -> object:
        # `type` is validated before these. A wrong type is an error of its own, and most orders are entries.
        if value is None and info.data.get("type") not in DEPENDENT:
            raise PydanticCustomError("missing", "is required")
        return value

    @model_validator(mode="after")
    def _fields_fit_the_type(self) -> Self:
        # All errors at once: a caller corrects a request once, not once for each field.
        if faults := [(field, message) for is_wrong, field, message in self._rules() if is_wrong]:
            raise PydanticCustomError(FIELDS_DIFFER, "the fields do not fit each other", {"faults": faults})
        return self

    def _rules(self) -> Iterator[tuple[bool, str, str]]:
        """Yield for each rule: True if it is broken, the field, the message."""
        kind, validity, is_gtd = self.type, self.time_in_force, self.time_in_force is TimeInForce.GTD
        taken = FIELDS[kind] | _ALWAYS | (_FROM_TRADE if kind in DEPENDENT else frozenset())
        for name in sorted(self.model_fields_set - taken):
            # By its value: a client that names every field and sends null means nothing by it.
            is_given = getattr(self, name) != OrderBody.model_fields[name].default
            yield is_given, name, f"must be absent for a {kind} order"
        for name in ("price", "distance", "trade_id"):
            is_missing = name in FIELDS[kind] and getattr(self, name) is None
            yield is_missing and not (kind in _EITHER and name != "trade_id"), name, f"is required for a {kind} order"
        if kind in _EITHER:
            is_one = (self.price is None) != (self.distance is None)
            yield not is_one, "distance", "give price or distance, and only one of them"
        if validity is not None:
            times = " or ".join(item for item in TimeInForce if item in TIMES[kind])
            yield validity not in TIMES[kind], "time_in_force", f"of a {kind} order is {times}"
        yield is_gtd and self.expires_at is None, "expires_at", "is required for time_in_force gtd"
        yield not is_gtd and self.expires_at is not None, "expires_at", "must be absent unless time_in_force is gtd"
        for leg in _LEGS:
            found: ProtectionBody | None = getattr(self, leg)
            for name in ("price", "guaranteed"):
                is_given = found is not None and bool(getattr(found, name))
                words = f"must be absent of a {leg}"
                yield is_given and name not in LEG_FIELDS[leg], f"{leg}.{name}", words

    def request(self, *, client: str, client_order_id: str, account: str, traceparent: str | None) -> OrderRequest:
        """The same in the domain; of an order of a trade the fields that are not given are empty."""
        usual = TimeInForce.FOK if self.type is OrderType.MARKET else TimeInForce.GTC
        fields: dict[str, Any] = {**vars(self)}
        for name in _LEGS:
            if fields[name] is not None:
                fields[name] = fields[name].protection()
        fields["time_in_force"] = self.time_in_force or usual
        fields["client_order_id"] = client_order_id
        # The broker puts the trade's own in their place (`Trades.complete`).
        fields["instrument"] = self.instrument or ""
        fields["side"], fields["units"] = self.side or Side.BUY, self.units or Decimal(0)
        fields |= {"client": client, "account": account, "traceparent": traceparent, "operation": Operation.PLACE}
        return OrderRequest(**fields)

    @property
    def given(self) -> frozenset[str]:
        """Fields that an order of a trade has from the trade, and that the caller gives all the same."""
        return frozenset(name for name in _FROM_TRADE if getattr(self, name) is not None)


class ClosePositionBody(Body):
    """The part of a position to close; without units all of it."""

    side: Side | None = Field(default=None, description="`buy` closes the long side, `sell` the short one.")
    units: Amount | None = None


class CloseTradeBody(Body):
    """The part of a trade to close; without units all of it."""

    units: Amount | None = None


class TradeOrdersBody(Body):
    """The orders of a trade to change: each that is named gets this order, or with null is cancelled."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"take_profit": {"price": "1.12000"}, "trailing_stop": None}]}
    )

    take_profit: ProtectionBody | None = None
    stop_loss: ProtectionBody | None = None
    guaranteed_stop_loss: ProtectionBody | None = None
    trailing_stop: ProtectionBody | None = None

    @model_validator(mode="after")
    def _fields_fit_the_leg(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("name at least one of take_profit, stop_loss, guaranteed_stop_loss and trailing_stop")
        faults = [
            (f"{leg}.{name}", f"must be absent of a {leg}")
            for leg in self.model_fields_set
            for name in ("price", "guaranteed")
            # A stop that is guaranteed is an order of its own type here.
            if getattr(getattr(self, leg), name, None) and (name == "guaranteed" or leg == "trailing_stop")
        ]
        if faults:
            raise PydanticCustomError(FIELDS_DIFFER, "the fields do not fit each other", {"faults": faults})
        return self

    def legs(self) -> dict[str, Protection | None]:
        """The order of each leg that is named; None is to cancel it."""
        found: dict[str, ProtectionBody | None] = {name: getattr(self, name) for name in sorted(self.model_fields_set)}
        return {name: leg.protection() if leg is not None else None for name, leg in found.items()}


class ExtensionsBody(Body):
    """Tag and comment of an order or trade; what is absent stays, null empties it."""

    tag: Note | None = None
    comment: Note | None = None

    def texts(self, tag: str | None, comment: str | None) -> dict[str, str | None]:
        """Both as they are to be; `tag` and `comment` are the present ones."""
        present = {"tag": tag, "comment": comment}
        return {
            name: (getattr(self, name) or "") if name in self.model_fields_set else text
            for name, text in present.items()
        }


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
