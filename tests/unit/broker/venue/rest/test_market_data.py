from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web

from broker.venue import errors
from broker.venue.rest import market_data
from broker.venue.rest.market_data import MarketData
from broker.venue.v20.market_data import BookKind, CandleRequest
from tests.unit.broker.venue.rest.test_client import POST, FakeVenueServer, says

NOW = datetime(2026, 1, 5, 10, tzinfo=UTC)
MINUTES = CandleRequest(instrument="EUR_USD", granularity="M1", price="M")
CANDLES = {"instrument": "EUR_USD", "granularity": "M1", "candles": []}
FILLED = {
    "orderCreateTransaction": {"id": "7", "type": "MARKET_ORDER"},
    "orderFillTransaction": {"id": "8", "type": "ORDER_FILL", "units": "1", "price": "1"},
    "lastTransactionID": "8",
}


class GatedVenue(FakeVenueServer):
    """Answers reads of candles when `free` is set, orders at once."""

    def __init__(self) -> None:
        super().__init__(self._answer)
        self.free = asyncio.Event()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.method == "POST":
            return web.json_response(FILLED)
        await self.free.wait()
        return web.json_response(CANDLES)

    def reads(self) -> int:
        return sum(request.method == "GET" for request in self.requests)


async def until_reads(server: GatedVenue, count: int) -> None:
    async with asyncio.timeout(120):
        while server.reads() < count:
            await asyncio.sleep(0.001)


async def test_same_question_at_once_is_one_request() -> None:
    server = GatedVenue()
    async with server.rest() as rest:
        market = MarketData(rest, lambda: NOW)
        asking = [asyncio.create_task(market.candles(MINUTES)) for _ in range(5)]
        await until_reads(server, 1)
        server.free.set()
        answers = await asyncio.gather(*asking)
    assert {answer.instrument for answer in answers} == {"EUR_USD"}
    assert server.reads() == 1


async def test_first_asker_that_leaves_does_not_fail_the_others() -> None:
    server = GatedVenue()
    async with server.rest() as rest:
        market = MarketData(rest, lambda: NOW)
        first, second = (asyncio.create_task(market.candles(MINUTES)) for _ in range(2))
        await until_reads(server, 1)
        first.cancel()
        server.free.set()
        assert (await second).candles == ()
        with pytest.raises(asyncio.CancelledError):
            await first


async def test_order_is_not_delayed_by_market_data_however_much_is_asked() -> None:
    server = GatedVenue()
    async with server.rest(connections=8, burst=100) as rest:
        market = MarketData(rest, lambda: NOW)
        requests = [CandleRequest(instrument="EUR_USD", granularity="M1", price="M", count=n) for n in range(1, 41)]
        asking = [asyncio.create_task(market.candles(request)) for request in requests]
        await until_reads(server, 2)
        # Nothing of it is answered, and still every order is, one after the other.
        for _ in range(10):
            await rest.submit(POST)
        assert server.reads() == 2, "a quarter of the connections"
        server.free.set()
        await asyncio.gather(*asking)
    assert server.reads() == 40


async def test_last_idle_connection_is_left_to_orders() -> None:
    server = GatedVenue()
    async with server.rest(connections=2, connections_per_s=0.1) as rest:
        # One connection is open, the next one comes much later.
        await rest.submit(POST)
        asking = asyncio.create_task(MarketData(rest, lambda: NOW).candles(MINUTES))
        await asyncio.sleep(0.01)
        await rest.submit(POST)
        assert server.reads() == 0
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


async def test_market_data_leaves_half_of_the_burst() -> None:
    server = GatedVenue()
    server.free.set()
    async with server.rest(burst=10, requests_per_s=1) as rest:
        await rest.submit(POST)  # the connections are being opened
        market = MarketData(rest, lambda: NOW)
        requests = [CandleRequest(instrument="EUR_USD", granularity="M1", price="M", count=n) for n in range(1, 10)]
        asking = [asyncio.create_task(market.candles(request)) for request in requests]
        await until_reads(server, 4)
        await rest.submit(POST)
        assert rest.connections.requests.tokens >= 4
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)


async def test_caller_beyond_the_bound_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(market_data, "MAX_WAITING", 2)
    server = GatedVenue()
    async with server.rest() as rest:
        market = MarketData(rest, lambda: NOW)
        asking = [asyncio.create_task(market.candles(MINUTES)) for _ in range(2)]
        await until_reads(server, 1)
        with pytest.raises(errors.MarketDataBusyError):
            await market.candles(MINUTES)
        server.free.set()
        await asyncio.gather(*asking)
        await market.candles(MINUTES)


async def test_read_ends_at_its_deadline_wherever_it_waits() -> None:
    server = GatedVenue()
    async with server.rest(request_deadline_s=0.5) as rest:
        with pytest.raises(errors.AnswerLostError):
            await MarketData(rest, lambda: NOW).candles(MINUTES)


async def test_book_that_is_not_the_accounts_right_says_nothing_against_the_token() -> None:
    server = FakeVenueServer(says({"errorMessage": "Insufficient authorization to perform request."}, 401))
    async with server.rest() as rest:
        with pytest.raises(errors.NotAuthorizedError):
            await MarketData(rest, lambda: NOW).book(BookKind.ORDERS, "EUR_USD")
        assert (server.tokens.rejected, rest.is_up) == ([], True)
        assert server.requests[0].path == "/v3/instruments/EUR_USD/orderBook"


@pytest.mark.parametrize("body", ["text", {"prices": []}, {"prices": [{"bids": "many"}]}])
async def test_unreadable_answer_is_a_venue_error(body: Any) -> None:
    server = FakeVenueServer(says(body))
    async with server.rest() as rest:
        with pytest.raises(errors.UnreadableAnswerError):
            await MarketData(rest, lambda: NOW).depth("EUR_USD")


async def test_answer_without_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.venue.rest.http_connection.MAX_ANSWER_BYTES", 1000)
    server = FakeVenueServer(says({**CANDLES, "filler": "x" * 2000}))
    async with server.rest(read_attempts=1) as rest:
        with pytest.raises(errors.AnswerLostError, match="bytes that are no answer"):
            await MarketData(rest, lambda: NOW).candles(MINUTES)


LISTED = {
    "instruments": [
        {
            "name": "EUR_USD",
            "type": "CURRENCY",
            "displayPrecision": 5,
            "pipLocation": -4,
            "maximumOrderUnits": "100000000",
            "marginRate": "0.0333",
        }
    ]
}


async def test_instruments_are_kept_and_read_anew_when_they_are_old(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(market_data, "monotonic", lambda: now[0])
    server = FakeVenueServer(says(LISTED))
    async with server.rest() as rest:
        market = MarketData(rest, lambda: NOW + timedelta(seconds=now[0] - 1000))
        first = await market.instruments()
        now[0] += 299
        assert await market.instruments() is first
        now[0] += 2
        assert (await market.instruments()).read_at == NOW + timedelta(seconds=301)
    assert (list(first.by_name), len(server.requests)) == (["EUR_USD"], 2)


async def test_old_instruments_are_shown_while_the_venue_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(market_data, "monotonic", lambda: now[0])
    server = FakeVenueServer(says(LISTED), says({}, 500))
    async with server.rest(read_attempts=1) as rest:
        market = MarketData(rest, lambda: NOW)
        first = await market.instruments()
        now[0] += 1000
        assert await market.instruments() is first
