"""Market data of one account for callers: read from the venue when somebody asks, below orders in every way.

- The venue's limit: market data waits behind orders, cancels and the broker's own reads, and leaves half of the burst.
- Connections: it uses a quarter of them at once and never the last idle one.
- The same question by several callers at once is one request; nothing else is kept, but for the instruments.
- Beyond MAX_WAITING callers the next one is refused at once: a queue of reads would only be late for all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from time import monotonic
from typing import Any, TypeVar

from msgspec import Struct

from broker.domain import Instrument
from broker.venue import errors
from broker.venue.rest.client import VenueRest
from broker.venue.v20 import market_data
from broker.venue.v20.market_data import BookKind, CandleRequest, Candles, HomeConversion, MarketBook, MarketDepth
from broker.venue.v20.order_requests import VenueCall

T = TypeVar("T")
MAX_WAITING = 64
"""Callers that may wait at once, those with the same question counted each."""
INSTRUMENTS_S = 300.0
"""Age at which the list of instruments is read anew: the venue changes margins and financing from day to day."""


class InstrumentList(Struct, frozen=True):
    """Instruments of the account by name, as the venue had them at a time."""

    by_name: dict[str, Instrument]
    read_at: datetime
    read_s: float
    """On the monotonic clock."""


class MarketData:
    """Reads of one account; every method raises VenueError if the venue cannot be asked or refuses."""

    def __init__(self, venue: VenueRest, clock: Callable[[], datetime]) -> None:
        self._venue = venue
        self._clock = clock
        self._flights: dict[Any, asyncio.Future[Any]] = {}
        self._waiting = 0
        self._instruments: InstrumentList | None = None

    @property
    def environment(self) -> str:
        """`practice`, `live` or `other`."""
        return self._venue.settings.environment

    async def instruments(self) -> InstrumentList:
        """The account's instruments, at most five minutes old; older ones while the venue cannot be asked."""
        held = self._instruments
        if held is not None and monotonic() - held.read_s < INSTRUMENTS_S:
            return held
        try:
            return await self._share("instruments", self._list_instruments)
        except errors.VenueError:
            if held is None:
                raise
            return held

    async def _list_instruments(self) -> InstrumentList:
        found = await self._venue.instruments()
        listed = InstrumentList({item.name: item for item in found}, self._clock(), monotonic())
        self._instruments = listed
        return listed

    async def candles(self, request: CandleRequest) -> Candles:
        """Candles of an instrument, the oldest first."""
        return await self._get(market_data.candles(request), market_data.parse_candles)

    async def depth(self, instrument: str) -> MarketDepth:
        """Price levels of an instrument with the units that they are good for."""
        return await self._get(market_data.pricing([instrument]), market_data.parse_depth)

    async def book(self, kind: BookKind, instrument: str, at: datetime | None = None) -> MarketBook:
        """The book in force at a time, or the newest."""
        call = market_data.book(kind, instrument, at)
        return await self._get(call, lambda body: market_data.parse_book(kind, body))

    async def conversions(self, instruments: Sequence[str]) -> tuple[HomeConversion, ...]:
        """Factors from the instruments' currencies to the account's."""
        call = market_data.pricing(instruments, conversions=True)
        return await self._get(call, market_data.parse_home_conversions)

    async def _get(self, call: VenueCall, parse: Callable[[bytes], T]) -> T:
        async def read() -> T:
            body = await self._venue.market_data(call)
            try:
                return parse(body)
            except ValueError as error:
                raise errors.UnreadableAnswerError(str(error), operation=call.operation) from error

        return await self._share((call.path, tuple((call.query or {}).items())), read)

    async def _share(self, question: object, read: Callable[[], Awaitable[T]]) -> T:
        """Read once for all who ask the same meanwhile."""
        if self._waiting >= MAX_WAITING:
            raise errors.MarketDataBusyError(f"{self._waiting} reads of market data are waiting")
        self._waiting += 1
        try:
            while (flight := self._flights.get(question)) is not None:
                await asyncio.wait({flight})
                # A reader that leaves takes only its own attempt with it: the next one reads in its stead.
                if not flight.cancelled():
                    found: T = flight.result()
                    return found
            return await self._fly(question, read)
        finally:
            self._waiting -= 1

    async def _fly(self, question: object, read: Callable[[], Awaitable[T]]) -> T:
        flight = self._flights[question] = asyncio.get_running_loop().create_future()
        try:
            found = await read()
        except Exception as error:
            flight.set_exception(error)
            flight.exception()  # marks it as retrieved: perhaps nobody else asked
            raise
        except BaseException:
            flight.cancel()
            raise
        else:
            flight.set_result(found)
            return found
        finally:
            del self._flights[question]
