"""Closing of positions and trades, by the venue's own requests for it."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from broker.domain import Order, OrderRequest, OrderType, PositionFill, Side, TimeInForce
from broker.orders.dependencies import EngineDependencies
from broker.orders.errors import UnknownPositionError
from broker.orders.idempotency import Idempotency, Placed
from broker.orders.model.ids import close_client_order_id, random_bits
from broker.orders.model.order_record import OrderAction
from broker.orders.ownership.leadership import Leadership


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseCaller:
    """The caller of a close: its API key, its id for the order if it gave one, and its trace."""

    client: str
    client_order_id: str | None
    traceparent: str | None


class PositionCloser:
    """Closes positions and trades of one account."""

    def __init__(self, dependencies: EngineDependencies, leadership: Leadership, idempotency: Idempotency) -> None:
        self._dependencies = dependencies
        self._leadership = leadership
        self._idempotency = idempotency

    async def position(
        self, instrument: str, side: Side | None, units: Decimal | None, caller: CloseCaller
    ) -> Placed:
        """Close a position, or `units` of it; `side` is the position's and must agree if it is given.

        Raises:
            UnknownPositionError: there is none, or it is on the other side.
        """
        first = await self._idempotency.first_close(
            caller.client, caller.client_order_id, units, instrument=instrument
        )
        if first is not None:
            return Placed(first, replayed=True)
        engine = self._leadership.trader()
        held = engine.store.position(instrument)
        if held == 0 or (side is not None and side.sign * held < 0):
            raise UnknownPositionError(f"no {side or 'open'} position in {instrument}")
        request = self._request(caller, instrument, held, units)
        closed = await engine.place(request, action=OrderAction.CLOSE_POSITION, close_units=units)
        return Placed(closed, replayed=False)

    async def trade(self, trade_id: str, units: Decimal | None, caller: CloseCaller) -> Placed:
        """Close a trade, or `units` of it.

        Raises:
            UnknownPositionError: no such trade is open.
            VenueError: the venue could not be asked which trades are open.
        """
        if (first := await self._first(trade_id, units, caller)) is not None:
            return Placed(first, replayed=True)
        self._leadership.trader()
        trades, _ = await self._dependencies.venue.trades()
        trade = next((item for item in trades if item.id == trade_id), None)
        if trade is None:
            raise UnknownPositionError(f"no open trade {trade_id}")
        request = self._request(caller, trade.instrument, trade.units, units, trade_id)
        # The same close may have come again while the venue was asked, and is on its way now.
        if (first := await self._first(trade_id, units, caller)) is not None:
            return Placed(first, replayed=True)
        engine = self._leadership.trader()
        closed = await engine.place(request, action=OrderAction.CLOSE_TRADE, target=trade_id, close_units=units)
        return Placed(closed, replayed=False)

    async def _first(self, trade_id: str, units: Decimal | None, caller: CloseCaller) -> Order | None:
        return await self._idempotency.first_close(caller.client, caller.client_order_id, units, trade_id=trade_id)

    def _request(
        self, caller: CloseCaller, instrument: str, held: Decimal, units: Decimal | None, trade_id: str | None = None
    ) -> OrderRequest:
        """A market order against `held` (signed), as much as `units` or all of it, and never beyond."""
        dependencies = self._dependencies
        name = caller.client_order_id or close_client_order_id(dependencies.clock(), random_bits(dependencies.chance))
        return OrderRequest(
            client_order_id=name,
            client=caller.client,
            account=dependencies.venue.settings.account,
            instrument=instrument,
            type=OrderType.MARKET,
            side=Side.SELL if held > 0 else Side.BUY,
            units=units if units is not None else abs(held),
            time_in_force=TimeInForce.FOK,
            # The position may shrink while the request is on its way: the rest must not open the other side.
            position_fill=PositionFill.REDUCE_ONLY,
            trade_id=trade_id,
            traceparent=caller.traceparent,
        )
