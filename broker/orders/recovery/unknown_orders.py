"""Finding out what became of orders whose answer was lost: scans of the venue's log from their checkpoints.

A scan proves presence, never absence: `sinceid` may lag, and a delayed request can still land behind a clean
scan. So there are several, spread up to a horizon; then the order is presumed absent, alarmed, never sent
again by us, and adopted if it appears. An answer of 429 says that nothing was done; two whole scans without a
find confirm it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from broker.domain import OrderStatus
from broker.orders.store.order_store import Keeper
from broker.venue.errors import VenueError
from broker.venue.streams.stream_state import last_without_gap
from broker.venue.v20.parse import TransactionPage
from broker.venue.v20.transactions import Transaction

FIRST_WAIT_S = 0.05
FAILURE_WAIT_S = 0.25
LONGEST_WAIT_S = 8.0
CONFIRMING_SCANS = 2
HOLE_TRIES = 3
log = logging.getLogger(__name__)


class LogReader(Protocol):
    """Who can read the account's log."""

    async def transactions_since(self, after: int) -> TransactionPage:
        """The log behind `after`."""


@dataclass(frozen=True, slots=True)
class Search:
    """The search for one order: since when, how many whole scans did not find it, when the next is due."""

    started_s: float
    empty_scans: int = 0
    due_s: float = 0.0
    failures: int = 0
    """Scans in a row that said nothing."""

    def after_empty(self, now_s: float) -> Search:
        """After a whole scan without a find: the waits double."""
        wait_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**self.empty_scans)
        return replace(self, empty_scans=self.empty_scans + 1, due_s=now_s + wait_s, failures=0)

    def after_failure(self, now_s: float) -> Search:
        """After a scan that says nothing: unreadable, or with a hole. The waits double: no storm on a dead token."""
        wait_s = min(LONGEST_WAIT_S, FAILURE_WAIT_S * 2**self.failures)
        return replace(self, due_s=now_s + wait_s, failures=self.failures + 1)

    def is_over(self, now_s: float, *, horizon_s: float, scans: int) -> bool:
        """Whether absence may be presumed."""
        return self.empty_scans >= scans and now_s - self.started_s >= horizon_s


def begin(now_s: float) -> Search:
    """A search whose first scan is due soon."""
    return Search(started_s=now_s, due_s=now_s + FIRST_WAIT_S)


class Resolver:
    """Scans while there are unknown orders. `run` ends only when cancelled."""

    def __init__(
        self, keeper: Keeper, reader: LogReader, *, now_s: Callable[[], float], horizon_s: float, scans: int
    ) -> None:
        self._keeper = keeper
        self._reader = reader
        self._now_s = now_s
        self._horizon_s = horizon_s
        self._scans = scans
        self._searches: dict[str, Search] = {}
        self._wanted = asyncio.Event()

    def want(self) -> None:
        """There is an unknown order."""
        self._wanted.set()

    async def run(self) -> None:
        """Searches."""
        while True:
            unknown = self._keeper.register.with_status(OrderStatus.UNKNOWN)
            self._searches = {entry.id: self._searches.get(entry.id) or begin(self._now_s()) for entry in unknown}
            if not self._searches:
                await self._wanted.wait()
                self._wanted.clear()
                continue
            wait_s = min(search.due_s for search in self._searches.values()) - self._now_s()
            if wait_s > 0:
                self._wanted.clear()
                await self._wait(wait_s)
                continue
            await self._scan()

    async def _wait(self, wait_s: float) -> None:
        try:
            async with asyncio.timeout(wait_s):
                await self._wanted.wait()
        except TimeoutError:
            return

    async def _scan(self) -> None:
        """One scan from the oldest checkpoint serves every search that is due."""
        due = [order_id for order_id, search in self._searches.items() if search.due_s <= self._now_s()]
        entries = [entry for order_id in due if (entry := self._keeper.register.get(order_id)) is not None]
        whole, found = await self._read(min(entry.checkpoint for entry in entries))
        now_s = self._now_s()
        for order_id in due:
            entry = self._keeper.register.get(order_id)
            if entry is None or entry.status is not OrderStatus.UNKNOWN:
                continue
            if self._keeper.fold(order_id, found).status is OrderStatus.UNKNOWN:
                search = self._searches[order_id]
                self._searches[order_id] = search.after_empty(now_s) if whole else search.after_failure(now_s)
                self._conclude(order_id)

    def _conclude(self, order_id: str) -> None:
        search, entry = self._searches[order_id], self._keeper.register.get(order_id)
        if entry is None:
            return
        if entry.refused_code is not None and search.empty_scans >= CONFIRMING_SCANS:
            self._keeper.move(
                order_id, OrderStatus.REJECTED, "RATE_LIMITED", "the venue answered 429 and has no such order"
            )
        elif search.is_over(self._now_s(), horizon_s=self._horizon_s, scans=self._scans):
            log.error("order presumed absent", extra={"order_id": order_id, "scans": search.empty_scans})
            message = f"not in the venue's log after {search.empty_scans} scans; never sent again"
            self._keeper.move(order_id, OrderStatus.PRESUMED_ABSENT, "NOT_FOUND", message)

    async def _read(self, after: int) -> tuple[bool, tuple[Transaction, ...]]:
        """The log behind `after`, and whether it is whole. What is there counts in any case."""
        found: dict[int, Transaction] = {}
        tries = 0
        while tries < HOLE_TRIES:
            try:
                page = await self._reader.transactions_since(after)
            except VenueError:
                break
            found |= {item.id: item for item in page.transactions}
            end = last_without_gap([item.id for item in page.transactions], after)
            if end >= page.last_transaction_id:
                return True, tuple(found.values())
            tries = 0 if end > after else tries + 1
            after = end
        return False, tuple(found.values())
