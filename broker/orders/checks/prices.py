"""The prices that orders are judged by: a stream of the account's instruments, and the book that it fills."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from time import monotonic
from typing import Any

from broker.domain import Quote
from broker.events.events import ClockSample
from broker.orders.errors import NotReadyError
from broker.venue.rest.client import VenueRest
from broker.venue.settings import VenueSettings
from broker.venue.streams.line_stream import LineStream
from broker.venue.streams.quote_book import QuoteBook, QuoteUpdates
from broker.venue.v20.transactions import parse_time
from producer.emitter import Emit

FIRST_PRICES_S = 10.0
PENDING_S = 0.25
"""When to try again an order that came before the first prices."""


class Prices:
    """The latest quotes, and the stream that brings them; `known` names the instruments to ask for."""

    def __init__(
        self,
        settings: VenueSettings,
        *,
        venue: VenueRest,
        emit: Emit,
        clock: Callable[[], datetime],
        updates: QuoteUpdates,
        known: Callable[[], Sequence[str]],
    ) -> None:
        self._settings = settings
        self._emit = emit
        self._clock = clock
        self._known = known
        self.book = QuoteBook(clock, updates)
        self.stream = LineStream("prices", "/pricing/stream", venue, self)

    def parameters(self) -> dict[str, str]:
        """Query of the stream."""
        return {"instruments": ",".join(self._settings.instruments or self._known()), "snapshot": "true"}

    async def message(self, raw: dict[str, Any]) -> None:
        """Take a message of the stream."""
        if raw.get("type") == "HEARTBEAT":
            offset_s = (parse_time(raw.get("time")) - self._clock()).total_seconds()
            self._emit(ClockSample(offset_s=offset_s))  # the way here included: an upper bound of our lead
        else:
            self.book.take(raw)

    async def opened(self) -> None:
        """Do nothing: the stream begins with a snapshot of its own."""

    def expect(self, held_since_s: float) -> None:
        """Just after a taking the stream is only coming: a denial for that would be final for the order.

        Raises:
            NotReadyError: try again.
        """
        if not self.stream.is_alive and monotonic() - held_since_s < FIRST_PRICES_S:
            raise NotReadyError("PricesPending", PENDING_S)

    def quotes(self, instruments: Sequence[str] = ()) -> list[Quote]:
        """Latest quotes from memory; of all instruments where none is named. Unknown ones are left out."""
        found = [self.book.quote(name) for name in instruments or self.book.names()]
        return [quote for quote in found if quote is not None]
