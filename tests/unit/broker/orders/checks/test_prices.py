from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from broker.domain import Quote
from broker.orders.checks.prices import PriceLine, QuoteBook, price_line, price_lines
from broker.orders.updates import Update, Updates
from broker.venue.streams.stream_state import StreamDataError
from tests.unit.broker.orders.order_service_fixture import OrderServiceHarness

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)


def price(bid: str = "1.1", time: str = "2026-01-05T12:00:00Z") -> PriceLine:
    raw = {"type": "PRICE", "instrument": "EUR_USD", "time": time, "bids": [{"price": bid}], "asks": [{"price": "1.2"}]}
    return price_line(json.dumps(raw).encode())


def book() -> QuoteBook:
    return QuoteBook(lambda: NOW)


def test_latest_price_is_the_quote() -> None:
    made = book()
    made.take(price("1.1"))
    assert made.quote("EUR_USD") is made.quote("EUR_USD")
    made.take(price("1.15"))
    quote = made.quote("EUR_USD")
    assert quote is not None
    assert (quote.bid, quote.ask, quote.received_at, quote.tradeable) == (Decimal("1.15"), Decimal("1.2"), NOW, True)


def test_heartbeats_are_no_prices() -> None:
    made = book()
    made.take(price_line(b'{"type":"HEARTBEAT","time":"0"}'))
    assert made.names() == []


def test_price_that_cannot_be_read_is_none() -> None:
    made = book()
    made.take(price("much"))
    assert made.quote("EUR_USD") is None


def test_answer_does_not_replace_a_newer_price() -> None:
    made = book()
    made.take(price(time="2026-01-05T12:00:05Z"))
    old = Quote(instrument="EUR_USD", bid=Decimal(1), ask=Decimal(2), time=NOW, received_at=NOW)
    made.put([old])
    quote = made.quote("EUR_USD")
    assert quote is not None
    assert quote.bid == Decimal("1.1")


@pytest.mark.parametrize("extra", [b'{"type":1}', b"{}", b'{"type":"HEARTBEAT","time":"0"}'])
def test_lines_that_came_together_are_read_as_one_by_one(extra: bytes) -> None:
    texts = [price("1.1").text, extra, price("1.2").text]
    assert price_lines(texts) == [price_line(text) for text in texts]


@pytest.mark.parametrize("bad", [b"[]", b"{} {}", b"{"])
def test_line_that_is_no_object_is_an_error_among_others_too(bad: bytes) -> None:
    with pytest.raises(StreamDataError):
        price_lines([price().text, bad])


def test_line_of_another_form_is_let_go_and_one_that_is_no_object_an_error() -> None:
    made = book()
    for text in (b'{"type":1}', b"{}", b'{"type":"PRICE","instrument":null}'):
        made.take(price_line(text))
    assert made.names() == []
    with pytest.raises(StreamDataError):
        price_line(b"[]")


class FakeUpdates(Updates):
    """Keeps the quotes that are published while somebody listens."""

    def __init__(self) -> None:
        super().__init__()
        self.listening = True
        self.published: list[Update] = []

    def __bool__(self) -> bool:
        return self.listening

    def publish(self, item: Update) -> None:
        self.published.append(item)


def test_listener_sees_every_quote() -> None:
    updates = FakeUpdates()
    made = QuoteBook(lambda: NOW, updates)
    made.take(price("1.1"))
    made.take(price("1.15"))
    updates.listening = False
    made.take(price("1.16"))
    assert [quote.bid for quote in updates.published if isinstance(quote, Quote)] == [Decimal("1.1"), Decimal("1.15")]


async def test_quotes_come_from_memory(harness: OrderServiceHarness) -> None:
    async with harness.service() as service:
        quotes = service.quotes(["EUR_USD", "XXX_YYY"])

    assert [(quote.instrument, quote.bid, quote.ask) for quote in quotes] == [
        ("EUR_USD", Decimal("1.09990"), Decimal("1.10010"))
    ]
