"""Trades of one account: show them, and change the orders that protect them and what is written on them.

Each of a trade's orders that a caller changes is an order of its own key (`operations.part_key`), and one request to
the venue (PUT trades/{id}/orders), which replaces the trade's order of that type in one step and leaves the others
alone. So it has an intent in the journal, a client id that the log knows it by, and is sent once, as every order. What
is to be cancelled is journaled by the venue's id: a repetition never cancels an order that came later.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from http import HTTPStatus
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from broker.domain import Operation, Order, OrderRequest, OrderStatus, OrderType, Protection, Side
from broker.orders.dependencies import EngineDependencies
from broker.orders.errors import TradeMismatchError, UnknownPositionError
from broker.orders.idempotency import Idempotency
from broker.orders.mass_actions import (
    FAILURES,
    MassActions,
    MassResult,
    Outcome,
    cancel,
    cancel_outcome,
    failure_outcome,
)
from broker.orders.model.lifecycle import OrderAction
from broker.orders.model.operations import Asked, OperationRecord, part_key
from broker.orders.ownership.leadership import Leadership
from broker.orders.store.trade_book import NOBODY
from broker.venue.errors import VenueRefusedError
from broker.venue.rest.rate_limit import Precedence
from broker.venue.v20 import order_requests as order_call
from broker.venue.v20.order_requests import DEPENDENT
from broker.venue.v20.parse import VenueOrder, VenueTrade

LEGS: Mapping[str, OrderType] = {
    "take_profit": OrderType.TAKE_PROFIT,
    "stop_loss": OrderType.STOP_LOSS,
    "guaranteed_stop_loss": OrderType.GUARANTEED_STOP_LOSS,
    "trailing_stop": OrderType.TRAILING_STOP_LOSS,
}
"""Orders that a trade may have, by their names in requests and answers."""
_MADE = frozenset({OrderStatus.PENDING, OrderStatus.FILLED})


class ShownTrade(Struct, frozen=True, kw_only=True):
    """A trade as the venue holds it, with the order of ours that opened it."""

    trade: VenueTrade
    client: str | None = None
    order_id: str | None = None
    order_ids: dict[str, str]
    """Our id of each of its orders that we know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeChange:
    """A caller's change of a trade's orders: to each leg that it names its new order, or None to cancel it."""

    trade_id: str
    legs: Mapping[str, Protection | None]
    client: str
    key: str
    traceparent: str | None = None

    @property
    def asked(self) -> Asked:
        """All that a repetition has in common with it."""
        content = json.dumps({name: msgspec.to_builtins(leg) for name, leg in sorted(self.legs.items())})
        return Asked(operation=Operation.CHANGE_TRADE_ORDERS, target=self.trade_id, content=content)

    def request(
        self, leg: str, wanted: Protection, trade: VenueTrade | None, *, client_order_id: str, account: str
    ) -> OrderRequest:
        """The order of one leg; of a trade that is not open it has neither instrument nor units."""
        units = trade.units if trade is not None else Decimal(0)
        texts = {name: getattr(wanted, name) for name in ("price", "distance", "expires_at", "tag", "comment")}
        return OrderRequest(
            client_order_id=client_order_id,
            client=self.client,
            account=account,
            instrument=trade.instrument if trade is not None else "",
            type=LEGS[leg],
            side=Side.SELL if units > 0 else Side.BUY,
            units=abs(units),
            trade_id=self.trade_id,
            time_in_force=wanted.time_in_force,
            traceparent=self.traceparent,
            operation=Operation.CHANGE_TRADE_ORDERS,
            target=self.trade_id,
            **texts,
        )


def leg_outcome(leg: str, order: Order) -> Outcome:
    """The outcome of a leg, from the order that was made."""
    outcome = "done" if order.status in _MADE else "refused" if order.status.is_final else "unknown"
    return Outcome(subject=leg, outcome=outcome, reason=order.reason, message=order.message, order=order)


class Trades:
    """Trades of one account."""

    def __init__(
        self,
        dependencies: EngineDependencies,
        leadership: Leadership,
        idempotency: Idempotency,
        mass_actions: MassActions,
    ) -> None:
        self._dependencies = dependencies
        self._leadership = leadership
        self._idempotency = idempotency
        self._mass_actions = mass_actions

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

    async def complete(self, request: OrderRequest, given: frozenset[str]) -> OrderRequest:
        """An order of a trade with the trade's instrument, opposite side and units; any other order as it is.

        If no such trade is open, fields that are not `given` stay empty: the order may be a repetition.

        Raises:
            TradeMismatchError: `given` fields differ from the trade's.
            VenueError: the venue could not be asked which trades are open.
        """
        if request.type not in DEPENDENT:
            return request
        trade_id, engine = request.trade_id or "", self._leadership.engine
        # From memory, so that an order of a trade costs no request more than another; a standby has no book.
        held = engine.store.trades.get(trade_id) if engine is not None else None
        if (trade := held or await self._open_trade(trade_id)) is None:
            return request
        side = Side.SELL if trade.units > 0 else Side.BUY
        whole = replace(request, instrument=trade.instrument, side=side, units=abs(trade.units))
        differing = (name for name in sorted(given) if getattr(whole, name) != getattr(request, name))
        faults = {name: f"must be {getattr(whole, name)}, as of trade {trade.id}, or absent" for name in differing}
        if faults:
            raise TradeMismatchError(faults)
        return whole

    async def change_orders(self, change: TradeChange) -> MassResult:
        """Place, move or cancel the orders of a trade; those that the change does not name stay as they are.

        Raises:
            UnknownPositionError: no such trade is open.
            ClientIdConflictError, NotReadyError, DrainingError: nothing was sent.
            VenueError: the venue could not be asked about the trade.
        """

        async def act(record: OperationRecord) -> tuple[Outcome, ...]:
            trade = await self._open_trade(change.trade_id)
            ends = record.subjects
            if ends is None:
                if trade is None:
                    raise UnknownPositionError(f"no open trade {change.trade_id}")
                held = {leg: getattr(trade, leg) for leg, wanted in change.legs.items() if wanted is None}
                ends = tuple(f"{leg} {order.id}" for leg, order in held.items() if order is not None)
                self._leadership.trader().store.put_operation(replace(record, subjects=ends))
            to_end = dict(item.split(" ") for item in ends)
            # One after the other: two of them may depend on each other at the venue.
            return tuple([await self._change_leg(record, change, leg, trade, to_end.get(leg)) for leg in change.legs])

        return await self._mass_actions.once(change.client, change.key, change.asked, act)

    async def _open_trade(self, trade_id: str) -> VenueTrade | None:
        found, _ = await self._dependencies.venue.trades()
        return next((item for item in found if item.id == trade_id), None)

    async def _change_leg(
        self, record: OperationRecord, change: TradeChange, leg: str, trade: VenueTrade | None, ends: str | None
    ) -> Outcome:
        wanted = change.legs[leg]
        try:
            if wanted is None:
                return await self._end(leg, ends)
            account = self._dependencies.venue.settings.account
            key = part_key(record, leg)
            request = change.request(leg, wanted, trade, client_order_id=key, account=account)
            asked = Asked(operation=Operation.CHANGE_TRADE_ORDERS, target=change.trade_id, request=request)
            if (first := await self._idempotency.first(change.client, key, asked)) is not None:
                return leg_outcome(leg, first.order)
            if trade is None:
                return Outcome(
                    subject=leg, outcome="refused", reason="TRADE_DOESNT_EXIST", message="the trade is closed"
                )
            engine, action = self._leadership.trader(), OrderAction.CHANGE_TRADE_ORDERS
            return leg_outcome(leg, await engine.place(request, action=action, target=change.trade_id))
        except FAILURES as error:
            return failure_outcome(leg, error)

    async def _end(self, leg: str, venue_order_id: str | None) -> Outcome:
        if venue_order_id is None:
            return Outcome(subject=leg, outcome="ended", message="the trade had none")
        engine = self._leadership.trader()
        record = engine.store.index.by_venue_id(venue_order_id)
        if record is None:
            # Not in our books yet: the stream is behind. The venue's answer says whether it ended.
            try:
                await self._dependencies.venue.submit(order_call.cancel(venue_order_id), Precedence.CANCEL)
            except VenueRefusedError as error:
                if error.status != HTTPStatus.NOT_FOUND:
                    raise
                return Outcome(subject=leg, outcome="ended", message="it had ended before the cancel came")
            return Outcome(subject=leg, outcome="done")
        order = record.order
        if not order.status.is_final:
            order = await cancel(engine, record.id, self._dependencies.emit)
        return msgspec.structs.replace(cancel_outcome(order), subject=leg)

    async def change_extensions(self, kind: str, venue_id: str, client_id: str | None, **texts: Any) -> None:
        """Set tag and comment of an order or trade (`kind`); its id at the venue, by which we know it, stays.

        May be sent twice without harm, and so is not journaled.

        Raises:
            UnknownPositionError: the venue refused it: the order or trade has ended.
            VenueError: the venue could not be asked.
        """
        self._leadership.trader()
        extensions = {name: text for name, text in {"id": client_id, **texts}.items() if text is not None}
        try:
            await self._dependencies.venue.submit(order_call.change_extensions(kind, venue_id, extensions))
        except VenueRefusedError as error:
            raise UnknownPositionError(f"the venue refused to change {kind} {venue_id}: {error}") from error

    def _shown(self, trade: VenueTrade) -> ShownTrade:
        engine = self._leadership.engine
        ours: dict[str, str] = {}
        held = engine.store.trades.get(trade.id) if engine is not None else None
        owner = held.owner if held is not None else NOBODY
        if engine is not None:
            for name in LEGS:
                order: VenueOrder | None = getattr(trade, name)
                record = engine.store.index.by_venue_id(order.id) if order is not None else None
                if record is not None:
                    ours[name] = record.id
        client = owner.client if owner != NOBODY else None
        return ShownTrade(trade=trade, client=client, order_id=owner.order_id, order_ids=ours)
