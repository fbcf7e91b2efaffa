"""The latest price of every instrument, in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any

from broker.domain import Quote
from broker.venue.v20.parse import parse_quote

Watch = Callable[[Quote], None]


class QuoteBook:
    """Latest quotes. A price is kept as it came and read when somebody asks: ticks are many, orders few."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._raw: dict[str, tuple[dict[str, Any], datetime]] = {}
        self._quotes: dict[str, Quote] = {}
        self.conversions: dict[str, Decimal] = {}
        """Instrument to the factor from its quote currency to the account's."""
        self.watch: Watch | None = None
        """Told of every quote while somebody listens."""

    def take(self, raw: dict[str, Any]) -> None:
        """A message of the price stream; heartbeats and other types are let go."""
        if raw.get("type") != "PRICE":
            return
        name, received_at = raw["instrument"], self._clock()
        self._raw[name] = (raw, received_at)
        self._quotes.pop(name, None)
        if self.watch is not None and (quote := self.quote(name)) is not None:
            self.watch(quote)

    def put(self, quotes: Iterable[Quote]) -> None:
        """Quotes from an answer, where the stream has none newer."""
        for quote in quotes:
            held = self.quote(quote.instrument)
            if held is None or held.time <= quote.time:
                self._raw.pop(quote.instrument, None)
                self._quotes[quote.instrument] = quote

    def quote(self, instrument: str) -> Quote | None:
        """The latest quote; None where there is none, or none that can be read."""
        if (quote := self._quotes.get(instrument)) is not None:
            return quote
        if (held := self._raw.get(instrument)) is None:
            return None
        try:
            quote = parse_quote(held[0], held[1])
        except (ValueError, KeyError, TypeError):
            quote = None
        if quote is None:
            del self._raw[instrument]  # a price that says nothing is no price: orders are denied for want of one
        else:
            self._quotes[instrument] = quote
        return quote

    def names(self) -> list[str]:
        """Instruments that have a quote."""
        return sorted(self._raw.keys() | self._quotes.keys())
