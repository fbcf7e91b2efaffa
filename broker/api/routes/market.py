"""Routes that show instruments, candles, price levels, books and conversions, as the venue has them.

Every replica answers, whoever trades the account: each asks the venue with its own token.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Annotated

import msgspec
from fastapi import APIRouter, Path, Query, Response

from broker.api.auth.access import Reader
from broker.api.context import Account, AccountApi
from broker.api.http.problem import Problem, invalid
from broker.api.schemas.market import (
    BookView,
    CandleList,
    CandleQuery,
    ConversionList,
    DepthView,
    InstrumentsView,
    InstrumentView,
    book_view,
    conversion_view,
    depth_view,
    instrument_view,
)
from broker.api.schemas.requests import InstrumentName, Moment
from broker.api.schemas.responses import COMMON_PROBLEMS, json_response, problems
from broker.domain import Instrument
from broker.venue.errors import NotAuthorizedError, VenueRefusedError
from broker.venue.v20.market_data import BookKind

routes = APIRouter(prefix="/v1", tags=["market"], responses=COMMON_PROBLEMS)

Name = Annotated[InstrumentName, Path(description="Name of the instrument.", examples=["EUR_USD"])]
Names = Annotated[
    str | None,
    Query(
        max_length=4000,
        pattern=r"^[A-Z0-9_]+(,[A-Z0-9_]+)*$",
        description="Names, separated by commas; all of the account where it is absent.",
        examples=["EUR_USD,USD_JPY"],
    ),
]
At = Annotated[Moment | None, Query(alias="time", description="The book in force then; the newest if it is absent.")]
_MAX_WORDS = 200
# The venue's words name its parameter in quotes.
_PARAMETER = re.compile(r"'(\w+)'")
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")


@routes.get("/instruments", response_model=InstrumentsView, responses=problems(502), summary="Instruments")
async def list_instruments(account: Account, _: Reader) -> Response:
    """The account's instruments: precision, sizes, margin, financing."""
    found = await account.market.instruments()
    shown = [instrument_view(item, tradeable=_tradeable(account, name)) for name, item in sorted(found.by_name.items())]
    return json_response(InstrumentsView.model_construct(instruments=shown, read_at=found.read_at))


@routes.get(
    "/instruments/{instrument}", response_model=InstrumentView, responses=problems(404, 502), summary="One instrument"
)
async def get_instrument(instrument: Name, account: Account, _: Reader) -> Response:
    """Precision, sizes, margin and financing of an instrument."""
    found: Instrument | None = (await account.market.instruments()).by_name.get(instrument)
    if found is None:
        raise _unknown(instrument)
    return json_response(instrument_view(found, tradeable=_tradeable(account, instrument)))


@routes.get(
    "/instruments/{instrument}/candles", response_model=CandleList, responses=problems(404, 502), summary="Candles"
)
async def list_candles(
    instrument: Name, query: Annotated[CandleQuery, Query()], account: Account, _: Reader
) -> Response:
    """Candles of an instrument, the oldest first: at most 5000, so longer ranges in parts."""
    with _refusals_as_problems(instrument):
        found = await account.market.candles(query.request(instrument))
    return Response(msgspec.json.encode(found), media_type="application/json")


@routes.get(
    "/instruments/{instrument}/depth", response_model=DepthView, responses=problems(404, 502), summary="Price levels"
)
async def get_depth(instrument: Name, account: Account, _: Reader) -> Response:
    """Bids and asks with the units that each is good for, as the venue says now."""
    with _refusals_as_problems(instrument):
        found = await account.market.depth(instrument)
    return json_response(depth_view(found))


@routes.get(
    "/instruments/{instrument}/order-book", response_model=BookView, responses=problems(404, 502), summary="Order book"
)
async def get_order_book(instrument: Name, account: Account, _: Reader, at: At = None) -> Response:
    """Orders of all of the venue's clients around the price. The venue takes a snapshot every few minutes."""
    with _refusals_as_problems(instrument):
        found = await account.market.book(BookKind.ORDERS, instrument, at)
    return json_response(book_view(found))


@routes.get(
    "/instruments/{instrument}/position-book",
    response_model=BookView,
    responses=problems(404, 502),
    summary="Position book",
)
async def get_position_book(instrument: Name, account: Account, _: Reader, at: At = None) -> Response:
    """Open positions of all of the venue's clients by their price."""
    with _refusals_as_problems(instrument):
        found = await account.market.book(BookKind.POSITIONS, instrument, at)
    return json_response(book_view(found))


@routes.get(
    "/conversions",
    response_model=ConversionList,
    responses=problems(404, 502),
    summary="Factors to the account's currency",
)
async def list_conversions(account: Account, _: Reader, instruments: Names = None) -> Response:
    """Factors from the base and quote currencies of instruments to the account's currency, as the venue says now."""
    names = instruments.split(",") if instruments else sorted((await account.market.instruments()).by_name)
    with _refusals_as_problems(instruments or ""):
        found = await account.market.conversions(names)
    return json_response(ConversionList.model_construct(conversions=[conversion_view(item) for item in found]))


def _tradeable(account: AccountApi, instrument: str) -> bool | None:
    # A standby may hold prices of a time when it owned the account.
    if account.orders.elsewhere() is not None:
        return None
    return next((quote.tradeable for quote in account.orders.quotes([instrument])), None)


def _unknown(instrument: str) -> Problem:
    detail = f"The account has no instrument {instrument}; see /v1/instruments."
    return Problem(HTTPStatus.NOT_FOUND, "unknown-instrument", detail)


@contextmanager
def _refusals_as_problems(instrument: str) -> Iterator[None]:
    """Turn the venue's refusals into what the caller may do about them."""
    try:
        yield
    except NotAuthorizedError as error:
        detail = "The venue does not give this to the account, or refuses the broker's token."
        raise Problem(HTTPStatus.FORBIDDEN, "not-entitled", detail) from error
    except VenueRefusedError as error:
        words = str(error)[:_MAX_WORDS]
        named = _PARAMETER.search(words)
        field = _HUMP.sub("_", named[1]).lower() if named else ""
        if field in {"instrument", "instruments"}:
            raise _unknown(instrument) from error
        if error.status == HTTPStatus.NOT_FOUND:
            raise Problem(HTTPStatus.NOT_FOUND, "no-market-data", f"The venue has none: {words}") from error
        raise invalid(field or "query", f"is refused by the venue: {words}") from error
