"""An order service that does what a test tells it to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

from msgspec.structs import replace

from broker.domain import Account, Fill, Order, OrderRequest, OrderStatus, OrderType, Position, Quote, Side
from broker.events.venue import ReconcileMismatch
from broker.orders.checks.dry_run import DryRun
from broker.orders.checks.risk import Denial
from broker.orders.errors import ClientIdConflictError, UnknownPositionError
from broker.orders.event_stream import Streamed
from broker.orders.idempotency import Placed
from broker.orders.mass_actions import MassActions, MassResult, OrderFilter, Outcome
from broker.orders.model.trading_state import TradingState
from broker.orders.service import OrderService
from broker.orders.store.journal import JournalMark
from broker.orders.store.trade_book import OpenTrade
from broker.orders.trades import ShownTrade, TradeChange, Trades
from broker.venue.v20.parse import VenueOrder, VenueTrade

NOW = datetime(2026, 1, 5, 10, 0, 0, 250000, tzinfo=UTC)


def make_order(request: OrderRequest, number: int = 1, status: OrderStatus = OrderStatus.FILLED) -> Order:
    fill = Fill(transaction_id="9", units=request.units, price=Decimal("1.10000"), time=NOW, profit=Decimal("-0.0000"))
    return Order(
        id=f"01JGX5TVK2M4N6P8Q0R2S4T{number:03d}",
        request=request,
        status=status,
        venue_order_id="8",
        fills=(fill,) if status is OrderStatus.FILLED else (),
        created_at=NOW,
        updated_at=NOW,
    )


class FakeMassActions(MassActions):
    """Keeps what it is asked for, and answers with `outcomes`."""

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []
        self.outcomes: tuple[Outcome, ...] = (Outcome(subject="EUR_USD", outcome="done"),)

    async def cancel_all(self, client: str, key: str, wanted: OrderFilter) -> MassResult:
        return self._answer("cancel_all", client, key, wanted)

    async def close_all(self, client: str, key: str, instrument: str | None, traceparent: str | None) -> MassResult:
        return self._answer("close_all", client, key, instrument)

    async def kill(self, client: str, key: str, reason: str) -> MassResult:
        return self._answer("kill", client, key, reason)

    def _answer(self, *asked: object) -> MassResult:
        replayed = asked in self.asked
        self.asked.append(asked)
        return MassResult(outcomes=self.outcomes, replayed=replayed)


class FakeTrades(Trades):
    """One trade, 7, of EUR_USD."""

    def __init__(self) -> None:
        self.changes: list[TradeChange] = []
        self.extensions: list[tuple[object, ...]] = []

    async def change_orders(self, change: TradeChange) -> MassResult:
        self.changes.append(change)
        return MassResult(outcomes=tuple(Outcome(subject=leg, outcome="done") for leg in change.legs))

    async def change_extensions(self, kind: str, venue_id: str, client_id: str | None, **texts: Any) -> None:
        self.extensions.append((kind, venue_id, client_id, texts))

    async def complete(self, request: OrderRequest, given: frozenset[str]) -> OrderRequest:
        self._dependencies = SimpleNamespace(venue=self)  # type: ignore[assignment] # all that it asks
        self._leadership = SimpleNamespace(engine=None)  # type: ignore[assignment] # nothing is in memory
        return await super().complete(request, given)

    async def trades(self) -> tuple[list[VenueTrade], int]:
        return [item.trade for item in await self.open()], 1

    async def open(self) -> list[ShownTrade]:
        return [await self.one("7")]

    async def one(self, trade_id: str) -> ShownTrade:
        if trade_id != "7":
            raise UnknownPositionError(f"no trade {trade_id}")
        target = OrderRequest(
            client_order_id="venue:8",
            client="external",
            account="101-004-1234567-001",
            instrument="",
            type=OrderType.TAKE_PROFIT,
            side=Side.SELL,
            units=Decimal(0),
            price=Decimal("1.20000"),
            trade_id="7",
        )
        trade = VenueTrade(
            id="7",
            instrument="EUR_USD",
            units=Decimal(-100),
            initial_units=Decimal(-300),
            price=Decimal("1.10000"),
            opened_at=NOW,
            unrealized_profit=Decimal("0.5"),
            client_id="theirs",
            tag="old",
            comment="kept",
            take_profit=VenueOrder(id="8", client_id=None, time=NOW, request=target),
        )
        return ShownTrade(trade=trade, client="flow", order_id="01ORDER", order_ids={"take_profit": "venue-8"})


class FakeOrderService(OrderService):
    """Overrides what the API calls; nothing else of it may be used."""

    def __init__(self) -> None:  # its own state in place of the real one
        self.placed: list[OrderRequest] = []
        self.tried: list[OrderRequest] = []
        self.denial: Denial | None = None
        """What a trial finds."""
        self.replaced: list[tuple[str, OrderRequest]] = []
        self.closed: list[tuple[object, ...]] = []
        self.orders: dict[str, Order] = {}
        self.claims: list[str] = []
        self.outcome: Callable[[Order], Order] = lambda order: order
        self.before: Callable[[], Awaitable[None]] | None = None
        self.fault: Exception | None = None
        self.states: list[tuple[TradingState, str, str]] = []
        self.feed: asyncio.Queue[Streamed] = asyncio.Queue()
        self.listeners = 0
        self.mass_actions = FakeMassActions()
        self.trades = FakeTrades()
        self.followed: list[JournalMark | None] = []
        self.open_trades: dict[str, OpenTrade] = {}
        self.owner: str | None = None
        """Where the account is traded, if not here."""

    def trade(self, trade_id: str) -> OpenTrade | None:
        return self.open_trades.get(trade_id)

    def elsewhere(self) -> str | None:
        return self.owner

    async def place(self, request: OrderRequest) -> Placed:
        if self.before is not None:
            await self.before()
        if self.fault is not None:
            raise self.fault
        known = self.by_client_id(request.client, request.client_order_id)
        if known is not None:
            if replace(known.request, traceparent=None) != replace(request, traceparent=None):
                raise ClientIdConflictError("client_order_id was used for another order")
            return Placed(known, replayed=True)
        self.placed.append(request)
        status = OrderStatus.FILLED if request.type is OrderType.MARKET else OrderStatus.PENDING
        order = self.outcome(make_order(request, len(self.orders) + 1, status))
        self.orders[order.id] = order
        return Placed(order, replayed=False)

    def is_exit(self, request: OrderRequest) -> bool:
        return request.trade_id is not None

    async def try_order(self, request: OrderRequest) -> DryRun:
        if self.fault is not None:
            raise self.fault
        self.tried.append(request)
        return DryRun(
            denial=self.denial,
            checks=("account", "state"),
            not_made=("duplicate",),
            quote=next(iter(self.quotes([request.instrument])), None),
        )

    async def cancel(self, order_id: str) -> Order:
        if self.fault is not None:
            raise self.fault
        order = replace(self.orders[order_id], status=OrderStatus.CANCELLED, reason="CLIENT_REQUEST")
        self.orders[order_id] = order
        return order

    async def change_extensions(self, order_id: str, *, tag: str | None, comment: str | None) -> Order:
        order = self.orders[order_id]
        self.orders[order_id] = replace(order, request=replace(order.request, tag=tag, comment=comment))
        return self.orders[order_id]

    async def replace(self, order_id: str, request: OrderRequest) -> Placed:
        self.replaced.append((order_id, request))
        return await self.place(request)

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
        if instrument != "EUR_USD":
            raise UnknownPositionError(f"no open position in {instrument}")
        self.closed.append((instrument, side, units))
        return await self._close(client, client_order_id, units)

    async def close_trade(
        self,
        trade_id: str,
        units: Decimal | None = None,
        *,
        client: str = "broker",
        client_order_id: str | None = None,
        traceparent: str | None = None,
    ) -> Placed:
        self.closed.append((trade_id, units))
        return await self._close(client, client_order_id, units)

    async def _close(self, client: str, client_order_id: str | None, units: Decimal | None) -> Placed:
        return await self.place(
            OrderRequest(
                client_order_id=client_order_id or "made",
                client=client,
                account="101-004-1234567-001",
                instrument="EUR_USD",
                type=OrderType.MARKET,
                side=Side.SELL,
                units=units or Decimal(100),
            )
        )

    def order(self, order_id: str) -> Order | None:
        return self.orders.get(order_id)

    def by_client_id(self, client: str, client_order_id: str) -> Order | None:
        for order in self.orders.values():
            if (order.request.client, order.request.client_order_id) == (client, client_order_id):
                return order
        return None

    def claim(self, client: str) -> None:
        self.claims.append(client)

    def open_orders(self) -> list[Order]:
        return [order for order in self.orders.values() if not order.status.is_final]

    async def positions(self) -> list[Position]:
        if self.fault is not None:
            raise self.fault
        return [
            Position(
                instrument="EUR_USD",
                units=Decimal(-100),
                average_price=Decimal("1.10000"),
                unrealized_profit=Decimal("0.5"),
                realized_profit=Decimal("1E+1"),
            )
        ]

    async def account(self) -> Account:
        if self.fault is not None:
            raise self.fault
        return Account(
            id="101-004-1234567-001",
            currency="USD",
            balance=Decimal("100000.0000"),
            nav=Decimal("100000.0000"),
            margin_used=Decimal(0),
            margin_available=Decimal("100000.0000"),
            margin_closeout_ratio=Decimal("0.00000"),
            open_orders=0,
            open_trades=0,
            open_positions=0,
            last_transaction_id="7",
        )

    def quotes(self, instruments: Sequence[str] = ()) -> list[Quote]:
        known = {"EUR_USD": ("1.10000", "1.10020"), "USD_JPY": ("150.001", "150.011")}
        return [
            Quote(instrument=name, bid=Decimal(bid), ask=Decimal(ask), time=NOW, received_at=NOW)
            for name, (bid, ask) in known.items()
            if not instruments or name in instruments
        ]

    async def follow(self, after: JournalMark | None) -> AsyncGenerator[Streamed, None]:
        self.listeners += 1
        self.followed.append(after)
        try:
            while True:
                yield await self.feed.get()
        finally:
            self.listeners -= 1

    def set_state(self, state: TradingState, actor: str, reason: str) -> None:
        self.states.append((state, actor, reason))

    @property
    def state(self) -> TradingState:
        return self.states[-1][0] if self.states else TradingState.ACTIVE

    async def reconcile(self) -> tuple[ReconcileMismatch, ...]:
        return (ReconcileMismatch(kind="position", subject="EUR_USD", ours="0", theirs="100"),)
