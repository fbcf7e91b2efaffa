"""Book of the account's open trades: the instrument, direction, size and owner of whatever closes one.

The venue's orders of a trade (take-profit, stop-loss, trailing and guaranteed stop) carry neither instrument nor units
(v20, order definitions): they close all of their trade, however much is left. So both come from here. A trade belongs
to the client of the order that opened it, and so do its protections.

The book follows the fills of the venue's log, by rising id. A snapshot of it lies in the journal. The venue's own list
of open trades replaces it after each reading, with the transaction that the list includes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from decimal import Decimal

from msgspec import Struct
from msgspec.structs import replace

from broker.domain import OrderRequest, Side, TradeEffect
from broker.venue.v20.parse import VenueTrade
from broker.venue.v20.transactions import Transaction

EXTERNAL = "external"
"""Client of orders that another program or a person placed at the venue."""


class TradeOwner(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The order that opened a trade, as far as it is known."""

    client: str = EXTERNAL
    order_id: str | None = None
    """Ours."""
    mark: str = ""
    """Digest of the client, from our mark at the venue, while the client's name is not known (see `model.ids`)."""


NOBODY = TradeOwner()


class OpenTrade(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An open trade."""

    id: str
    """The venue's: the id of the fill that opened it."""
    instrument: str
    units: Decimal
    """Signed; shrinks as the trade is closed in parts."""
    price: Decimal
    opened_at: datetime
    owner: TradeOwner = NOBODY

    @property
    def closing_side(self) -> Side:
        """Side of whatever closes it."""
        return Side.SELL if self.units > 0 else Side.BUY


class TradeBookState(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The book as the journal keeps it."""

    at: int
    """Last transaction that it includes."""
    trades: tuple[OpenTrade, ...] = ()


def of_trade(request: OrderRequest, trade: OpenTrade) -> OrderRequest:
    """The order of a trade with the trade's instrument, opposite side and whole size."""
    return replace(request, instrument=trade.instrument, side=trade.closing_side, units=abs(trade.units))


class TradeBook:
    """Open trades by id."""

    def __init__(self) -> None:
        self._open: dict[str, OpenTrade] = {}
        self.at = 0
        """Last transaction that the book includes."""
        self._ended: dict[str, OpenTrade] = {}
        """Trades that the log opens and that were over when the venue was asked, until it is asked again: their orders
        are read back, too."""
        self.is_whole = False
        """True once it has all open trades: from the venue, or from the journal."""

    def __iter__(self) -> Iterator[OpenTrade]:
        return iter(self._open.values())

    def __len__(self) -> int:
        return len(self._open)

    def get(self, trade_id: str) -> OpenTrade | None:
        """An open trade; None if it is closed or not known."""
        return self._open.get(trade_id)

    def known(self, trade_id: str) -> OpenTrade | None:
        """An open trade, or one of those read back as it was opened; None for any other."""
        return self._open.get(trade_id) or self._ended.get(trade_id)

    def put(self, trade: OpenTrade) -> None:
        """Store a trade in place of the one with its id."""
        self._open[trade.id] = trade

    def open(self, fill: Transaction, owner: TradeOwner) -> None:
        """Enter the trade that a fill opens, also before its turn: an answer comes before the stream's copy."""
        part = next((part for part in fill.trades if part.effect is TradeEffect.OPENED), None)
        if part is None:
            return
        held = self._open.get(part.trade_id)
        if held is not None and held.owner == NOBODY:
            self.put(replace(held, owner=owner))
        if held is not None:
            return
        book = self._open if fill.id > self.at else self._ended
        book[part.trade_id] = OpenTrade(
            id=part.trade_id,
            instrument=fill.instrument or "",
            units=part.units.copy_sign(fill.units),
            price=fill.price or Decimal(0),
            opened_at=fill.time,
            owner=owner,
        )

    def apply(self, fill: Transaction, owner: TradeOwner) -> tuple[OpenTrade, ...]:
        """Count the next fill of the log; the trades that it made smaller and left open. A repetition is no news."""
        self.open(fill, owner)
        if fill.id <= self.at:
            return ()
        self.at, left = fill.id, []
        for part in fill.trades:
            trade = self._open.get(part.trade_id)
            if trade is None or part.effect is TradeEffect.OPENED:
                continue
            rest = abs(trade.units) - part.units
            if part.effect is TradeEffect.CLOSED or rest <= 0:
                del self._open[trade.id]
                continue
            left.append(replace(trade, units=rest.copy_sign(trade.units)))
            self.put(left[-1])
        return tuple(left)

    def set(self, trades: Iterable[VenueTrade], at: int) -> None:
        """Take over the venue's open trades, which include every transaction up to `at`.

        Trades of answers behind it stay, and so do the owners that are known.
        """
        if at < self.at:
            return
        owners = {trade.id: trade.owner for trade in self}
        self._open = {key: trade for key, trade in self._open.items() if int(key) > at}
        self._ended.clear()
        self.at, self.is_whole = at, True
        for trade in trades:
            fields = {name: getattr(trade, name) for name in ("id", "instrument", "units", "price", "opened_at")}
            self.put(OpenTrade(**fields, owner=owners.get(trade.id, NOBODY)))

    def state(self) -> TradeBookState:
        """The book, for the journal."""
        return TradeBookState(at=self.at, trades=tuple(self._open.values()))

    def restore(self, state: TradeBookState) -> None:
        """Take over what `state` gave."""
        self.at, self.is_whole = state.at, True
        self._open = {trade.id: trade for trade in state.trades}
