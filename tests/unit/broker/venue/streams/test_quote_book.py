from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from broker.domain import Quote
from broker.venue.streams.quote_book import QuoteBook

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)


def price(bid: str = "1.1", time: str = "2026-01-05T12:00:00Z") -> dict[str, Any]:
    return {
        "type": "PRICE",
        "instrument": "EUR_USD",
        "time": time,
        "bids": [{"price": bid}],
        "asks": [{"price": "1.2"}],
    }


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
    made.take({"type": "HEARTBEAT", "time": "0"})
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


class FakeUpdates:
    """Keeps the quotes that are published while somebody listens."""

    def __init__(self) -> None:
        self.listening = True
        self.published: list[Quote] = []

    def __bool__(self) -> bool:
        return self.listening

    def publish(self, item: Quote) -> None:
        self.published.append(item)


def test_listener_sees_every_quote() -> None:
    updates = FakeUpdates()
    made = QuoteBook(lambda: NOW, updates)
    made.take(price("1.1"))
    made.take(price("1.15"))
    updates.listening = False
    made.take(price("1.16"))
    assert [quote.bid for quote in updates.published] == [Decimal("1.1"), Decimal("1.15")]
