"""Trades of one account: show them, and change the orders that protect them."""

from __future__ import annotations

from msgspec import Struct

from broker.orders.dependencies import EngineDependencies
from broker.orders.errors import UnknownPositionError
from broker.orders.idempotency import Idempotency
from broker.orders.ownership.leadership import Leadership
from broker.venue.errors import VenueRefusedError
from broker.venue.v20.parse import VenueOrder, VenueTrade

LEGS = ("take_profit", "stop_loss", "guaranteed_stop_loss", "trailing_stop")
"""Orders that a trade may have, by their names in requests and answers."""


class ShownTrade(Struct, frozen=True, kw_only=True):
    """A trade as the venue holds it, with the order of ours that opened it."""

    trade: VenueTrade
    client: str | None = None
    order_id: str | None = None
    order_ids: dict[str, str]
    """Our id of each of its orders that we know."""


class Trades:
    """Trades of one account."""

    def __init__(self, dependencies: EngineDependencies, leadership: Leadership, idempotency: Idempotency) -> None:
        self._dependencies = dependencies
        self._leadership = leadership
        self._idempotency = idempotency

    async def open(self) -> list[ShownTrade]:
        """Open trades, the oldest first. Raises VenueError: the venue cannot be asked."""
        found, _ = await self._dependencies.venue.trades()
        return sorted(map(self._shown, found), key=lambda item: int(item.trade.id))

    async def one(self, trade_id: str) -> ShownTrade:
        """One trade, open or closed.

        Raises:
            UnknownPositionError: there is none of this id.
            VenueError: the venue cannot be asked.
        """
        try:
            return self._shown(await self._dependencies.venue.trade(trade_id))
        except VenueRefusedError as error:
            raise UnknownPositionError(f"no trade {trade_id}") from error

    def _shown(self, trade: VenueTrade) -> ShownTrade:
        engine = self._leadership.engine
        ours: dict[str, str] = {}
        if engine is not None:
            for name in LEGS:
                order: VenueOrder | None = getattr(trade, name)
                record = engine.store.index.by_venue_id(order.id) if order is not None else None
                if record is not None:
                    ours[name] = record.id
        return ShownTrade(trade=trade, order_ids=ours)
