"""Server-sent events of the order API, parsed (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from broker_client.models import OrderView, PriceView

CONNECTED = "connected"
"""Kind of the event that the client itself makes each time that a connection is open."""
MODELS: Mapping[str, Any] = {"order": OrderView, "price": PriceView}


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamEvent:
    """One event. `data` is the model of its kind, and a plain dict for kinds that have none (`missed`)."""

    kind: str
    data: OrderView | PriceView | Mapping[str, Any]
    id: str | None = None


@dataclass(slots=True)
class EventParser:
    """Makes events of a stream's lines."""

    last_id: str | None = None
    """Id of the latest event: a new connection goes on behind it."""
    retry_s: float | None = None
    """Pause before a new connection that the server asks for."""
    _kind: str = ""
    _data: list[str] = field(default_factory=list)

    def feed(self, line: str) -> StreamEvent | None:
        """The event that ends with `line` (without its line ending), if one does; raises ValueError for bad data."""
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "event":
                self._kind = value
            case "data":
                self._data.append(value)
            case "id" if "\0" not in value:
                self.last_id = value or None
            case "retry" if value.isascii() and value.isdecimal():
                self.retry_s = int(value) / 1000
        return None  # also for a comment, which has no name, and for fields that the standard does not know

    def abandon(self) -> None:
        """Forget a half of an event: its connection is lost."""
        self._kind, self._data = "", []

    def _dispatch(self) -> StreamEvent | None:
        kind, data = self._kind or "message", "\n".join(self._data)
        self.abandon()
        if not data:
            return None
        model = MODELS.get(kind, dict[str, Any])
        return StreamEvent(kind=kind, data=msgspec.json.decode(data, type=model), id=self.last_id)
