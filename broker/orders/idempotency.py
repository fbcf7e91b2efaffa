"""Idempotency of the order service: a key that comes again gets its first result, or a conflict that says for what.

The venue does not deduplicate client order ids, so that this is the only thing that keeps a caller's retry from being
a second order. A key is looked up in memory (which the journal restores, and which has the orders that were read back
from the venue's log) and then in the history.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from broker.domain import Operation, Order
from broker.events.orders import DuplicateRequest
from broker.orders.dependencies import EngineDependencies
from broker.orders.errors import ClientIdConflictError
from broker.orders.model.lifecycle import OrderAction, OrderRecord
from broker.orders.model.operations import Asked, OperationRecord, is_same, made_by, words
from broker.orders.ownership.leadership import Leadership
from broker.orders.store.journal import OrderJournalError


class Placed(Struct, frozen=True):
    """An order at its first settled status; `replayed` if its id was used before and nothing was sent now."""

    order: Order
    replayed: bool = False


class LongMemory(Protocol):
    """Knows client order ids that memory has forgotten; see `broker.history.recall`."""

    async def first(self, client: str, client_order_id: str) -> Order | None:
        """The order that has this id; None for a new id."""

    def note(self, client: str, client_order_id: str) -> None:
        """Remember that the id is used from now on."""


class Idempotency:
    """Finds the first result of a request that came before."""

    def __init__(self, dependencies: EngineDependencies, leadership: Leadership, memory: LongMemory | None) -> None:
        self._leadership = leadership
        self._emit = dependencies.emit
        self._memory = memory

    async def first(self, client: str, key: str, asked: Asked) -> Placed | None:
        """The order that the key made first; None for a new key.

        Raises:
            ClientIdConflictError: it belongs to another operation, another target or another request.
            NotReadyError: it is old, and the history cannot be asked.
        """
        record = await self._find(client, key)
        self._refuse_operation(client, key, asked)
        if record is None:
            return None
        engine = self._leadership.engine
        target = engine.store.index.get(asked.target or "") if engine is not None else None
        if not is_same(record, asked, target.order.venue_order_id if target is not None else None):
            raise self._conflict(key, *made_by(record), asked, order_id=record.id)
        if engine is not None and asked.request is not None and record.action is OrderAction.ADOPTED:
            # Read back from the venue's log, which has only a digest of the id: now we know the whole request.
            order = replace(record.order, request=asked.request)
            record = replace(record, action=OrderAction.CREATE, order=order)
            engine.store.put(record)
        self._emit(DuplicateRequest(action="replayed", client_order_id=key))
        order = record.order
        if engine is not None and (waiter := engine.store.waiters.get(record.id)) is not None:
            order = await engine.wait_settled(record, waiter)
        return Placed(order, replayed=True)

    async def first_operation(self, client: str, key: str, asked: Asked) -> OperationRecord | None:
        """The operation on several orders that the key began; None for a new key.

        Raises ClientIdConflictError, NotReadyError: as for an order.
        """
        order = await self._find(client, key)
        found = self._operation(client, key)
        if found is not None:
            if (found.operation, found.target, found.content) != (asked.operation, asked.target, asked.content):
                raise self._conflict(key, found.operation, found.target, asked)
            self._emit(DuplicateRequest(action="replayed", client_order_id=key))
        elif order is not None:
            raise self._conflict(key, *made_by(order), asked, order_id=order.id)
        return found

    def _refuse_operation(self, client: str, key: str, asked: Asked) -> None:
        if (found := self._operation(client, key)) is not None:
            raise self._conflict(key, found.operation, found.target, asked)

    def _operation(self, client: str, key: str) -> OperationRecord | None:
        engine = self._leadership.engine
        return engine.store.operations.get(client, key) if engine is not None else None

    async def _find(self, client: str, key: str) -> OrderRecord | None:
        engine = self._leadership.engine
        if engine is None:
            return None
        if engine.store.owed:
            # The end that an order of this key is owed may leave the key free.
            with suppress(OrderJournalError):
                engine.store.tend_journal()
        if (record := engine.store.index.by_key(client, key)) is not None:
            return record
        if self._memory is None:
            return None
        old = await self._memory.first(client, key)
        # Asking takes time, in which the same request may have come again and be on its way.
        if (record := engine.store.index.by_key(client, key)) is not None:
            return record
        if old is None:
            self._memory.note(client, key)
            return None
        return OrderRecord(order=old, client_id="", checkpoint=0)

    def _conflict(
        self, key: str, operation: Operation | None, target: str | None, asked: Asked, *, order_id: str | None = None
    ) -> ClientIdConflictError:
        self._emit(DuplicateRequest(action="refused", client_order_id=key))
        used, wanted = words(operation, target), str(asked)
        made = f" (order {order_id})" if order_id else ""
        again = f"{wanted} with another content" if used == wanted else wanted
        message = f"The key {key!r} was used to {used}{made}; it cannot be used to {again}. Use a new key."
        return ClientIdConflictError(message, operation=operation, target=target, order_id=order_id)
