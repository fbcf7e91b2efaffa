"""Latest price of every instrument, in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol

from broker.domain import Quote
from broker.venue.v20.parse import parse_quote


class QuoteUpdates(Protocol):
    """Publisher of quotes; false while nobody listens."""

    def __bool__(self) -> bool:
        """True while somebody listens."""

    def publish(self, item: Quote, /) -> None:
        """Hand a quote to the listeners; never waits."""


class QuoteBook:
    """Latest quotes, published as they come to `updates`."""

    def __init__(self, clock: Callable[[], datetime], updates: QuoteUpdates | None = None) -> None:
        self._clock = clock
        self._updates = updates
        # A price is kept as it came and parsed when somebody asks: ticks are many, orders few.
        self._raw: dict[str, tuple[dict[str, Any], datetime]] = {}
        self._quotes: dict[str, Quote] = {}
        self.conversions: dict[str, Decimal] = {}
        """Instrument to the factor from its quote currency to the account's."""

    def take(self, raw: dict[str, Any]) -> None:
        """Take a message of the price stream; heartbeats and other types are let go."""
        if raw.get("type") != "PRICE":
            return
        name, received_at = raw["instrument"], self._clock()
        self._raw[name] = (raw, received_at)
        self._quotes.pop(name, None)
        if self._updates and (quote := self.quote(name)) is not None:
            self._updates.publish(quote)

    def put(self, quotes: Iterable[Quote]) -> None:
        """Take quotes from an answer, where the stream has none newer."""
        for quote in quotes:
            held = self.quote(quote.instrument)
            # Answers and stream race: the venue's time decides, not the order of arrival.
            if held is None or held.time <= quote.time:
                self._raw.pop(quote.instrument, None)
                self._quotes[quote.instrument] = quote

    def quote(self, instrument: str) -> Quote | None:
        """Return the latest quote; None where there is none, or none that can be read."""
        if (quote := self._quotes.get(instrument)) is not None:
            return quote
        if (held := self._raw.get(instrument)) is None:
            return None
        try:
            quote = parse_quote(*held)
        except (ValueError, KeyError, TypeError):
            quote = None
        if quote is None:
            # An unreadable price takes the one before with it: orders are rather denied than judged by an old price.
            del self._raw[instrument]
        else:
            self._quotes[instrument] = quote
        return quote

    def names(self) -> list[str]:
        """Instruments that have a quote, sorted."""
        return sorted(self._raw.keys() | self._quotes.keys())
