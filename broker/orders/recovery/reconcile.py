"""Comparing our books with the venue's: orders, trades, positions, balance. What differs is counted and adopted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from time import time
from typing import Any

from broker.domain import OrderStatus, Position
from broker.events.events import ReconcileMismatch, ReconcileRun
from broker.orders.store.order_store import Keeper
from broker.venue.errors import VenueError
from broker.venue.rest.client import VenueRest
from broker.venue.streams.transaction_feed import TransactionFeed
from broker.venue.v20.parse import VenueOrder, VenueTrade

Emit = Callable[[tuple[Any, ...]], None]
TRIES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """One thing that the venue and we see differently."""

    kind: str
    """`order`, `trade`, `position` or `balance`."""
    subject: str
    ours: str
    theirs: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcileReport:
    """What a comparison found, at which transaction; none where the account did not hold still."""

    at: int | None
    mismatches: tuple[Mismatch, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Theirs:
    """The venue's view at one transaction."""

    at: int | None
    """None where the account did not hold still: then nothing can be compared."""
    orders: tuple[VenueOrder, ...]
    positions: tuple[Position, ...]
    trades: tuple[VenueTrade, ...]
    balance: Decimal


def order_mismatches(ours: set[str], theirs: set[str]) -> list[Mismatch]:
    """Venue order ids that rest on one side only."""
    found = [Mismatch(kind="order", subject=key, ours="pending", theirs="absent") for key in sorted(ours - theirs)]
    return found + [
        Mismatch(kind="order", subject=key, ours="absent", theirs="pending") for key in sorted(theirs - ours)
    ]


def unit_mismatches(kind: str, ours: dict[str, Decimal], theirs: dict[str, Decimal]) -> list[Mismatch]:
    """Instruments whose net units differ."""
    return [
        Mismatch(kind=kind, subject=name, ours=str(mine), theirs=str(other))
        for name in sorted(ours.keys() | theirs.keys())
        if (mine := ours.get(name, Decimal(0))) != (other := theirs.get(name, Decimal(0)))
    ]


def trade_units(trades: tuple[VenueTrade, ...]) -> dict[str, Decimal]:
    """Net units of the open trades, by instrument: they must add up to the positions."""
    total: dict[str, Decimal] = {}
    for trade in trades:
        total[trade.instrument] = total.get(trade.instrument, Decimal(0)) + trade.units
    return total


class Reconciler:
    """Compares at one and the same transaction, so that what moves meanwhile is no mismatch."""

    def __init__(self, keeper: Keeper, feed: TransactionFeed, venue: VenueRest, emit: Emit) -> None:
        self._keeper = keeper
        self._feed = feed
        self._venue = venue
        self._emit = emit
        self._running = asyncio.Lock()

    async def run(self) -> ReconcileReport:
        """One comparison; another that runs is waited for.

        Raises:
            VenueError: the venue cannot be asked.
        """
        async with self._running:
            return await self._run()

    async def _run(self) -> ReconcileReport:
        try:
            theirs = await self._wait_still()
        except VenueError:
            self._emit(ReconcileRun(result="failed", finished_at_s=time()))
            raise
        found = self._compare(theirs)
        for item in found:
            self._emit(ReconcileMismatch(kind=item.kind, subject=item.subject, ours=item.ours, theirs=item.theirs))
        self._adopt(theirs)
        result = "moving" if theirs.at is None else "mismatch" if found else "ok"
        self._emit(ReconcileRun(result=result, finished_at_s=time()))
        return ReconcileReport(at=theirs.at, mismatches=tuple(found))

    async def _wait_still(self) -> Theirs:
        """The venue's view and ours at the same transaction; a busy account is asked again."""
        for attempt in range(TRIES):
            orders, first = await self._venue.pending_orders()
            positions, _ = await self._venue.positions()
            trades, _ = await self._venue.trades()
            account = await self._venue.summary()
            last = int(account.last_transaction_id)
            await self._feed.fill()
            if first == last == self._feed.applied or attempt == TRIES - 1:
                break
        return Theirs(
            at=last if first == last == self._feed.applied else None,
            orders=tuple(orders),
            positions=tuple(positions),
            trades=tuple(trades),
            balance=account.balance,
        )

    def _compare(self, theirs: Theirs) -> list[Mismatch]:
        if theirs.at is None:
            return []
        ours = {entry.order.venue_order_id or "" for entry in self._keeper.register.with_status(OrderStatus.PENDING)}
        found = order_mismatches(ours, {order.id for order in theirs.orders})
        held = {item.instrument: item.units for item in theirs.positions}
        found += unit_mismatches("position", dict(self._keeper.positions), held)
        found += unit_mismatches("trade", held, trade_units(theirs.trades))
        balance = self._keeper.balance
        if balance is not None and balance != theirs.balance:
            found.append(Mismatch(kind="balance", subject="account", ours=str(balance), theirs=str(theirs.balance)))
        return found

    def _adopt(self, theirs: Theirs) -> None:
        """Theirs is right. An order of ours that rests no more is settled by the log, which the feed has read."""
        if theirs.at is None:
            return
        for order in theirs.orders:
            if self._keeper.register.by_venue_id(order.id) is None:
                self._keeper.adopt(order)
        self._keeper.set_positions({item.instrument: item.units for item in theirs.positions}, theirs.at)
        self._keeper.balance = theirs.balance
