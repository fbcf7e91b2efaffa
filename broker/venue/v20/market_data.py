"""Market data of the venue: candles, price levels, order and position books, conversions to the account's currency.

Answers may be large (5000 candles are 1.5 MB), and orders wait while one is decoded. So they are decoded straight into
these types: 5 ms, where a dictionary alone takes 15 (measured). Prices stay the venue's texts, and the garbage
collector does not follow the many small parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum

import msgspec
from msgspec import Struct

from broker.venue.v20.order_requests import VenueCall, number, part

CANDLES_S = {
    **{f"S{size}": size for size in (5, 10, 15, 30)},
    **{f"M{size}": 60 * size for size in (1, 2, 4, 5, 10, 15, 30)},
    **{f"H{size}": 3600 * size for size in (1, 2, 3, 4, 6, 8, 12)},
    "D": 86_400,
    "W": 7 * 86_400,
    "M": 31 * 86_400,
}
"""Seconds of each granularity; of a month at most."""
MAX_CANDLES = 5000
"""Candles that the venue gives at once (v20, instrument endpoint)."""


class CandlePrices(Struct, frozen=True, gc=False):
    """Open, high, low and close of a candle, under the venue's own short names."""

    o: str
    h: str
    l: str  # noqa: E741 - the venue's name
    c: str


class Candle(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Prices of one span of time; has those of `bid`, `mid` and `ask` that were asked for."""

    time: datetime
    """Start of the span."""
    complete: bool
    volume: int
    bid: CandlePrices | None = None
    mid: CandlePrices | None = None
    ask: CandlePrices | None = None


class Candles(Struct, frozen=True):
    """Candles of an instrument, the oldest first."""

    instrument: str
    granularity: str
    candles: tuple[Candle, ...]


class CandleRequest(Struct, frozen=True, kw_only=True):
    """Candles to ask for; the venue has a usual value for whatever is None."""

    instrument: str
    granularity: str
    price: str
    """Letters of M (mid), B (bid) and A (ask)."""
    count: int | None = None
    start: datetime | None = None
    end: datetime | None = None
    smooth: bool | None = None
    include_first: bool | None = None
    daily_alignment: int | None = None
    alignment_timezone: str | None = None
    weekly_alignment: str | None = None
    units: Decimal | None = None


class BookKind(StrEnum):
    """Subject of a book of the venue's clients; the value is the venue's name of it."""

    ORDERS = "orderBook"
    POSITIONS = "positionBook"


class BookBucket(Struct, frozen=True, rename="camel", gc=False):
    """Share of the clients' orders or positions in a range of prices that begins at `price`."""

    price: str
    long_count_percent: str
    short_count_percent: str


class MarketBook(Struct, frozen=True, rename="camel"):
    """Book of an instrument at a moment."""

    instrument: str
    time: datetime
    price: str
    bucket_width: str
    buckets: tuple[BookBucket, ...]


class PriceLevel(Struct, frozen=True):
    """Units that can be traded at a price."""

    price: str
    liquidity: Decimal


class MarketDepth(Struct, frozen=True, kw_only=True, rename="camel"):
    """Price levels of an instrument, the best first."""

    instrument: str
    time: datetime
    tradeable: bool = True
    bids: tuple[PriceLevel, ...] = ()
    asks: tuple[PriceLevel, ...] = ()
    closeout_bid: str | None = None
    closeout_ask: str | None = None


class HomeConversion(Struct, frozen=True, rename="camel"):
    """Factors from a currency to the account's."""

    currency: str
    account_gain: str
    account_loss: str
    position_value: str


class _Books(Struct, rename="camel"):
    order_book: MarketBook | None = None
    position_book: MarketBook | None = None


class _Pricing(Struct, rename="camel"):
    prices: tuple[MarketDepth, ...]
    home_conversions: tuple[HomeConversion, ...] = ()


_CANDLES = msgspec.json.Decoder(Candles)
_BOOKS = msgspec.json.Decoder(_Books)
_PRICING = msgspec.json.Decoder(_Pricing)


def candles(request: CandleRequest) -> VenueCall:
    """Ask for candles."""
    names = {"start": "from", "end": "to"}
    query = {}
    for field in request.__struct_fields__[1:]:
        if (value := getattr(request, field)) is not None:
            query[names.get(field, _camel(field))] = _text(value)
    return _read("candles", f"/instruments/{part(request.instrument)}/candles", query)


def book(kind: BookKind, instrument: str, at: datetime | None) -> VenueCall:
    """Ask for a book, the one in force at a time or the newest."""
    query = {} if at is None else {"time": _text(at)}
    operation = "order_book" if kind is BookKind.ORDERS else "position_book"
    call = _read(operation, f"/instruments/{part(instrument)}/{kind}", query)
    return msgspec.structs.replace(call, of_account=False)


def pricing(instruments: Sequence[str], *, conversions: bool = False) -> VenueCall:
    """Ask for price levels, with or without the conversions of the instruments' currencies."""
    query = {"instruments": ",".join(instruments)}
    if conversions:
        query["includeHomeConversions"] = "true"
    return _read("conversions" if conversions else "depth", "/pricing", query)


def parse_candles(body: bytes) -> Candles:
    """Parse the answer with candles. Raises ValueError: it is none."""
    return _CANDLES.decode(body)


def parse_book(kind: BookKind, body: bytes) -> MarketBook:
    """Parse the answer with a book. Raises ValueError: it is none."""
    found = _BOOKS.decode(body)
    answer = found.order_book if kind is BookKind.ORDERS else found.position_book
    if answer is None:
        raise ValueError(f"the answer has no {kind}")
    return answer


def parse_depth(body: bytes) -> MarketDepth:
    """Parse the answer with the prices of one instrument. Raises ValueError: it has none."""
    prices = _PRICING.decode(body).prices
    if not prices:
        raise ValueError("the answer has no price")
    return prices[0]


def parse_home_conversions(body: bytes) -> tuple[HomeConversion, ...]:
    """Parse the conversions of an answer with prices. Raises ValueError: it is none."""
    return _PRICING.decode(body).home_conversions


def _read(operation: str, path: str, query: dict[str, str]) -> VenueCall:
    # Not every account has a right to everything here (books are refused with 401 to some divisions' accounts).
    return VenueCall(operation=operation, method="GET", path=path, query=query, may_lack_right=True)


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))


def _text(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case datetime():
            return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        case Decimal():
            return number(value)
        case _:
            return str(value)
