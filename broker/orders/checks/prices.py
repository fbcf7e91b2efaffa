"""Price feed of an account: the stream of its instruments, and the book of quotes that orders are checked against."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from time import monotonic

import msgspec
from msgspec import Struct

from broker.domain import Quote
from broker.events.venue import ClockSample
from broker.orders.errors import NotReadyError
from broker.orders.updates import Updates
from broker.venue.rest.client import VenueRest
from broker.venue.streams.line_stream import LineStream
from broker.venue.streams.stream_state import message
from broker.venue.v20.parse import parse_quote
from broker.venue.v20.transactions import parse_time

FIRST_PRICES_S = 10.0
"""Seconds after an acquisition in which a missing price stream asks callers to retry instead of denying."""
PENDING_S = 0.25
"""Seconds after which to retry an order that came before the first prices."""


class PriceLine(Struct):
    """A line of the price stream with what is needed of each; the rest of `text` is read if somebody asks for it."""

    type: str = ""
    instrument: str = ""
    time: str = ""
    text: bytes = b""


_DECODER = msgspec.json.Decoder(PriceLine)


def price_line(text: bytes) -> PriceLine:
    """Read the head of a line: hundreds come a second, and building the objects of one takes ten times as long.

    Raises StreamDataError: it is no JSON object.
    """
    try:
        line = _DECODER.decode(text)
    except ValueError:
        message(text)
        line = PriceLine()  # an object of another form: let go, as other types are
    line.text = text
    return line


def price_lines(texts: Sequence[bytes]) -> list[PriceLine]:
    """Read the heads of lines that came together, in one call: a tick of the venue brings a line of each instrument.

    Raises StreamDataError: one of them is no JSON object.
    """
    try:
        lines = _DECODER.decode_lines(b"\n".join(texts))
    except ValueError:
        lines = []
    if len(lines) != len(texts):
        return [price_line(text) for text in texts]
    for line, text in zip(lines, texts, strict=True):
        line.text = text
    return lines


class QuoteBook:
    """Latest quotes, published as they come to `updates`."""

    def __init__(self, clock: Callable[[], datetime], updates: Updates | None = None) -> None:
        self._clock = clock
        self._updates = updates
        # A price is kept as it came and parsed when somebody asks: ticks are many, orders few.
        self._raw: dict[str, tuple[bytes, datetime]] = {}
        self._quotes: dict[str, Quote] = {}
        self.conversions: dict[str, Decimal] = {}
        """Instrument to the factor from its quote currency to the account's."""

    def take(self, *lines: PriceLine) -> None:
        """Take messages of the price stream that came together; heartbeats and other types are let go."""
        now, raw, quotes = self._clock(), self._raw, self._quotes
        updates = self._updates or None  # nobody listens to an empty one
        for line in lines:
            if line.type != "PRICE":
                continue
            name = line.instrument
            raw[name] = (line.text, now)
            quotes.pop(name, None)
            if updates is not None and (quote := self.quote(name)) is not None:
                updates.publish(quote)

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
            quote = parse_quote(message(held[0]), held[1])
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


class PriceFeed:
    """Latest quotes, and the stream that brings them. Run `stream` while the account is owned."""

    def __init__(self, venue: VenueRest, *, clock: Callable[[], datetime], updates: Updates) -> None:
        self._venue = venue
        self._clock = clock
        self.known: tuple[str, ...] = ()
        """Instruments of the account, from the last catch-up; streamed if the settings name none."""
        self.book = QuoteBook(clock, updates)
        self.stream = LineStream("prices", "/pricing/stream", venue, self)

    @property
    def instruments(self) -> tuple[str, ...]:
        """Names of the instruments that are streamed."""
        return self._venue.settings.instruments or self.known

    def parameters(self) -> dict[str, str]:
        """Query parameters of the stream."""
        return {"instruments": ",".join(self.instruments), "snapshot": "true"}

    async def take(self, texts: Sequence[bytes], /) -> None:
        """Take lines of the stream."""
        lines = price_lines(texts)
        self.book.take(*lines)
        for line in lines:
            if line.type == "HEARTBEAT":
                # The way here is included, so that this is an upper bound of our clock's lead.
                offset_s = (parse_time(line.time) - self._clock()).total_seconds()
                self._venue.emit(ClockSample(offset_s=offset_s))

    async def opened(self) -> None:
        """Nothing to read: the stream begins with a snapshot of its own."""

    def require_prices(self, owned_since_s: float) -> None:
        """Refuse an order that came just after an acquisition, before the stream is up.

        Raises NotReadyError: try again.
        """
        # A denial (PRICE_STALE) would be final for the client order id; the caller only has to wait.
        if not self.stream.is_alive and monotonic() - owned_since_s < FIRST_PRICES_S:
            raise NotReadyError("PricesPending", PENDING_S)

    def quotes(self, instruments: Sequence[str] = ()) -> list[Quote]:
        """Latest quotes from memory; of all instruments if none is named. Unknown ones are left out."""
        found = [self.book.quote(name) for name in instruments or self.book.names()]
        return [quote for quote in found if quote is not None]
