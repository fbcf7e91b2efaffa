"""Server-sent events of the order API, parsed (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from broker_client.models import AccountView, OrderView, PastTransaction, PriceView

CONNECTED = "connected"
"""Kind of the event that the client itself makes each time that a connection is open."""
MODELS: Mapping[str, Any] = {
    "order": OrderView,
    "price": PriceView,
    "account": AccountView,
    "transaction": PastTransaction,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamEvent:
    """One event. `data` is the model of its kind, and a plain dict for kinds that have none (`missed`, `gap`)."""

    kind: str
    data: OrderView | PriceView | AccountView | PastTransaction | Mapping[str, Any]
    id: str | None = None


@dataclass(slots=True)
class EventParser:
    """Makes events of a stream's lines."""

    last_id: str | None = None
    """Id of the latest whole event: a new connection goes on behind it."""
    retry_s: float | None = None
    """Pause before a new connection that the server asks for."""
    _id: str | None = None
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
                self._id = value or None
            case "retry" if value.isascii() and value.isdecimal():
                self.retry_s = int(value) / 1000
        return None  # also for a comment, which has no name, and for fields that the standard does not know

    def abandon(self) -> None:
        """Forget a half of an event: its connection is lost."""
        self._id, self._kind, self._data = self.last_id, "", []

    def _dispatch(self) -> StreamEvent | None:
        # Only now: a connection that ends in the middle of an event must go on before it.
        self.last_id = self._id
        kind, data = self._kind or "message", "\n".join(self._data)
        self.abandon()
        return StreamEvent(kind=kind, data=_decoded(kind, data), id=self.last_id) if data else None


def _decoded(kind: str, data: str) -> Any:
    try:
        return msgspec.json.decode(data, type=MODELS.get(kind, dict[str, Any]))
    except msgspec.ValidationError:
        # Of a broker with another contract. As an error it would come again with each new connection, for ever.
        return msgspec.json.decode(data, type=dict[str, Any])
