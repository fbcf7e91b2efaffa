"""Reconciliation: compares our books with the venue's, counts the differences and adopts the venue's view."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from decimal import Decimal
from time import time

from broker.domain import OrderStatus, Position
from broker.events.venue import ReconcileMismatch, ReconcileRun
from broker.orders.store.order_store import OrderStore
from broker.venue.errors import VenueError
from broker.venue.rest.client import VenueRest
from broker.venue.streams.transaction_feed import TransactionFeed
from broker.venue.v20.parse import VenueOrder, VenueTrade

TRIES = 5
"""Readings of the venue until the account is taken to be too busy to compare."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueBooks:
    """The venue's books at one transaction."""

    at: int | None
    """None if the account did not hold still: then nothing can be compared."""
    orders: tuple[VenueOrder, ...]
    positions: tuple[Position, ...]
    trades: tuple[VenueTrade, ...]
    balance: Decimal


def order_mismatches(ours: set[str], theirs: set[str]) -> list[ReconcileMismatch]:
    """Orders that rest on one side only, by venue order id."""
    words = {True: "pending", False: "absent"}
    return [
        ReconcileMismatch(kind="order", subject=key, ours=words[key in ours], theirs=words[key in theirs])
        for key in (*sorted(ours - theirs), *sorted(theirs - ours))
    ]


def unit_mismatches(kind: str, ours: dict[str, Decimal], theirs: dict[str, Decimal]) -> list[ReconcileMismatch]:
    """Instruments whose net units differ."""
    return [
        ReconcileMismatch(kind=kind, subject=name, ours=str(mine), theirs=str(other))
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
    """Compares at one and the same transaction, so that a move in between is no mismatch."""

    def __init__(self, store: OrderStore, feed: TransactionFeed, venue: VenueRest) -> None:
        self._store = store
        self._feed = feed
        self._venue = venue
        self._running = asyncio.Lock()

    async def run(self) -> tuple[ReconcileMismatch, ...]:
        """Compare once, after a comparison that is running; the mismatches.

        Raises VenueError: the venue cannot be asked.
        """
        # One at a time: two at once would each adopt the same order.
        async with self._running:
            try:
                theirs = await self._read_still()
            except VenueError:
                self._venue.emit(ReconcileRun(result="failed", finished_at_s=time()))
                raise
            found = self._compare(theirs)
            for item in found:
                self._venue.emit(item)
            self._adopt(theirs)
        result = "moving" if theirs.at is None else "mismatch" if found else "ok"
        self._venue.emit(ReconcileRun(result=result, finished_at_s=time()))
        return tuple(found)

    async def _read_still(self) -> VenueBooks:
        """The venue's books, read again until nothing happened between the first and the last answer."""
        # Four reads are no transaction: they agree only if the log's last id is the same before and after.
        for attempt in range(TRIES):
            orders, first = await self._venue.pending_orders()
            positions, _ = await self._venue.positions()
            trades, _ = await self._venue.trades()
            account = await self._venue.summary()
            last = int(account.last_transaction_id)
            await self._feed.fill()
            if first == last == self._feed.applied or attempt == TRIES - 1:
                break
        return VenueBooks(
            at=last if first == last == self._feed.applied else None,
            orders=tuple(orders),
            positions=tuple(positions),
            trades=tuple(trades),
            balance=account.balance,
        )

    def _compare(self, theirs: VenueBooks) -> list[ReconcileMismatch]:
        if theirs.at is None:
            return []
        ours = {record.order.venue_order_id or "" for record in self._store.index.with_status(OrderStatus.PENDING)}
        found = order_mismatches(ours, {order.id for order in theirs.orders})
        held = {item.instrument: item.units for item in theirs.positions}
        found += unit_mismatches("position", dict(self._store.positions), held)
        found += unit_mismatches("trade", held, trade_units(theirs.trades))
        balance = self._store.balance
        if balance is not None and balance != theirs.balance:
            found.append(ReconcileMismatch("balance", "account", ours=str(balance), theirs=str(theirs.balance)))
        return found

    def _adopt(self, theirs: VenueBooks) -> None:
        """Take over the venue's view, which is right by definition."""
        # An order of ours that rests no more needs nothing here: the log, which the feed has read, has settled it.
        if theirs.at is None:
            return
        self._store.set_trades(list(theirs.trades), theirs.at)
        for order in theirs.orders:
            if self._store.index.by_venue_id(order.id) is None:
                self._store.adopt(order)
        self._store.set_positions({item.instrument: item.units for item in theirs.positions}, theirs.at)
        self._store.balance = theirs.balance
