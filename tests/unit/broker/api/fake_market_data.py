"""Market data as a test wants it, without a venue."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from broker.domain import FinancingDay, Instrument, InstrumentFinancing
from broker.venue.rest.market_data import InstrumentList, MarketData
from broker.venue.v20.market_data import (
    BookBucket,
    BookKind,
    Candle,
    CandlePrices,
    CandleRequest,
    Candles,
    HomeConversion,
    MarketBook,
    MarketDepth,
    PriceLevel,
)
from tests.unit.broker.api.fake_order_service import NOW

EUR_USD = Instrument(
    name="EUR_USD",
    display_name="EUR/USD",
    display_precision=5,
    units_precision=0,
    pip_location=-4,
    minimum_units=Decimal(1),
    maximum_units=Decimal(100_000_000),
    margin_rate=Decimal("0.0333"),
    minimum_trailing_distance=Decimal("0.00050"),
    maximum_trailing_distance=Decimal("1.00000"),
    financing=InstrumentFinancing(
        long_rate=Decimal("-0.0251"), short_rate=Decimal("0.0103"), days=(FinancingDay("wednesday", 3),)
    ),
)


class FakeMarketData(MarketData):
    """Overrides what the API calls; nothing else of it may be used."""

    def __init__(self) -> None:  # its own state in place of the real one
        self.fault: Exception | None = None
        self.asked: list[object] = []

    @property
    def environment(self) -> str:
        return "practice"

    def _ask(self, question: object) -> None:
        self.asked.append(question)
        if self.fault is not None:
            raise self.fault

    async def instruments(self) -> InstrumentList:
        self._ask("instruments")
        return InstrumentList({"EUR_USD": EUR_USD}, NOW, 0.0)

    async def candles(self, request: CandleRequest) -> Candles:
        self._ask(request)
        mid = CandlePrices("1.10000", "1.10030", "1.09990", "1.10010")
        return Candles(request.instrument, request.granularity, (Candle(time=NOW, complete=True, volume=12, mid=mid),))

    async def depth(self, instrument: str) -> MarketDepth:
        self._ask(instrument)
        bids = (PriceLevel("1.10000", Decimal(1_000_000)), PriceLevel("1.09990", Decimal(5_000_000)))
        asks = (PriceLevel("1.10020", Decimal(1_000_000)),)
        return MarketDepth(instrument=instrument, time=NOW, bids=bids, asks=asks, closeout_bid="1.09980")

    async def book(self, kind: BookKind, instrument: str, at: datetime | None = None) -> MarketBook:
        self._ask((kind, instrument, at))
        return MarketBook(instrument, NOW, "1.10010", "0.00050", (BookBucket("1.09950", "0.5128", "0.2564"),))

    async def conversions(self, instruments: Sequence[str]) -> tuple[HomeConversion, ...]:
        self._ask(instruments)
        return (HomeConversion("EUR", "1.0890", "1.1110", "1.1000"),)
