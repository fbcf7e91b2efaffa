"""Idempotency: a client order id that comes again gets its first result, from memory or the history.

The venue does not deduplicate client order ids, so that this is the only thing that keeps a caller's retry from being
a second order.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from broker.domain import Order, OrderRequest
from broker.events.orders import DuplicateRequest
from broker.orders.dependencies import EngineDependencies
from broker.orders.errors import ClientIdConflictError
from broker.orders.model.order_record import OrderAction, OrderRecord, is_same, is_same_close
from broker.orders.ownership.leadership import Leadership


class Placed(Struct, frozen=True):
    """An order at its first settled status; `replayed` if its id was used before and nothing was sent now."""

    order: Order
    replayed: bool


class LongMemory(Protocol):
    """Knows client order ids that memory has forgotten; see `broker.history.recall`."""

    async def first(self, client: str, client_order_id: str) -> Order | None:
        """The order that has this id; None for a new id."""

    def note(self, client: str, client_order_id: str) -> None:
        """Remember that the id is used from now on."""


class NoHistory:
    """A long memory without a database."""

    async def first(self, _client: str, _client_order_id: str) -> None:
        """No order is known."""

    def note(self, client: str, client_order_id: str) -> None:
        """Remember nothing."""


class Idempotency:
    """Finds the first result of a request that came before."""

    def __init__(self, dependencies: EngineDependencies, leadership: Leadership, memory: LongMemory) -> None:
        self._leadership = leadership
        self._emit = dependencies.emit
        self._memory = memory

    async def first_order(self, request: OrderRequest) -> Order | None:
        """The result that the request's id had; None for a new one.

        Raises:
            ClientIdConflictError: it was used for another order.
            NotReadyError: it is old, and the history cannot be asked.
        """
        record = await self._find(request.client, request.client_order_id)
        if record is None:
            return None
        self._check(record, same=is_same(record, request))
        engine = self._leadership.engine
        if engine is not None and record.action is OrderAction.ADOPTED:
            # Read back from the venue's log, which has only a digest of the id: now we know the whole request.
            record = replace(record, action=OrderAction.CREATE, order=replace(record.order, request=request))
            engine.store.put(record)
        return await self._result(record)

    async def first_close(
        self,
        client: str,
        client_order_id: str | None,
        units: Decimal | None,
        *,
        instrument: str | None = None,
        trade_id: str | None = None,
    ) -> Order | None:
        """The same for a close, whose position may be gone by its own doing.

        Raises:
            ClientIdConflictError, NotReadyError: as for an order.
        """
        record = await self._find(client, client_order_id) if client_order_id is not None else None
        if record is None:
            return None
        self._check(record, same=is_same_close(record, instrument=instrument, trade_id=trade_id, units=units))
        return await self._result(record)

    async def _find(self, client: str, client_order_id: str) -> OrderRecord | None:
        engine = self._leadership.engine
        if engine is None:
            return None
        if (record := engine.store.index.by_key(client, client_order_id)) is not None:
            return record
        old = await self._memory.first(client, client_order_id)
        # Asking takes time, in which the same request may have come again and be on its way.
        if (record := engine.store.index.by_key(client, client_order_id)) is not None:
            return record
        if old is None:
            self._memory.note(client, client_order_id)
            return None
        return OrderRecord(order=old, client_id="", checkpoint=0)

    def _check(self, record: OrderRecord, *, same: bool) -> None:
        name = record.order.request.client_order_id
        self._emit(DuplicateRequest(action="replayed" if same else "refused", client_order_id=name))
        if not same:
            raise ClientIdConflictError(f"client_order_id {name!r} was used for another order")

    async def _result(self, record: OrderRecord) -> Order:
        engine = self._leadership.engine
        if engine is not None and (waiter := engine.store.waiter(record.id)) is not None:
            return await engine.wait_settled(record, waiter)
        return record.order
