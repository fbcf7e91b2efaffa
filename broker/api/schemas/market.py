"""Market data of the API: the query for candles, and the answers.

Candles are encoded straight from `broker.venue.v20.market_data`, for they may be many; `CandleList` describes them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, Self

from msgspec.structs import asdict
from pydantic import BaseModel, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from broker.api.schemas.requests import FIELDS_DIFFER, Amount, InDigits, Moment
from broker.api.schemas.responses import Number, Time
from broker.domain import Instrument
from broker.venue.v20.market_data import CANDLES_S, MAX_CANDLES, CandleRequest, HomeConversion, MarketBook, MarketDepth

Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
Text = Annotated[str, Field(json_schema_extra={"format": "decimal"})]
"""The venue's own text of a number."""


class CandleQuery(BaseModel):
    """Candles to ask for: by a count, from a time on, up to a time, or between two."""

    granularity: str = Field(
        default="M1",
        json_schema_extra={"enum": list(CANDLES_S)},
        description="Span of a candle: seconds (S5), minutes (M1), hours (H1), D, W or M.",
    )
    price: Annotated[str, StringConstraints(pattern="^[MBA]{1,3}$")] = Field(
        default="M", description="Any of M (mid), B (bid) and A (ask).", examples=["MBA"]
    )
    count: Annotated[int, InDigits] | None = Field(
        default=None, ge=1, le=MAX_CANDLES, description="500 where it is absent; never with both from and to."
    )
    start: Moment | None = Field(default=None, alias="from", description="From this time on.")
    end: Moment | None = Field(default=None, alias="to", description="Before this time.")
    smooth: bool | None = Field(default=None, description="Open each candle at the close of the one before.")
    include_first: bool | None = Field(default=None, description="Of from: also the candle that contains it.")
    daily_alignment: Annotated[int, InDigits] | None = Field(
        default=None, ge=0, le=23, description="Hour at which days begin; usually 17."
    )
    alignment_timezone: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_+/-]{1,64}$")] | None = Field(
        default=None, description="Zone of that hour; usually America/New_York."
    )
    weekly_alignment: Weekday | None = Field(default=None, description="Day on which weeks begin; usually friday.")
    units: Amount | None = Field(default=None, description="Units for which bid and ask are volume-weighted.")

    @model_validator(mode="after")
    def _fields_fit(self) -> Self:
        if faults := [(field, message) for is_wrong, field, message in self._rules() if is_wrong]:
            raise PydanticCustomError(FIELDS_DIFFER, "the fields do not fit each other", {"faults": faults})
        return self

    def _rules(self) -> Iterator[tuple[bool, str, str]]:
        """Yield for each rule: True if it is broken, the field, the message."""
        span_s = CANDLES_S.get(self.granularity)
        yield span_s is None, "granularity", f"is one of {', '.join(CANDLES_S)}"
        yield len(set(self.price)) < len(self.price), "price", "names each of M, B and A once"
        yield self.include_first is not None and self.start is None, "include_first", "must be absent without from"
        if self.start is None or self.end is None:
            return
        yield self.count is not None, "count", "must be absent if both from and to are given"
        range_s = (self.end - self.start).total_seconds()
        yield range_s <= 0, "to", "must be after from"
        too_long = f"is more than {MAX_CANDLES} candles after from; ask in parts"
        yield span_s is not None and range_s > MAX_CANDLES * span_s, "to", too_long

    def request(self, instrument: str) -> CandleRequest:
        """The same for the venue."""
        weekly = self.weekly_alignment and self.weekly_alignment.capitalize()
        return CandleRequest(instrument=instrument, **{**dict(self), "weekly_alignment": weekly})


class CandlePricesView(BaseModel):
    """Prices of a candle, as texts."""

    o: Text = Field(description="Open.")
    h: Text = Field(description="High.")
    l: Text = Field(description="Low.")  # noqa: E741 - the venue's name
    c: Text = Field(description="Close.")


class CandleView(BaseModel):
    """Prices of one span of time; of bid, mid and ask those that were asked for."""

    time: Time = Field(description="Start of the span.")
    complete: bool = Field(description="False of the span that still runs.")
    volume: int = Field(description="Number of prices in it.")
    bid: CandlePricesView | None = None
    mid: CandlePricesView | None = None
    ask: CandlePricesView | None = None


class CandleList(BaseModel):
    """Candles of an instrument, the oldest first."""

    instrument: str
    granularity: str
    candles: list[CandleView]


class FinancingDayView(BaseModel):
    """Weekday at whose end financing is charged."""

    day: Weekday
    days_charged: int


class FinancingView(BaseModel):
    """Yearly rates for holding an instrument overnight; what is positive is paid to the holder."""

    long_rate: Number
    short_rate: Number
    days: list[FinancingDayView]


class InstrumentView(BaseModel):
    """The venue's rules of an instrument."""

    name: str = Field(examples=["EUR_USD"])
    display_name: str = Field(examples=["EUR/USD"])
    kind: str = Field(description="currency, cfd, metal, …", examples=["currency"])
    display_precision: int = Field(description="Decimal places of a price.")
    units_precision: int = Field(description="Decimal places of units.")
    pip_location: int = Field(description="Power of ten of a pip.", examples=[-4])
    minimum_units: Number = Field(description="Smallest order.")
    maximum_units: Number = Field(description="Largest order.")
    maximum_position_units: Number | None = Field(description="Largest position; null if it has no limit.")
    margin_rate: Number = Field(description="Share of a position's value that is held as margin.")
    minimum_trailing_distance: Number
    maximum_trailing_distance: Number | None
    financing: FinancingView | None = Field(description="Null if the venue does not say.")
    tradeable: bool | None = Field(description="By the latest price; null if this replica has none.")


class InstrumentsView(BaseModel):
    """Instruments of the account."""

    instruments: list[InstrumentView]
    read_at: Time = Field(description="Time at which the venue said so; read anew every five minutes.")


class PriceLevelView(BaseModel):
    """Units that can be traded at a price."""

    price: Text
    liquidity: Number


class DepthView(BaseModel):
    """Price levels of an instrument, the best first."""

    instrument: str
    time: Time = Field(description="The venue's time of the price.")
    tradeable: bool
    bids: list[PriceLevelView]
    asks: list[PriceLevelView]
    closeout_bid: Text | None = Field(description="Price at which a position is closed where there is no bid.")
    closeout_ask: Text | None


class BookBucketView(BaseModel):
    """Share of the orders or positions of the venue's clients in a range of prices."""

    price: Text = Field(description="Begin of the range, which is `bucket_width` wide.")
    long_percent: Text
    short_percent: Text


class BookView(BaseModel):
    """Orders or positions of all of the venue's clients in an instrument, at a moment."""

    instrument: str
    time: Time
    price: Text = Field(description="Mid price of that moment.")
    bucket_width: Text
    buckets: list[BookBucketView]


class ConversionView(BaseModel):
    """Factors from a currency to the account's: multiply an amount by one of them."""

    currency: str
    gain: Text = Field(description="For profit and received financing.")
    loss: Text = Field(description="For losses and paid financing.")
    position_value: Text = Field(description="For the value of a position.")


class ConversionList(BaseModel):
    """Conversions of the currencies of some instruments."""

    conversions: list[ConversionView]


def instrument_view(found: Instrument, *, tradeable: bool | None) -> InstrumentView:
    """An instrument as callers see it."""
    limits = {name: getattr(found, name) or None for name in ("maximum_position_units", "maximum_trailing_distance")}
    financing = FinancingView.model_validate(found.financing, from_attributes=True) if found.financing else None
    fields = {**asdict(found), **limits, "kind": found.kind.lower(), "financing": financing, "tradeable": tradeable}
    return InstrumentView.model_construct(**fields)


def depth_view(found: MarketDepth) -> DepthView:
    """Price levels as callers see them."""
    return DepthView.model_validate(found, from_attributes=True)


def book_view(found: MarketBook) -> BookView:
    """A book as callers see it."""
    buckets = [
        BookBucketView.model_construct(
            price=item.price, long_percent=item.long_count_percent, short_percent=item.short_count_percent
        )
        for item in found.buckets
    ]
    return BookView.model_construct(**{**asdict(found), "buckets": buckets})


def conversion_view(found: HomeConversion) -> ConversionView:
    """A conversion as callers see it."""
    return ConversionView.model_construct(
        currency=found.currency, gain=found.account_gain, loss=found.account_loss, position_value=found.position_value
    )
