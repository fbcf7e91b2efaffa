"""What the order API needs of the order path."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from decimal import Decimal
from typing import Protocol

from broker.domain import Account, Order, OrderRequest, Position, Quote, Side
from broker.orders.checks.dry_run import DryRun
from broker.orders.idempotency import Placed
from broker.orders.model.trading_state import TradingState
from broker.orders.recovery.reconcile import Mismatch
from broker.orders.updates import Missed

Update = Order | Quote | Missed


class Desk(Protocol):
    """Takes orders; see `broker.orders.service`. Methods raise `broker.orders.errors.OrderServiceError`."""

    def elsewhere(self) -> str | None:
        """`host:port` of the broker that trades the account, empty where it is not known; None where we do."""

    async def place(self, request: OrderRequest) -> Placed:
        """The order in its first settled status."""

    async def try_order(self, request: OrderRequest) -> DryRun:
        """What would become of the order; it is not sent."""

    async def cancel(self, order_id: str) -> Order:
        """The order after the request to cancel it."""

    async def replace(self, order_id: str, request: OrderRequest) -> Placed:
        """The order that takes the place of `order_id`."""

    async def close_position(
        self,
        instrument: str,
        side: Side | None = None,
        units: Decimal | None = None,
        *,
        client: str,
        client_order_id: str | None,
        traceparent: str | None,
    ) -> Placed:
        """The order that closes a position; no units is all."""

    async def close_trade(
        self,
        trade_id: str,
        units: Decimal | None = None,
        *,
        client: str,
        client_order_id: str | None,
        traceparent: str | None,
    ) -> Placed:
        """The order that closes a trade; no units is all."""

    def order(self, order_id: str) -> Order | None:
        """By our id."""

    def by_client_id(self, client: str, client_order_id: str) -> Order | None:
        """By the caller's id."""

    def open_orders(self) -> list[Order]:
        """Orders that may still trade."""

    async def positions(self) -> list[Position]:
        """Open positions."""

    async def account(self) -> Account:
        """The account's summary."""

    def quotes(self, instruments: Sequence[str]) -> list[Quote]:
        """Latest quotes; of all instruments where none is named."""

    def updates(self) -> AsyncIterator[Update]:
        """Orders and quotes as they change."""

    def set_state(self, state: TradingState, actor: str, reason: str) -> None:
        """Changes what may be traded; durable when it returns."""

    @property
    def state(self) -> TradingState:
        """What may be traded."""

    async def reconcile(self) -> Sequence[Mismatch]:
        """Compares with the venue and adopts what it finds; the mismatches."""
