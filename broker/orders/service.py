"""Order service of one account: place, cancel, replace and close orders; query their state.

The API calls it and its parts: `mass_actions` for all orders or positions at once, `trades` for trades. `Leadership`
decides if this process may trade and holds the `OrderEngine` of the current ownership term. `Idempotency` finds the
first result of a key.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from decimal import Decimal

from msgspec.structs import replace

from broker.domain import Account, Operation, Order, OrderRequest, OrderStatus, Position, Quote, Side
from broker.events.venue import ReconcileMismatch
from broker.orders.checks.dry_run import DryRun, dry_run, market_now
from broker.orders.checks.risk import is_exit
from broker.orders.dependencies import EngineDependencies
from broker.orders.engine import OrderEngine
from broker.orders.errors import UnknownOrderError, UnknownPositionError
from broker.orders.event_stream import Streamed, follow
from broker.orders.idempotency import Idempotency, LongMemory, Placed
from broker.orders.mass_actions import MassActions, cancel
from broker.orders.model.ids import close_client_order_id, random_bits
from broker.orders.model.lifecycle import OrderAction, OrderRecord
from broker.orders.model.operations import Asked, closing_request
from broker.orders.model.trading_state import TradingState
from broker.orders.observe import set_stream_conditions, set_term_conditions
from broker.orders.ownership.leadership import Leadership
from broker.orders.store.journal import JournalMark
from broker.orders.store.order_index import OPEN
from broker.orders.store.tail import Change, changes
from broker.orders.store.trade_book import OpenTrade
from broker.orders.trades import Trades
from producer.health import Condition


class OrderService:
    """The order path of one account. `run` it in a task; the other methods answer while it runs.

    Methods that trade raise NotReadyError or DrainingError if they cannot, before anything was sent.
    """

    def __init__(
        self,
        dependencies: EngineDependencies,
        leadership: Leadership,
        memory: LongMemory | None = None,
        *,
        address: str = "",
    ) -> None:
        self._dependencies = dependencies
        self._address = address
        """Our own, as the lease has it."""
        self._prices = dependencies.prices
        self.leadership = leadership
        self._idempotency = Idempotency(dependencies, leadership, memory)
        self.mass_actions = MassActions(dependencies, leadership, self._idempotency)
        self.trades = Trades(dependencies, leadership, self._idempotency, self.mass_actions)

    async def run(self, stop: asyncio.Event) -> None:
        """Acquire the account and trade it until `stop`, then drain; follow again whenever ownership is lost."""
        await self.leadership.run(stop)

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
        asked = Asked(operation=Operation.PLACE, request=request)
        if (first := await self._idempotency.first(request.client, request.client_order_id, asked)) is not None:
            return first
        engine = self._trader_of(request)
        _require_trade(request)
        return Placed(await engine.place(request))

    def is_exit(self, request: OrderRequest) -> bool:
        """True if an order can only reduce, as far as we know; an exit needs no prices of ours."""
        engine = self.leadership.engine
        return engine is not None and is_exit(request, engine.store.position(request.instrument))

    def _trader_of(self, request: OrderRequest) -> OrderEngine:
        engine = self.leadership.trader()
        if not self.is_exit(request):
            self._prices.require_prices(self.leadership.held_since_s)
        return engine

    async def try_order(self, request: OrderRequest) -> DryRun:
        """Take an order through the checks without sending it; a replica that does not own the account may, too.

        Raises VenueError: the venue cannot be asked.
        """
        dependencies, engine = self._dependencies, self.leadership.engine
        # The state is the owner's: without it the order is tried as if trading were active.
        state = engine.store.control.state if engine is not None else TradingState.ACTIVE
        settings = dependencies.settings
        market = await market_now(dependencies.venue, request, state=state, now=dependencies.clock(), settings=settings)
        return dry_run(request, market, settings)

    async def replace(self, order_id: str, request: OrderRequest) -> Placed:
        """Replace a resting order in one step at the venue; the new order, or its refusal.

        The old one ends with CLIENT_REQUEST_REPLACED if and only if the venue says so.

        Raises:
            UnknownOrderError: no such order rests.
        """
        request = replace(request, operation=Operation.REPLACE, target=order_id)
        asked = Asked(operation=Operation.REPLACE, target=order_id, request=request)
        if (first := await self._idempotency.first(request.client, request.client_order_id, asked)) is not None:
            return first
        engine = self._trader_of(request)
        _require_trade(request)
        record = _resting(engine, order_id)
        target = record.order.venue_order_id
        return Placed(await engine.place(request, action=OrderAction.REPLACE, target=target))

    async def cancel(self, order_id: str) -> Order:
        """Cancel a resting order, in any trading state; the order as it then stands, which may be filled.

        Raises:
            UnknownOrderError: no such order.
            VenueError: the venue could not be asked; the order stands as it did.
        """
        engine = self.leadership.trader()
        _known(engine, order_id)
        return await cancel(engine, order_id, self._dependencies.emit)

    async def change_extensions(self, order_id: str, *, tag: str | None, comment: str | None) -> Order:
        """Set tag and comment of a resting order; the order as it then stands.

        Raises:
            UnknownOrderError, UnknownPositionError: no such order rests.
            VenueError: the venue could not be asked.
        """
        record = _resting(self.leadership.trader(), order_id)
        # Its id at the venue is how we know it in the log: left out, the venue might drop it.
        client_id = record.client_id if not record.client_id.startswith("venue:") else None
        await self.trades.change_extensions(
            "order", record.order.venue_order_id or "", client_id, tag=tag, comment=comment
        )
        engine = self.leadership.trader()
        record = _known(engine, order_id)
        request = record.order.request
        first = record.first_texts or (request.tag, request.comment)
        order = replace(record.order, request=replace(request, tag=tag or None, comment=comment or None))
        engine.store.put(replace(record, order=order, first_texts=first))
        return order

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
        """Close a position, or `units` of it; `side` is the position's and must agree if it is given.

        Raises UnknownPositionError: there is none, or it is on the other side.
        """
        asked = Asked(operation=Operation.CLOSE_POSITION, target=instrument, units=units, side=side)
        key = client_order_id or self._close_key()
        if (first := await self._idempotency.first(client, key, asked)) is not None:
            return first
        engine = self.leadership.trader()
        held = engine.store.position(instrument)
        if held == 0 or (side is not None and side.sign * held < 0):
            raise UnknownPositionError(f"no {side or 'open'} position in {instrument}")
        request = closing_request(
            asked,
            held,
            account=self._dependencies.venue.settings.account,
            instrument=instrument,
            client=client,
            client_order_id=key,
            traceparent=traceparent,
        )
        return Placed(await engine.place(request, action=OrderAction.CLOSE_POSITION, close_units=units))

    async def close_trade(
        self,
        trade_id: str,
        units: Decimal | None = None,
        *,
        client: str = "broker",
        client_order_id: str | None = None,
        traceparent: str | None = None,
    ) -> Placed:
        """Close a trade, or `units` of it.

        Raises:
            UnknownPositionError: no such trade is open.
            VenueError: the venue could not be asked which trades are open.
        """
        asked = Asked(operation=Operation.CLOSE_TRADE, target=trade_id, units=units)
        key = client_order_id or self._close_key()
        if (first := await self._idempotency.first(client, key, asked)) is not None:
            return first
        self.leadership.trader()
        trades, _ = await self._dependencies.venue.trades()
        trade = next((item for item in trades if item.id == trade_id), None)
        if trade is None:
            raise UnknownPositionError(f"no open trade {trade_id}")
        request = closing_request(
            asked,
            trade.units,
            account=self._dependencies.venue.settings.account,
            instrument=trade.instrument,
            trade_id=trade_id,
            client=client,
            client_order_id=key,
            traceparent=traceparent,
        )
        # The same close may have come again while the venue was asked, and is on its way now.
        if (first := await self._idempotency.first(client, key, asked)) is not None:
            return first
        engine = self.leadership.trader()
        placing = engine.place(request, action=OrderAction.CLOSE_TRADE, target=trade_id, close_units=units)
        return Placed(await placing)

    def _close_key(self) -> str:
        return close_client_order_id(self._dependencies.clock(), random_bits(self._dependencies.chance))

    def order(self, order_id: str) -> Order | None:
        """By our id; None if it is unknown or forgotten (the history has those)."""
        engine = self.leadership.engine
        record = engine.store.index.get(order_id) if engine is not None else None
        return record.order if record is not None else None

    def by_client_id(self, client: str, client_order_id: str) -> Order | None:
        """By the caller and its id."""
        engine = self.leadership.engine
        record = engine.store.index.by_key(client, client_order_id) if engine is not None else None
        return record.order if record is not None else None

    def trade(self, trade_id: str) -> OpenTrade | None:
        """An open trade from memory: instrument, signed units, owner; None if it is closed or not known."""
        return self.leadership.engine.store.trades.get(trade_id) if self.leadership.engine is not None else None

    def claim(self, client: str) -> None:
        """Give a client what the venue's log, read back without a journal, says to be its own."""
        if self.leadership.engine is not None:
            self.leadership.engine.store.owners.claim(client)

    def open_orders(self) -> list[Order]:
        """Orders that are on their way, unknown, or resting; the oldest first."""
        if self.leadership.engine is None:
            return []
        found = [record.order for record in self.leadership.engine.store.index.with_status(*OPEN)]
        return sorted(found, key=lambda order: order.created_at)

    async def positions(self) -> list[Position]:
        """Open positions, from the venue. Raises VenueError: it cannot be asked."""
        return (await self._dependencies.venue.positions())[0]

    async def account(self) -> Account:
        """The account's summary, from the venue. Raises VenueError: it cannot be asked."""
        return await self._dependencies.venue.summary()

    def quotes(self, instruments: Sequence[str] = ()) -> list[Quote]:
        """Latest quotes from memory; of all instruments if none is named. Unknown ones are left out."""
        return self._prices.quotes(instruments)

    def conditions(self) -> list[Condition]:
        """Health conditions of the order path."""
        # Read from the parts when somebody asks, not pushed by them: so no change can be missed.
        held, engine = self._dependencies.conditions, self.leadership.engine
        standby = self.leadership.following and self._dependencies.settings.serves_standby
        transactions = engine.transactions if engine is not None else None
        set_stream_conditions(held, self._prices, transactions, standby=standby)
        if engine is not None:
            set_term_conditions(held, engine.store)
        return held.all()

    def follow(self, after: JournalMark | None) -> AsyncGenerator[Streamed, None]:
        """Changes behind `after`, or from now on, with quotes and the account as they come; see `event_stream`."""
        return follow(self._dependencies.updates, self.leadership, after)

    async def changes(self, after: int) -> AsyncIterator[Change]:
        """Order changes and transactions behind journal position `after`, for ever, from one term to the next."""
        while True:
            if (engine := self.leadership.engine) is not None:
                async for change in changes(engine.store.journal, after):
                    after = change.position
                    yield change
            # The journal was closed with its term. Positions go on in the next one, on the same volume.
            await self.leadership.held.wait()

    def release(self, position: int) -> None:
        """Let the journal remove the changes up to `position`: the history has them."""
        if self.leadership.engine is not None:
            self.leadership.engine.store.journal.release(position)

    @property
    def state(self) -> TradingState:
        """The trading state; halted if we do not own the account."""
        engine = self.leadership.engine
        return engine.store.control.state if engine is not None else TradingState.HALTED

    def set_state(self, state: TradingState, actor: str, reason: str) -> None:
        """Change the trading state, at once and over restarts. Raises NotReadyError: we do not own the account."""
        self.leadership.owner().store.set_state(state, actor, reason)

    async def reconcile(self) -> tuple[ReconcileMismatch, ...]:
        """Compare with the venue now and adopt its view; the mismatches.

        Raises:
            NotReadyError: we do not own the account.
            VenueError: the venue cannot be asked.
        """
        return await self.leadership.trader().reconciler.run()


def _require_trade(request: OrderRequest) -> None:
    if not request.instrument:
        raise UnknownPositionError(f"no open trade {request.trade_id}")


def _resting(engine: OrderEngine, order_id: str) -> OrderRecord:
    record = _known(engine, order_id)
    if record.status is not OrderStatus.PENDING or record.order.venue_order_id is None:
        raise UnknownOrderError(f"order {order_id} does not rest at the venue, it is {record.status}")
    return record


def _known(engine: OrderEngine, order_id: str) -> OrderRecord:
    record = engine.store.index.get(order_id)
    if record is None:
        raise UnknownOrderError(f"no order {order_id} here")
    return record
