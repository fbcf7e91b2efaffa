"""Mass actions: cancel all orders, close all positions, and the kill switch, each under one key.

The walk of an action
    1. Its key goes into the journal (`OperationRecord`), before anything is sent: whoever repeats it joins it.
    2. The orders on their way are waited for, `orders.answer_wait_s` at most, so that none is missed: before its
       answer an order has no id to cancel it by, and its fill is not in the position yet.
    3. Its subjects go into the journal: our ids of the orders, or the instruments. A repetition has the same.
    4. Each subject is dealt with by itself and has its own outcome: one failure stops no other.

A repetition, also after a crash at any step, goes on with the same subjects: an order that still rests is cancelled,
a position that no order closes yet is closed. Each close is an order of its own key (`operations.part_key`), so that a
lost answer never leads to a second close; a cancel may be sent twice without harm.

The kill switch
    halts trading first, so that the send guard withholds every order that waits for the disk or its turn; then
    cancels all entries; then closes all positions. Orders of trades (take-profits and stops) stay until the venue
    ends them with their trade: if a position cannot be closed, for instance because its market is closed, its stop
    must still stand. The closes pass although trading is halted. They need no price of ours.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from decimal import Decimal
from time import perf_counter
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from broker.domain import Operation, Order, OrderStatus
from broker.events.orders import CancelAnswered, MassActionEnded
from broker.orders.dependencies import EngineDependencies
from broker.orders.engine import OrderEngine
from broker.orders.errors import ClientIdConflictError, NotReadyError
from broker.orders.idempotency import Idempotency
from broker.orders.model.lifecycle import OrderAction, OrderRecord
from broker.orders.model.operations import SEPARATOR, Asked, OperationRecord, closing_request, part_key
from broker.orders.model.trading_state import TradingState
from broker.orders.ownership.leadership import Leadership
from broker.orders.store.journal import OrderJournalError
from broker.orders.store.order_index import IN_FLIGHT, OPEN
from broker.orders.store.order_store import Waiter
from broker.venue.errors import VenueError, VenueRefusedError
from broker.venue.v20.order_requests import DEPENDENT
from pod_runtime.cancellation import PersistentTaskGroup
from producer.emitter import Emit

UNSETTLED = IN_FLIGHT | {OrderStatus.UNKNOWN}
MASS_ACTIONS = frozenset({Operation.CANCEL_ALL, Operation.CLOSE_ALL, Operation.KILL})
AT_ONCE = 16
"""Subjects that one action deals with at a time; the venue's rate limit is shared by all."""


class Outcome(Struct, frozen=True, kw_only=True):
    """Result of an operation for one order, one position, or one order of a trade."""

    subject: str
    """Our id of the order, the instrument, or the field of the request."""
    outcome: str
    """done, ended (it had ended otherwise), refused, unknown (the answer was lost) or failed (the venue could not be
    asked; send the request again)."""
    reason: str | None = None
    message: str | None = None
    order: Order | None = None

    @property
    def is_settled(self) -> bool:
        """True if nothing is left to do."""
        return self.outcome in {"done", "ended"}


class MassResult(Struct, frozen=True, kw_only=True):
    """Outcomes of an operation on several orders or positions."""

    outcomes: tuple[Outcome, ...]
    replayed: bool = False

    @property
    def complete(self) -> bool:
        """True if nothing is left to do."""
        return all(item.is_settled for item in self.outcomes)


class OrderFilter(Struct, frozen=True, kw_only=True):
    """Orders to cancel: those that meet each condition that is given."""

    instrument: str | None = None
    client: str | None = None
    keep_exits: bool = False
    """Leave take-profits and stops of trades."""

    def admits(self, order: Order) -> bool:
        """True if an order meets the conditions."""
        request = order.request
        return (
            self.instrument in {None, request.instrument}
            and self.client in {None, request.client}
            and not (self.keep_exits and request.type in DEPENDENT)
        )


FAILURES = (VenueError, NotReadyError, ClientIdConflictError, OrderJournalError)
"""Errors of one subject, which stop no other."""


def failure_outcome(subject: str, error: Exception) -> Outcome:
    """The outcome of a subject that ended with one of FAILURES."""
    # What is sent again with the same key would meet a refusal again; anything else may succeed.
    is_refusal = isinstance(error, VenueRefusedError | ClientIdConflictError)
    reason = getattr(error, "error_type", None) or getattr(error, "reason", None)
    return Outcome(subject=subject, outcome="refused" if is_refusal else "failed", reason=reason, message=str(error))


def cancel_outcome(order: Order) -> Outcome:
    """The outcome of a cancel, from the order as it stands behind it."""
    cancelled = {OrderStatus.CANCELLED, OrderStatus.PARTIALLY_FILLED}  # its rest
    outcome = "done" if order.status in cancelled else "ended" if order.status.is_final else "unknown"
    if order.status is OrderStatus.PENDING:
        outcome = "refused"
    return Outcome(subject=order.id, outcome=outcome, reason=order.reason, message=order.message, order=order)


def close_outcome(instrument: str, order: Order) -> Outcome:
    """The outcome of a close, from the order that closes."""
    outcome = "done" if order.status is OrderStatus.FILLED else "refused" if order.status.is_final else "unknown"
    return Outcome(subject=instrument, outcome=outcome, reason=order.reason, message=order.message, order=order)


async def cancel(engine: OrderEngine, order_id: str, emit: Emit) -> Order:
    """Cancel an order of the engine's, also one that is on its way; the order as it then stands.

    Raises VenueError: no attempt was answered.
    """
    record = engine.store.index[order_id]
    # A cancel that overtakes its order waits: before the answer the venue's id of the order is not known.
    if record.status in UNSETTLED:
        record = await _settled(engine, record)
    started = perf_counter()
    record = await engine.submission.cancel(record)
    outcome = str(record.status) if record.status.is_final else "failed"
    emit(CancelAnswered(outcome=outcome, duration_s=perf_counter() - started))
    return record.order


async def _settled(engine: OrderEngine, record: OrderRecord) -> OrderRecord:
    """The order when its answer is there, or when the time for the scans of the log is over."""
    waiter = engine.store.waiters.setdefault(record.id, Waiter(perf_counter()))
    if record.status not in IN_FLIGHT:
        waiter.settled.set()  # it is unknown: only `resolved` is waited for
    with suppress(NotReadyError):  # that the venue did not look at it is the end of this order, too
        await engine.wait_settled(record, waiter)
    return engine.store.index.get(record.id) or record


class MassActions:
    """Operations on all orders and positions of one account."""

    def __init__(self, dependencies: EngineDependencies, leadership: Leadership, idempotency: Idempotency) -> None:
        self._dependencies = dependencies
        self._leadership = leadership
        self._idempotency = idempotency
        self._running: dict[tuple[str, str], asyncio.Future[None]] = {}

    async def cancel_all(self, client: str, key: str, wanted: OrderFilter) -> MassResult:
        """Cancel every open order that `wanted` admits, in every trading state.

        Raises ClientIdConflictError, NotReadyError, DrainingError: nothing was sent.
        """
        content = f"instrument={wanted.instrument} client={wanted.client} keep_exits={wanted.keep_exits}"
        asked = Asked(operation=Operation.CANCEL_ALL, content=content)

        async def act(record: OperationRecord) -> tuple[Outcome, ...]:
            return await self._cancel(record, wanted)

        return await self.once(client, key, asked, act)

    async def close_all(self, client: str, key: str, instrument: str | None, traceparent: str | None) -> MassResult:
        """Close every position, or that of one instrument; needs no price.

        Raises ClientIdConflictError, NotReadyError, DrainingError: nothing was sent.
        """
        asked = Asked(operation=Operation.CLOSE_ALL, content=f"instrument={instrument}")

        async def act(record: OperationRecord) -> tuple[Outcome, ...]:
            return await self._close(record, Operation.CLOSE_POSITION, instrument, traceparent)

        return await self.once(client, key, asked, act)

    async def kill(self, client: str, key: str, reason: str) -> MassResult:
        """Halt trading, cancel all entries and close all positions; trading stays halted.

        Raises ClientIdConflictError, NotReadyError, DrainingError: nothing was sent. If the process owns the account,
        trading is halted all the same.
        """
        asked = Asked(operation=Operation.KILL, content=reason)
        store = self._leadership.owner().store
        # Before the history is asked about the key: the halt must wait for nothing. A repetition that comes after
        # somebody has resumed trading does not halt it again.
        if store.operations.get(client, key) is None:
            store.set_state(TradingState.HALTED, client, f"kill switch: {reason}")

        async def act(record: OperationRecord) -> tuple[Outcome, ...]:
            # The orders to cancel must not be those of an earlier operation.
            part = replace(record, key=f"{record.key}{SEPARATOR}orders", subjects=None)
            part = self._leadership.trader().store.operations.get(client, part.key) or part
            cancelled = await self._cancel(part, OrderFilter(keep_exits=True))
            return (*cancelled, *await self._close(record, Operation.KILL, None, None))

        return await self.once(client, key, asked, act)

    async def once(
        self, client: str, key: str, asked: Asked, act: Callable[[OperationRecord], Awaitable[tuple[Outcome, ...]]]
    ) -> MassResult:
        """Let `act` do an operation under its key: `subjects` of its record are None if it is new."""
        found = await self._idempotency.first_operation(client, key, asked)
        engine = self._leadership.trader()
        while (running := self._running.get((client, key))) is not None:
            await asyncio.wait([running])
        record = found or OperationRecord(
            client=client,
            key=key,
            operation=asked.operation,
            target=asked.target,
            content=asked.content,
            separator=SEPARATOR,
            at=self._dependencies.clock(),
        )
        if found is None:
            engine.store.put_operation(record)
        else:
            record = engine.store.operations.get(client, key) or record
        self._running[client, key] = running = asyncio.get_running_loop().create_future()
        try:
            outcomes = await act(record)
        finally:
            del self._running[client, key]
            running.set_result(None)
        if asked.operation in MASS_ACTIONS:
            failed = sum(not item.is_settled for item in outcomes)
            self._dependencies.emit(
                MassActionEnded(
                    action=str(asked.operation),
                    result="incomplete" if failed else "complete",
                    client=client,
                    client_order_id=key,
                    subjects=len(outcomes),
                    failed=failed,
                )
            )
        return MassResult(outcomes=outcomes, replayed=found is not None)

    async def _cancel(self, record: OperationRecord, wanted: OrderFilter) -> tuple[Outcome, ...]:
        engine = self._leadership.trader()
        subjects = record.subjects
        if subjects is None:
            # Those on their way are among them: each cancel waits for its order's answer.
            subjects = tuple(item.id for item in engine.store.index.with_status(*OPEN) if wanted.admits(item.order))
            engine.store.put_operation(replace(record, subjects=subjects))
        return await self._each(subjects, self._cancel_one)

    async def _cancel_one(self, order_id: str) -> Outcome:
        engine = self._leadership.trader()
        record = engine.store.index.get(order_id)
        if record is None:
            return Outcome(subject=order_id, outcome="ended", message="the order ended long ago; see the history")
        if record.status.is_final:
            return cancel_outcome(record.order)
        return cancel_outcome(await cancel(engine, order_id, self._dependencies.emit))

    async def _close(
        self, record: OperationRecord, operation: Operation, instrument: str | None, traceparent: str | None
    ) -> tuple[Outcome, ...]:
        engine, subjects = self._leadership.trader(), record.subjects
        flying = engine.store.index.with_status(OrderStatus.RECEIVED, OrderStatus.SUBMITTED)
        # What fills meanwhile belongs to the position.
        await asyncio.gather(*(_settled(engine, item) for item in flying), return_exceptions=True)
        held = await self._holdings()
        if subjects is None:
            subjects = tuple(sorted(name for name in held if instrument in {None, name}))
            self._leadership.trader().store.put_operation(replace(record, subjects=subjects))

        async def close(name: str) -> Outcome:
            asked, key = Asked(operation=operation, target=name), part_key(record, name)
            if (first := await self._idempotency.first(record.client, key, asked)) is not None:
                return close_outcome(name, first.order)
            if not (units := held.get(name, Decimal(0))):
                return Outcome(subject=name, outcome="ended", message="there is no position")
            request = closing_request(
                asked,
                units,
                account=self._dependencies.venue.settings.account,
                instrument=name,
                client=record.client,
                client_order_id=key,
                traceparent=traceparent,
            )
            order = await self._leadership.trader().place(request, action=OrderAction.CLOSE_POSITION)
            return close_outcome(name, order)

        return await self._each(subjects, close)

    async def _holdings(self) -> dict[str, Decimal]:
        """Net units by instrument: the venue's, or our own if it cannot be asked."""
        try:
            found, _ = await self._dependencies.venue.positions()
        except VenueError:
            store = self._leadership.trader().store
            return {name: units for name in tuple(store.positions) if (units := store.position(name))}
        return {item.instrument: item.units for item in found if item.units}

    async def _each(
        self, subjects: Sequence[str], act: Callable[[str], Coroutine[Any, Any, Outcome]]
    ) -> tuple[Outcome, ...]:
        """The outcome of each subject, AT_ONCE at a time; a failure is an outcome like others."""
        turn = asyncio.Semaphore(AT_ONCE)

        async def one(subject: str) -> Outcome:
            async with turn:
                try:
                    return await act(subject)
                except FAILURES as error:
                    return failure_outcome(subject, error)

        async with PersistentTaskGroup() as group:
            tasks = [group.create_task(one(subject)) for subject in subjects]
        return outcomes_of(task.result() for task in tasks)


def outcomes_of(found: Iterable[Outcome]) -> tuple[Outcome, ...]:
    """Outcomes, those first that leave something to do."""
    return tuple(sorted(found, key=lambda item: item.is_settled))
