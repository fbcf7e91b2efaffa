"""What the API calls: places, cancels, replaces and closes orders of one account, and says what is so."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from time import monotonic, perf_counter
from typing import Any

from broker.domain import Account, Order, OrderRequest, OrderStatus, Position, Quote, Side
from broker.health import Condition
from broker.orders import closing
from broker.orders.cancel import cancel
from broker.orders.changes import Change, changes
from broker.orders.conditions import Conditions
from broker.orders.entry import Action, Entry
from broker.orders.errors import (
    DrainingError,
    NotReadyError,
    UnknownOrderError,
    UnknownPositionError,
)
from broker.orders.identity import order_id
from broker.orders.reconcile import Mismatch
from broker.orders.record import TradingState
from broker.orders.register import OPEN
from broker.orders.replay import LongMemory, NoHistory, Replays
from broker.orders.settings import OrderSettings
from broker.orders.spread import Spread
from broker.orders.surroundings import Surroundings
from broker.orders.taking import lease_of
from broker.orders.tenancy import TAKE_PAUSE_S, Tenancy
from broker.orders.tenure import Tenure
from broker.orders.trial import Trial, market_now, trial
from broker.orders.updates import Missed, Updates
from broker.telemetry.events import CancelAnswered, ClockSample
from broker.venue.book import QuoteBook
from broker.venue.rest import Emit, TokenSource, VenueRest
from broker.venue.settings import VenueSettings
from broker.venue.stream import LineStream
from broker.venue.transaction import parse_time
from runtime.secret import Secret

FIRST_PRICES_S = 10.0
log = logging.getLogger(__name__)


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
        token: TokenSource,
        emit: Emit,
        clock: Callable[[], datetime],
        chance: Callable[[], float],
        on_unauthorized: Callable[[Secret], None] = lambda _: None,
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
        self._book = QuoteBook(clock)
        self._updates: Updates[Order | Quote] = Updates()
        self._conditions = Conditions(clock)
        self._prices = LineStream(
            "prices",
            "/pricing/stream",
            settings=venue_settings,
            rest=venue,
            token=token,
            emit=emit,
            chance=chance,
            on_message=self._on_price,
            on_open=self._on_prices_open,
            params=self._price_params,
            on_unauthorized=on_unauthorized,
        )
        around = Surroundings(
            settings=settings,
            venue_settings=venue_settings,
            venue=venue,
            book=self._book,
            prices=self._prices,
            conditions=self._conditions,
            token=token,
            emit=emit,
            clock=clock,
            chance=chance,
            on_change=self._updates.publish,
            on_unauthorized=on_unauthorized,
        )
        self._replays = Replays(lambda: self._tenure, emit, memory or NoHistory())
        self._tenancy = Tenancy(around, lease_of(settings, venue_settings.account, address, spread))

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

    def _price_params(self) -> dict[str, str]:
        known = list(self._tenure.keeper.instruments) if self._tenure is not None else []
        return {"instruments": ",".join(self._venue_settings.instruments or known), "snapshot": "true"}

    async def _on_price(self, raw: dict[str, Any]) -> None:
        if raw.get("type") == "HEARTBEAT":
            offset_s = (parse_time(raw.get("time")) - self._clock()).total_seconds()
            self._emit(ClockSample(offset_s=offset_s))  # the way here included: an upper bound of our lead
        else:
            self._book.take(raw)

    async def _on_prices_open(self) -> None:
        """The stream begins with a snapshot of its own."""

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

    async def place(self, request: OrderRequest) -> Order:
        """Places an order, once for its client order id; the order at its first settled status.

        Raises:
            ClientIdConflictError: the id was used for another order.
            NotReadyError, DrainingError: nothing was sent.
        """
        if (first := await self._replays.of_order(request)) is not None:
            return first
        tenure = self._trader()
        self._expect_prices()
        return await tenure.place(request)

    async def try_order(self, request: OrderRequest) -> Trial:
        """Takes an order through the checks and does not send it; any replica may, whoever owns the account.

        Raises:
            VenueError: the venue cannot be asked.
        """
        state = self._tenure.keeper.control.state if self._tenure is not None else TradingState.ACTIVE
        market = await market_now(self._venue, request, state=state, now=self._clock())
        return trial(request, market, self._settings)

    def _expect_prices(self) -> None:
        """Just after a taking the stream of prices is only coming: a denial for that would be final for the order."""
        if not self._prices.is_alive and monotonic() - self._tenancy.held_since_s < FIRST_PRICES_S:
            raise NotReadyError("PricesPending", TAKE_PAUSE_S)

    async def replace(self, order_id: str, request: OrderRequest) -> Order:
        """Replaces a resting order in one step of the venue's; the new order, or the refusal of it.

        The old one ends with CLIENT_REQUEST_REPLACED if and only if the venue says so.

        Raises:
            UnknownOrderError: no such order rests.
        """
        if (first := await self._replays.of_order(request)) is not None:
            return first
        tenure = self._trader()
        entry = self._entry(tenure, order_id)
        if entry.status is not OrderStatus.PENDING or entry.order.venue_order_id is None:
            raise UnknownOrderError(f"order {order_id} does not rest at the venue, it is {entry.status}")
        return await tenure.place(request, action=Action.REPLACE, target=entry.order.venue_order_id)

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
    ) -> Order:
        """Closes a position, or `units` of it; `side` is the position's and must agree where it is given.

        Raises:
            UnknownPositionError: there is none, or it is on the other side.
        """
        first = await self._replays.of_close(client, client_order_id, units, instrument=instrument)
        if first is not None:
            return first
        tenure = self._trader()
        held = tenure.keeper.positions.get(instrument, Decimal(0))
        if held == 0 or (side is not None and side.sign * held < 0):
            raise UnknownPositionError(f"no {side or 'open'} position in {instrument}")
        request = closing.request(
            client=client,
            client_order_id=client_order_id or self._name("close"),
            account=self._venue_settings.account,
            instrument=instrument,
            held=held,
            units=units,
            traceparent=traceparent,
        )
        return await tenure.place(request, action=Action.CLOSE_POSITION, close_units=units)

    async def close_trade(
        self,
        trade_id: str,
        units: Decimal | None = None,
        *,
        client: str = "broker",
        client_order_id: str | None = None,
        traceparent: str | None = None,
    ) -> Order:
        """Closes a trade, or `units` of it.

        Raises:
            UnknownPositionError: no such trade is open.
            VenueError: the venue could not be asked which trades are open.
        """
        if (first := await self._replays.of_close(client, client_order_id, units, trade_id=trade_id)) is not None:
            return first
        self._trader()
        trades, _ = await self._venue.trades()
        trade = next((item for item in trades if item.id == trade_id), None)
        if trade is None:
            raise UnknownPositionError(f"no open trade {trade_id}")
        request = closing.request(
            client=client,
            client_order_id=client_order_id or self._name("close"),
            account=self._venue_settings.account,
            instrument=trade.instrument,
            held=trade.units,
            units=units,
            traceparent=traceparent,
        )
        request = replace(request, trade_id=trade_id)
        first = await self._replays.of_close(client, client_order_id, units, trade_id=trade_id)
        if first is not None:  # it came again while the venue was asked
            return first
        return await self._trader().place(request, action=Action.CLOSE_TRADE, target=trade_id, close_units=units)

    def _name(self, kind: str) -> str:
        return f"{kind}-{order_id(int(self._clock().timestamp() * 1000), int(self._chance() * (1 << 80)))}"

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
        found = [self._book.quote(name) for name in instruments or self._book.names()]
        return [quote for quote in found if quote is not None]

    def conditions(self) -> list[Condition]:
        """How the order path is."""
        self._say_streams()
        if self._tenure is not None:
            control, unknown = self._tenure.keeper.control, self._tenure.keeper.register.count(OPEN_UNKNOWN)
            active = control.state is TradingState.ACTIVE
            reason = "Ready" if active else str(control.state)
            self._conditions.set("trading", ok=active, reason=reason, message=control.state_reason, advisory=True)
            words = f"{unknown} orders whose outcome is not known" if unknown else ""
            reason = "OutcomeUnknown" if unknown else "Ready"
            self._conditions.set("outcomes", ok=not unknown, reason=reason, message=words, advisory=True)
            failure = self._tenure.journal.failure
            reason = "JournalFailed" if failure else "Ready"
            self._conditions.set("journal", ok=failure is None, reason=reason, message=failure or "")
        return self._conditions.all()

    def _say_streams(self) -> None:
        streams = [self._prices] + ([self._tenure.transactions] if self._tenure is not None else [])
        for stream in streams:
            fresh = stream.is_alive
            words = "" if fresh else f"the {stream.name} stream is down: {stream.reason}"
            reason = "Ready" if fresh else "StreamDown"
            waits = self._tenancy.following and self._settings.serves_standby
            self._conditions.set(stream.name, ok=fresh, reason=reason, message=words, advisory=waits)
        if self._prices.is_alive and not self._book.names():
            self._conditions.set(
                self._prices.name, ok=False, reason="NoPrices", message="the stream is open, no price has come yet"
            )

    async def updates(self) -> AsyncIterator[Order | Quote | Missed]:
        """Orders at each change and quotes as they come, from now on; a slow listener misses the oldest."""
        self._book.watch = self._updates.publish
        try:
            async for item in self._updates.listen():
                yield item
        finally:
            if not self._updates:
                self._book.watch = None

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


OPEN_UNKNOWN = frozenset({OrderStatus.UNKNOWN, OrderStatus.PRESUMED_ABSENT})
