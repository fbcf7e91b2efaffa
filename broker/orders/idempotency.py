"""Requests that come again: the caller's id gives the first result, from memory or, if it is old, the history."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Protocol

from msgspec.structs import replace

from broker.domain import Order, OrderRequest
from broker.events.events import DuplicateRequest
from broker.orders.engine import Tenure
from broker.orders.errors import ClientIdConflictError
from broker.orders.model.order_record import Action, Entry, is_same
from producer.emitter import Emit

CLOSES = frozenset({Action.CLOSE_POSITION, Action.CLOSE_TRADE})


class LongMemory(Protocol):
    """Who knows callers' ids that are forgotten here; see `broker.history.recall`."""

    async def first(self, client: str, client_order_id: str) -> Order | None:
        """The order that has this id; None for a new id."""

    def note(self, client: str, client_order_id: str) -> None:
        """The id is used from now on."""


class NoHistory:
    """Knows nothing."""

    async def first(self, _client: str, _client_order_id: str) -> None:
        """There is no history."""

    def note(self, client: str, client_order_id: str) -> None:
        """There is no history."""


def is_same_close(entry: Entry, *, instrument: str | None, trade_id: str | None, units: Decimal | None) -> bool:
    """Whether a close asks for what the entry did, whatever the position is by now."""
    request = entry.order.request
    is_of_target = trade_id in {request.trade_id, entry.target} if trade_id else request.instrument == instrument
    closed = entry.close_units if entry.action in CLOSES else None
    return is_of_target and units in {closed, request.units if units is not None else closed}


class Replays:
    """Answers for what is known already."""

    def __init__(self, tenure: Callable[[], Tenure | None], emit: Emit, memory: LongMemory) -> None:
        self._tenure = tenure
        self._emit = emit
        self._memory = memory

    async def of_order(self, request: OrderRequest) -> Order | None:
        """The result that the request's id had; None for a new one.

        Raises:
            ClientIdConflictError: it was used for another order.
            NotReadyError: it is old, and the history cannot be asked.
        """
        entry = await self._find(request.client, request.client_order_id)
        if entry is None:
            return None
        self._judge(entry, same=is_same(entry, request))
        tenure = self._tenure()
        if tenure is not None and entry.action is Action.ADOPTED:
            entry = replace(entry, action=Action.CREATE, order=replace(entry.order, request=request))
            tenure.keeper.put(entry)
        return await self._result(entry)

    async def of_close(
        self,
        client: str,
        client_order_id: str | None,
        units: Decimal | None,
        *,
        instrument: str | None = None,
        trade_id: str | None = None,
    ) -> Order | None:
        """The same for a close, which may find its position gone: by itself.

        Raises:
            ClientIdConflictError, NotReadyError: as above.
        """
        entry = await self._find(client, client_order_id) if client_order_id is not None else None
        if entry is None:
            return None
        self._judge(entry, same=is_same_close(entry, instrument=instrument, trade_id=trade_id, units=units))
        return await self._result(entry)

    async def _find(self, client: str, client_order_id: str) -> Entry | None:
        tenure = self._tenure()
        if tenure is None:
            return None
        if (entry := tenure.keeper.register.by_key(client, client_order_id)) is not None:
            return entry
        old = await self._memory.first(client, client_order_id)
        # Asking takes time, in which the same request may have come again.
        if (entry := tenure.keeper.register.by_key(client, client_order_id)) is not None:
            return entry
        if old is None:
            self._memory.note(client, client_order_id)
            return None
        return Entry(order=old, client_id="", checkpoint=0)

    def _judge(self, entry: Entry, *, same: bool) -> None:
        name = entry.order.request.client_order_id
        self._emit(DuplicateRequest(action="replayed" if same else "refused", client_order_id=name))
        if not same:
            raise ClientIdConflictError(f"client_order_id {name!r} was used for another order")

    async def _result(self, entry: Entry) -> Order:
        tenure = self._tenure()
        if tenure is not None and (waiter := tenure.keeper.waiter(entry.id)) is not None:
            return await tenure.wait_settled(entry, waiter)
        return entry.order
