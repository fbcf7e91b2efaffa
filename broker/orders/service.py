"""What the API calls: places, cancels, replaces and closes orders of one account, and says what is so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from decimal import Decimal
from time import perf_counter

from broker.domain import Account, Order, OrderRequest, OrderStatus, Position, Quote, Side
from broker.events.events import CancelAnswered
from broker.orders.cancel import cancel
from broker.orders.checks.dry_run import Trial, market_now, trial
from broker.orders.checks.prices import Prices
from broker.orders.close import Closer
from broker.orders.conditions import Conditions
from broker.orders.dependencies import Surroundings
from broker.orders.diagnosis import say_streams, say_tenure
from broker.orders.engine import Tenure
from broker.orders.errors import (
    DrainingError,
    NotReadyError,
    UnknownOrderError,
)
from broker.orders.idempotency import LongMemory, NoHistory, Replays
from broker.orders.model.ids import order_id
from broker.orders.model.order_record import Action, Entry
from broker.orders.ownership.acquisition import lease_of
from broker.orders.ownership.leadership import TAKE_PAUSE_S, Tenancy
from broker.orders.ownership.spread import Spread
from broker.orders.placed import Placed
from broker.orders.recovery.reconcile import Mismatch
from broker.orders.settings import OrderSettings
from broker.orders.store.index import OPEN
from broker.orders.store.journal_format import TradingState
from broker.orders.store.tail import Change, changes
from broker.orders.updates import Missed, Updates
from broker.venue.rest.client import VenueRest
from broker.venue.settings import VenueSettings
from producer.emitter import Emit
from producer.health import Condition


class Desk:
    """The order path of one account. `run` it in a task; the other methods answer while it runs.

    Methods that trade raise NotReadyError or DrainingError where they cannot, before anything was sent.
    """

    def __init__(
        self,
        settings: OrderSettings,
        venue_settings: VenueSettings,
        *,
        venue: VenueRest,
        emit: Emit,
        clock: Callable[[], datetime],
        chance: Callable[[], float],
        address: str = "",
        spread: Spread | None = None,
        memory: LongMemory | None = None,
    ) -> None:
        self._settings = settings
        self._address = address
        self._venue_settings = venue_settings
        self._venue = venue
        self._emit = emit
        self._clock = clock
        self._chance = chance
        self._updates: Updates[Order | Quote] = Updates()
        self._conditions = Conditions(clock)
        self._prices = self._new_prices()
        self._replays = Replays(lambda: self._tenure, emit, memory or NoHistory())
        self._closer = Closer(
            venue, venue_settings.account, trader=self._trader, replays=self._replays, new_name=self._close_name
        )
        lease = lease_of(settings, venue_settings.account, address, spread)
        self._tenancy = Tenancy(self._surroundings(), lease)

    def _new_prices(self) -> Prices:
        return Prices(
            self._venue_settings,
            venue=self._venue,
            emit=self._emit,
            clock=self._clock,
            updates=self._updates,
            known=lambda: list(self._tenure.keeper.instruments) if self._tenure is not None else [],
        )

    def _surroundings(self) -> Surroundings:
        return Surroundings(
            settings=self._settings,
            venue_settings=self._venue_settings,
            venue=self._venue,
            book=self._prices.book,
            prices=self._prices.stream,
            conditions=self._conditions,
            emit=self._emit,
            clock=self._clock,
            chance=self._chance,
            on_change=self._updates.publish,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Takes the account and trades it until `stop`; then drains. Follows again when it lost the account."""
        await self._tenancy.run(stop)

    @property
    def _tenure(self) -> Tenure | None:
        return self._tenancy.tenure

    @property
    def epoch(self) -> int:
        """Which taking of the account holds; 0 is none."""
        return self._tenancy.lease.epoch

    def elsewhere(self) -> str | None:
        """`host:port` of the broker that trades the account, empty where it is not known; None where we do."""
        if self._tenancy.draining or not self._tenancy.following:
            return None
        address = self._tenancy.lease.address()
        return "" if address == self._address else address

    @property
    def is_draining(self) -> bool:
        """Whether the end has begun."""
        return self._tenancy.draining

    def _holder(self) -> Tenure:
        if self._tenancy.draining:
            raise DrainingError
        if self._tenure is None:
            fault = self._conditions.fault()
            raise NotReadyError(fault.reason if fault is not None else "NotOwner", TAKE_PAUSE_S)
        return self._tenure

    def _trader(self) -> Tenure:
        tenure = self._holder()
        if self._tenancy.yielding:
            raise NotReadyError("NotOwner", TAKE_PAUSE_S)
        if not tenure.is_in_contact:
            fault = self._conditions.fault()
            raise NotReadyError(fault.reason if fault is not None else "Starting")
        if not self._tenancy.lease.holds():
            raise NotReadyError("NotOwner", self._tenancy.lease.renew_every_s)
        return tenure

    async def place(self, request: OrderRequest) -> Placed:
        """Places an order, once for its client order id; the order at its first settled status.

        Raises:
            ClientIdConflictError: the id was used for another order.
            NotReadyError, DrainingError: nothing was sent.
        """
        if (first := await self._replays.of_order(request)) is not None:
            return Placed(first, replayed=True)
        tenure = self._trader()
        self._prices.expect(self._tenancy.held_since_s)
        return Placed(await tenure.place(request), replayed=False)

    async def try_order(self, request: OrderRequest) -> Trial:
        """Takes an order through the checks and does not send it; any replica may, whoever owns the account.

        Raises:
            VenueError: the venue cannot be asked.
        """
        state = self._tenure.keeper.control.state if self._tenure is not None else TradingState.ACTIVE
        market = await market_now(self._venue, request, state=state, now=self._clock())
        return trial(request, market, self._settings)

    async def replace(self, order_id: str, request: OrderRequest) -> Placed:
        """Replaces a resting order in one step of the venue's; the new order, or the refusal of it.

        The old one ends with CLIENT_REQUEST_REPLACED if and only if the venue says so.

        Raises:
            UnknownOrderError: no such order rests.
        """
        if (first := await self._replays.of_order(request)) is not None:
            return Placed(first, replayed=True)
        tenure = self._trader()
        entry = self._entry(tenure, order_id)
        if entry.status is not OrderStatus.PENDING or entry.order.venue_order_id is None:
            raise UnknownOrderError(f"order {order_id} does not rest at the venue, it is {entry.status}")
        new = await tenure.place(request, action=Action.REPLACE, target=entry.order.venue_order_id)
        return Placed(new, replayed=False)

    async def cancel(self, order_id: str) -> Order:
        """Cancels a resting order; the order as it then stands, which may be filled.

        Cancels are taken whatever the trading state. A cancel whose answer is lost is asked again: twice is once.

        Raises:
            UnknownOrderError: no such order.
            VenueError: the venue could not be asked; the order stands as it did.
        """
        tenure = self._trader()
        entry = self._entry(tenure, order_id)
        if (waiter := tenure.keeper.waiter(order_id)) is not None:
            await tenure.wait_settled(entry, waiter)
        started = perf_counter()
        entry = await cancel(self._entry(tenure, order_id), tenure.keeper, tenure.feed, self._venue)
        outcome = str(entry.status) if entry.status.is_final else "failed"
        self._emit(CancelAnswered(outcome=outcome, duration_s=perf_counter() - started))
        return entry.order

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
        """Closes a position, or `units` of it; see `Closer.position`."""
        return await self._closer.position(
            instrument, side, units, client=client, client_order_id=client_order_id, traceparent=traceparent
        )

    async def close_trade(
        self,
        trade_id: str,
        units: Decimal | None = None,
        *,
        client: str = "broker",
        client_order_id: str | None = None,
        traceparent: str | None = None,
    ) -> Placed:
        """Closes a trade, or `units` of it; see `Closer.trade`."""
        return await self._closer.trade(
            trade_id, units, client=client, client_order_id=client_order_id, traceparent=traceparent
        )

    def _close_name(self) -> str:
        return f"close-{order_id(int(self._clock().timestamp() * 1000), int(self._chance() * (1 << 80)))}"

    def _entry(self, tenure: Tenure, order_id: str) -> Entry:
        entry = tenure.keeper.register.get(order_id)
        if entry is None:
            raise UnknownOrderError(f"no order {order_id} here")
        return entry

    def order(self, order_id: str) -> Order | None:
        """By our id; None where it is unknown or forgotten (the history has those)."""
        entry = self._tenure.keeper.register.get(order_id) if self._tenure is not None else None
        return entry.order if entry is not None else None

    def by_client_id(self, client: str, client_order_id: str) -> Order | None:
        """By the caller and its id."""
        entry = self._tenure.keeper.register.by_key(client, client_order_id) if self._tenure is not None else None
        return entry.order if entry is not None else None

    def open_orders(self) -> list[Order]:
        """Orders that are on their way, unknown, or resting; the oldest first."""
        if self._tenure is None:
            return []
        found = [entry.order for entry in self._tenure.keeper.register.with_status(*OPEN)]
        return sorted(found, key=lambda order: order.created_at)

    async def positions(self) -> list[Position]:
        """Open positions, from the venue.

        Raises:
            VenueError: it cannot be asked.
        """
        return (await self._venue.positions())[0]

    async def account(self) -> Account:
        """The account's summary, from the venue.

        Raises:
            VenueError: it cannot be asked.
        """
        return await self._venue.summary()

    def quotes(self, instruments: Sequence[str] = ()) -> list[Quote]:
        """Latest quotes from memory; of all instruments where none is named. Unknown ones are left out."""
        return self._prices.quotes(instruments)

    def conditions(self) -> list[Condition]:
        """How the order path is."""
        waits = self._tenancy.following and self._settings.serves_standby
        transactions = self._tenure.transactions if self._tenure is not None else None
        say_streams(self._conditions, self._prices, transactions, waits=waits)
        if self._tenure is not None:
            say_tenure(self._conditions, self._tenure)
        return self._conditions.all()

    async def updates(self) -> AsyncIterator[Order | Quote | Missed]:
        """Orders at each change and quotes as they come, from now on; a slow listener misses the oldest."""
        async for item in self._updates.listen():
            yield item

    async def changes(self, after: int) -> AsyncIterator[Change]:
        """Order changes and transactions behind journal position `after`, for ever, from one taking to the next."""
        while True:
            if (tenure := self._tenure) is not None:
                async for change in changes(tenure.journal, after):
                    after = change.position
                    yield change
            await self._tenancy.held.wait()

    def release(self, position: int) -> None:
        """The changes up to `position` are kept elsewhere: the journal may let them go."""
        if self._tenure is not None:
            self._tenure.journal.release(position)

    @property
    def state(self) -> TradingState:
        """What may be traded."""
        return self._tenure.keeper.control.state if self._tenure is not None else TradingState.HALTED

    def set_state(self, state: TradingState, actor: str, reason: str) -> None:
        """Changes what may be traded, at once and over restarts.

        Raises:
            NotReadyError: the account is not ours.
        """
        self._holder().keeper.set_state(state, actor, reason)

    async def reconcile(self) -> tuple[Mismatch, ...]:
        """Compares with the venue now and adopts what it finds; the mismatches.

        Raises:
            NotReadyError: the account is not ours.
            VenueError: the venue cannot be asked.
        """
        return (await self._trader().reconciler.run()).mismatches
