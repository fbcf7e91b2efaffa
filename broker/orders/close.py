"""Closes positions and trades by the venue's own requests for it."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from msgspec.structs import replace

from broker.domain import Side
from broker.orders import closing
from broker.orders.engine import Tenure
from broker.orders.errors import UnknownPositionError
from broker.orders.idempotency import Replays
from broker.orders.model.order_record import Action
from broker.orders.placed import Placed
from broker.venue.rest.client import VenueRest


class Closer:
    """Closes by a tenure that may trade: `trader` gives it, or raises what the caller is to know."""

    def __init__(
        self,
        venue: VenueRest,
        account: str,
        *,
        trader: Callable[[], Tenure],
        replays: Replays,
        new_name: Callable[[], str],
    ) -> None:
        self._venue = venue
        self._account = account
        self._trader = trader
        self._replays = replays
        self._new_name = new_name

    async def position(
        self,
        instrument: str,
        side: Side | None,
        units: Decimal | None,
        *,
        client: str,
        client_order_id: str | None,
        traceparent: str | None,
    ) -> Placed:
        """Closes a position, or `units` of it; `side` is the position's and must agree where it is given.

        Raises:
            UnknownPositionError: there is none, or it is on the other side.
        """
        first = await self._replays.of_close(client, client_order_id, units, instrument=instrument)
        if first is not None:
            return Placed(first, replayed=True)
        tenure = self._trader()
        held = tenure.keeper.position(instrument)
        if held == 0 or (side is not None and side.sign * held < 0):
            raise UnknownPositionError(f"no {side or 'open'} position in {instrument}")
        request = closing.request(
            client=client,
            client_order_id=client_order_id or self._new_name(),
            account=self._account,
            instrument=instrument,
            held=held,
            units=units,
            traceparent=traceparent,
        )
        closed = await tenure.place(request, action=Action.CLOSE_POSITION, close_units=units)
        return Placed(closed, replayed=False)

    async def trade(
        self,
        trade_id: str,
        units: Decimal | None,
        *,
        client: str,
        client_order_id: str | None,
        traceparent: str | None,
    ) -> Placed:
        """Closes a trade, or `units` of it.

        Raises:
            UnknownPositionError: no such trade is open.
            VenueError: the venue could not be asked which trades are open.
        """
        if (first := await self._replays.of_close(client, client_order_id, units, trade_id=trade_id)) is not None:
            return Placed(first, replayed=True)
        self._trader()
        trades, _ = await self._venue.trades()
        trade = next((item for item in trades if item.id == trade_id), None)
        if trade is None:
            raise UnknownPositionError(f"no open trade {trade_id}")
        request = closing.request(
            client=client,
            client_order_id=client_order_id or self._new_name(),
            account=self._account,
            instrument=trade.instrument,
            held=trade.units,
            units=units,
            traceparent=traceparent,
        )
        request = replace(request, trade_id=trade_id)
        first = await self._replays.of_close(client, client_order_id, units, trade_id=trade_id)
        if first is not None:  # it came again while the venue was asked
            return Placed(first, replayed=True)
        tenure = self._trader()
        closed = await tenure.place(request, action=Action.CLOSE_TRADE, target=trade_id, close_units=units)
        return Placed(closed, replayed=False)
