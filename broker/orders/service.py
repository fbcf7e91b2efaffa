"""Order service of one account: place, cancel, replace and close orders; query their state.

It is all that the API calls. `Leadership` decides if this process may trade and holds the `OrderEngine` of the
current ownership term; idempotency and closing are private parts of the service.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from decimal import Decimal
from time import perf_counter

from broker.domain import Account, Order, OrderRequest, OrderStatus, Position, Quote, Side
from broker.events.orders import CancelAnswered
from broker.orders.checks.dry_run import DryRun, dry_run, market_now
from broker.orders.closing import CloseCaller, PositionCloser
from broker.orders.dependencies import EngineDependencies
from broker.orders.engine import OrderEngine
from broker.orders.errors import UnknownOrderError
from broker.orders.idempotency import Idempotency, LongMemory, Placed
from broker.orders.model.order_record import OrderAction, OrderRecord
from broker.orders.model.trading_state import TradingState
from broker.orders.observe import set_stream_conditions, set_term_conditions
from broker.orders.ownership.leadership import Leadership
from broker.orders.recovery.reconcile import Mismatch
from broker.orders.store.index import OPEN
from broker.orders.store.tail import Change, changes
from broker.orders.updates import Missed
from producer.health import Condition


class OrderService:
    """The order path of one account. `run` it in a task; the other methods answer while it runs.

    Methods that trade raise NotReadyError or DrainingError if they cannot, before anything was sent.
    """

    def __init__(
        self, dependencies: EngineDependencies, leadership: Leadership, memory: LongMemory, *, address: str = ""
    ) -> None:
        self._dependencies = dependencies
        self._address = address
        """Our own, as the lease has it."""
        self._prices = dependencies.prices
        self.leadership = leadership
        self._idempotency = Idempotency(dependencies, leadership, memory)
        self._closer = PositionCloser(dependencies, leadership, self._idempotency)

    async def run(self, stop: asyncio.Event) -> None:
        """Acquire the account and trade it until `stop`, then drain; follow again whenever ownership is lost."""
        await self.leadership.run(stop)

    @property
    def _engine(self) -> OrderEngine | None:
        return self.leadership.engine

    @property
    def epoch(self) -> int:
        """Number of our ownership term; 0 if we are not the owner."""
        return self.leadership.epoch

    def elsewhere(self) -> str | None:
        """`host:port` of the broker that trades the account, empty if it is not known; None if we do."""
        if self.leadership.draining or not self.leadership.following:
            return None
        address = self.leadership.lease.address()
        return "" if address == self._address else address

    async def place(self, request: OrderRequest) -> Placed:
        """Place an order, once for its client order id; the order at its first settled status.

        Raises:
            ClientIdConflictError: the id was used for another order.
            NotReadyError, DrainingError: nothing was sent.
        """
        if (first := await self._idempotency.first_order(request)) is not None:
            return Placed(first, replayed=True)
        engine = self.leadership.trader()
        self._prices.require_prices(self.leadership.held_since_s)
        return Placed(await engine.place(request), replayed=False)

    async def try_order(self, request: OrderRequest) -> DryRun:
        """Take an order through the checks without sending it; a replica that does not own the account may, too.

        Raises:
            VenueError: the venue cannot be asked.
        """
        # The state is the owner's: without it the order is tried as if trading were active.
        dependencies, state = self._dependencies, TradingState.ACTIVE
        if self._engine is not None:
            state = self._engine.store.control.state
        market = await market_now(dependencies.venue, request, state=state, now=dependencies.clock())
        return dry_run(request, market, dependencies.settings)

    async def replace(self, order_id: str, request: OrderRequest) -> Placed:
        """Replace a resting order in one step at the venue; the new order, or its refusal.

        The old one ends with CLIENT_REQUEST_REPLACED if and only if the venue says so.

        Raises:
            UnknownOrderError: no such order rests.
        """
        if (first := await self._idempotency.first_order(request)) is not None:
            return Placed(first, replayed=True)
        engine = self.leadership.trader()
        record = _known(engine, order_id)
        if record.status is not OrderStatus.PENDING or record.order.venue_order_id is None:
            raise UnknownOrderError(f"order {order_id} does not rest at the venue, it is {record.status}")
        new = await engine.place(request, action=OrderAction.REPLACE, target=record.order.venue_order_id)
        return Placed(new, replayed=False)

    async def cancel(self, order_id: str) -> Order:
        """Cancel a resting order, in any trading state; the order as it then stands, which may be filled.

        Raises:
            UnknownOrderError: no such order.
            VenueError: the venue could not be asked; the order stands as it did.
        """
        engine = self.leadership.trader()
        record = _known(engine, order_id)
        # A cancel that overtakes its order waits: before the answer the venue's id of the order is not known.
        if (waiter := engine.store.waiter(order_id)) is not None:
            await engine.wait_settled(record, waiter)
        started = perf_counter()
        record = await engine.submission.cancel(_known(engine, order_id))
        outcome = str(record.status) if record.status.is_final else "failed"
        self._dependencies.emit(CancelAnswered(outcome=outcome, duration_s=perf_counter() - started))
        return record.order

    async def close_position(
        self,
        instrument: str,
        side: Side | None = None,
        units: Decimal | None = None,
        *,
        client: str = "broker",
        client_order_id: str | None = None,
        traceparent: str | None = None,
    ) -> Placed:
        """Close a position, or `units` of it; see `PositionCloser.position`."""
        caller = CloseCaller(client=client, client_order_id=client_order_id, traceparent=traceparent)
        return await self._closer.position(instrument, side, units, caller)

    async def close_trade(
        self,
        trade_id: str,
        units: Decimal | None = None,
        *,
        client: str = "broker",
        client_order_id: str | None = None,
        traceparent: str | None = None,
    ) -> Placed:
        """Close a trade, or `units` of it; see `PositionCloser.trade`."""
        caller = CloseCaller(client=client, client_order_id=client_order_id, traceparent=traceparent)
        return await self._closer.trade(trade_id, units, caller)

    def order(self, order_id: str) -> Order | None:
        """By our id; None if it is unknown or forgotten (the history has those)."""
        record = self._engine.store.index.get(order_id) if self._engine is not None else None
        return record.order if record is not None else None

    def by_client_id(self, client: str, client_order_id: str) -> Order | None:
        """By the caller and its id."""
        record = self._engine.store.index.by_key(client, client_order_id) if self._engine is not None else None
        return record.order if record is not None else None

    def open_orders(self) -> list[Order]:
        """Orders that are on their way, unknown, or resting; the oldest first."""
        if self._engine is None:
            return []
        found = [record.order for record in self._engine.store.index.with_status(*OPEN)]
        return sorted(found, key=lambda order: order.created_at)

    async def positions(self) -> list[Position]:
        """Open positions, from the venue.

        Raises:
            VenueError: it cannot be asked.
        """
        return (await self._dependencies.venue.positions())[0]

    async def account(self) -> Account:
        """The account's summary, from the venue.

        Raises:
            VenueError: it cannot be asked.
        """
        return await self._dependencies.venue.summary()

    def quotes(self, instruments: Sequence[str] = ()) -> list[Quote]:
        """Latest quotes from memory; of all instruments if none is named. Unknown ones are left out."""
        return self._prices.quotes(instruments)

    def conditions(self) -> list[Condition]:
        """Health conditions of the order path."""
        # Read from the parts when somebody asks, not pushed by them: so no change can be missed.
        held, engine = self._dependencies.conditions, self._engine
        standby = self.leadership.following and self._dependencies.settings.serves_standby
        transactions = engine.transactions if engine is not None else None
        set_stream_conditions(held, self._prices, transactions, standby=standby)
        if engine is not None:
            set_term_conditions(held, engine.store)
        return held.all()

    async def updates(self) -> AsyncIterator[Order | Quote | Missed]:
        """Orders at each change and quotes as they come, from now on; a slow listener misses the oldest."""
        async for item in self._dependencies.updates.listen():
            yield item

    async def changes(self, after: int) -> AsyncIterator[Change]:
        """Order changes and transactions behind journal position `after`, for ever, from one term to the next."""
        while True:
            if (engine := self._engine) is not None:
                async for change in changes(engine.journal, after):
                    after = change.position
                    yield change
            # The journal was closed with its term. Positions go on in the next one, on the same volume.
            await self.leadership.held.wait()

    def release(self, position: int) -> None:
        """Let the journal remove the changes up to `position`: the history has them."""
        if self._engine is not None:
            self._engine.journal.release(position)

    @property
    def state(self) -> TradingState:
        """The trading state; halted if we do not own the account."""
        return self._engine.store.control.state if self._engine is not None else TradingState.HALTED

    def set_state(self, state: TradingState, actor: str, reason: str) -> None:
        """Change the trading state, at once and over restarts.

        Raises:
            NotReadyError: we do not own the account.
        """
        self.leadership.owner().store.set_state(state, actor, reason)

    async def reconcile(self) -> tuple[Mismatch, ...]:
        """Compare with the venue now and adopt its view; the mismatches.

        Raises:
            NotReadyError: we do not own the account.
            VenueError: the venue cannot be asked.
        """
        return await self.leadership.trader().reconciler.run()


def _known(engine: OrderEngine, order_id: str) -> OrderRecord:
    record = engine.store.index.get(order_id)
    if record is None:
        raise UnknownOrderError(f"no order {order_id} here")
    return record
