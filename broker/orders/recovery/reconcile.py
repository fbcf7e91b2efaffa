"""Reconciliation: compares our books with the venue's, counts the differences and adopts the venue's view."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from decimal import Decimal
from time import time

from broker.domain import OrderStatus, Position
from broker.events.venue import ReconcileMismatch, ReconcileRun
from broker.orders.model.lifecycle import OrderRecord
from broker.orders.store.order_index import UNRESOLVED
from broker.orders.store.order_store import OrderStore
from broker.venue.errors import VenueError, VenueRefusedError
from broker.venue.rest.client import VenueRest
from broker.venue.streams.transaction_feed import TransactionFeed
from broker.venue.v20.parse import VenueOrder, VenueTrade

MOST_PAGES = 20
"""Pages of the log that are read for an order whose end the venue does not name."""
RETRY_S = 1.0
TRIES = 5
"""Readings of the venue until the account is taken to be too busy to compare."""

log = logging.getLogger(__name__)


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


def is_under_way(record: OrderRecord | None) -> bool:
    """True if the fate of an order of ours is still being found out."""
    return record is not None and record.status in UNRESOLVED


class Reconciler:
    """Compares at one and the same transaction, so that a move in between is no mismatch."""

    def __init__(self, store: OrderStore, feed: TransactionFeed, venue: VenueRest) -> None:
        self._store = store
        self._feed = feed
        self._venue = venue
        self._running = asyncio.Lock()

    async def run(self) -> tuple[ReconcileMismatch, ...]:
        """Compare once, after a comparison that is running; the mismatches.

        Raises VenueError: the venue cannot be asked; what was found is counted.
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
            ended = self._adopt(theirs)
            for record in ended:
                await self._settle(record)
        result = "moving" if theirs.at is None else "mismatch" if found else "ok"
        self._venue.emit(ReconcileRun(result=result, finished_at_s=time()))
        return tuple(found)

    async def follow_parts(self) -> None:
        """Ask for the end of each resting order that traded in part, until cancelled: the venue may keep no rest."""
        while True:
            await self._store.has_parted.wait()
            self._store.has_parted.clear()
            while self._store.parted:
                # Taken out before the question: it may trade again while the answer is on its way.
                order_id, _ = self._store.parted.popitem()
                if (record := self._store.index.get(order_id)) is None or record.status is not OrderStatus.PENDING:
                    continue
                try:
                    self._store.end(order_id, await self._venue.ending(record.order.venue_order_id or ""))
                except VenueError:
                    self._store.parted[order_id] = None
                    await asyncio.sleep(RETRY_S)
                except (ValueError, KeyError) as error:
                    log.warning("order unreadable", extra={"order_id": order_id, "fault": str(error)})

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
        # The answer to an order on its way will tell of it.
        known = {order.id: self._store.index.by_venue_id(order.id) for order in theirs.orders}
        found = order_mismatches(ours, {name for name, item in known.items() if not is_under_way(item)})
        held = {item.instrument: item.units for item in theirs.positions}
        found += unit_mismatches("position", dict(self._store.positions), held)
        found += unit_mismatches("trade", held, trade_units(theirs.trades))
        balance = self._store.balance
        if balance is not None and balance != theirs.balance:
            found.append(ReconcileMismatch("balance", "account", ours=str(balance), theirs=str(theirs.balance)))
        return found

    def _adopt(self, theirs: VenueBooks) -> list[OrderRecord]:
        """Take over the venue's view, which is right by definition; orders of ours that rest no more."""
        if theirs.at is None:
            return []
        self._store.set_trades(list(theirs.trades), theirs.at)
        for order in theirs.orders:
            record = self._store.index.by_venue_id(order.id)
            if record is None:
                self._store.adopt(order)
            # Journals before 0.2 have a resting order as FILLED from its first part on.
            elif record.status is not OrderStatus.PENDING and not is_under_way(record):
                self._store.put(record.moved(OrderStatus.PENDING, self._store.now()))
        self._store.set_positions({item.instrument: item.units for item in theirs.positions}, theirs.at)
        self._store.balance = theirs.balance
        resting = {order.id for order in theirs.orders}
        pending = self._store.index.with_status(OrderStatus.PENDING)
        return [record for record in pending if record.order.venue_order_id not in resting]

    def _is_pending(self, order_id: str) -> bool:
        return self._store.index[order_id].status is OrderStatus.PENDING

    async def _settle(self, record: OrderRecord) -> None:
        """Give an order that rests nowhere the end that the venue's log has for it."""
        venue_id = record.order.venue_order_id
        if venue_id is None:
            return
        # The order itself names its end: the log behind an old one may be long, or begin too late.
        ended = await self._venue.ending(venue_id)
        after, pages = int(venue_id), 0
        while (pages < MOST_PAGES and self._is_pending(record.id)) if ended is None else after < ended.id:
            try:
                page = await self._venue.transactions_since(after)
            except VenueRefusedError:
                break  # the log that the venue shows is behind this order, and it knows no such id yet
            if not page.transactions:
                break
            # All up to the end, for every part that it traded is a transaction of its own.
            self._store.search(record.id, page.transactions)
            after, pages = page.transactions[-1].id, pages + 1
        status = self._store.end(record.id, ended).status
        log.warning("order that rests nowhere", extra={"order_id": record.id, "status": str(status)})
