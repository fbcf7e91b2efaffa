"""Unknown orders: finds out what became of an order whose answer was lost, or presumes it absent.

The problem
    A time-out, a reset, half a body, a 5xx, or the end of our process between the write and the answer leave one
    question: has the venue acted? Sending again would place a second order if it has: the venue does not deduplicate
    client order ids. So the order is UNKNOWN, is never sent again by us (docs/decisions/0006), and the venue's log
    answers the question.

The evidence
    Every order has a checkpoint: the last transaction id that the venue had told us before the request went out. The
    order's transactions can only be behind it. A scan reads `GET transactions/sinceid` from the checkpoint on and
    folds what it finds into the order, by our client id (model/lifecycle.py); the close of a trade has none, and is
    found by its trade and units (store/trade_closes.py). The stream feeds the same fold, so an
    order that the stream reports first leaves UNKNOWN without a scan.

        found                            the order becomes what the log says: PENDING, FILLED, CANCELLED, REJECTED
        not found                        a scan proves presence, never absence: `sinceid` may lag behind the venue's
                                         own last id, and a delayed request can still arrive behind a clean scan
        a page with a hole               the scan is not whole, counts for nothing, and is asked again

PRESUMED_ABSENT
    An order becomes PRESUMED_ABSENT when both hold:
      - `orders.absence_scans` whole scans did not find it, and
      - `orders.absence_horizon_s` seconds have passed since the search began.
    One bound alone would do harm: the scans alone end within a second, before a delayed request can arrive; the time
    alone passes while the venue cannot be asked at all. The status is not final: it raises an alert, and an order
    that appears later is adopted by the same fold. Placing it again is the caller's decision, under a new client
    order id.

    A 429 differs: the venue says that it did nothing. Two whole scans confirm it, then the order is REJECTED
    (RATE_LIMITED), without the horizon, and its caller may send it again under the same id.

Waits
    50 ms before the first scan, then doubled up to 8 s while scans are whole; most lost answers are found by the
    first or second. A scan that says nothing (an error, a hole) waits from 250 ms, doubled up to 8 s, and does not
    count: a dead token or a venue that is down gets no storm of requests. One scan from the oldest checkpoint serves
    all orders that are due, so that a burst of lost answers costs one read at a time.

A crash
    The searches are in memory only. An UNKNOWN order is in the journal with its checkpoint, and so is one that was
    SUBMITTED (it becomes UNKNOWN at the start): the next owner begins their searches anew, horizon included.

Bounds
    One task, one request at a time. The number of searches is the number of UNKNOWN orders, which the circuit breaker
    bounds: after `orders.circuit_failures` submissions in a row without an answer no new exposure is sent.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from broker.domain import OrderStatus
from broker.orders.model.lifecycle import RATE_LIMITED
from broker.orders.settings import OrderSettings
from broker.orders.store.order_store import OrderStore
from broker.venue.errors import VenueError
from broker.venue.streams.stream_state import last_without_gap
from broker.venue.streams.transaction_feed import TransactionSource
from broker.venue.v20.transactions import Transaction
from pod_runtime.cancellation import check_cancelled

FIRST_WAIT_S = 0.05
FAILURE_WAIT_S = 0.25
LONGEST_WAIT_S = 8.0
MOST_DOUBLINGS = 10
"""Beyond LONGEST_WAIT_S in both cases. Unbounded, the 1,025th failure in a row would overflow a float."""
CONFIRMING_SCANS = 2
HOLE_TRIES = 3
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AbsenceSearch:
    """Search for one order: its start, the whole scans that did not find it, and the time of the next."""

    started_s: float
    empty_scans: int = 0
    due_s: float = 0.0
    failures: int = 0
    """Scans in a row that were not whole."""

    def after_empty(self, now_s: float) -> AbsenceSearch:
        """The search after a whole scan that did not find the order."""
        wait_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** min(self.empty_scans, MOST_DOUBLINGS))
        return replace(self, empty_scans=self.empty_scans + 1, due_s=now_s + wait_s, failures=0)

    def after_failure(self, now_s: float) -> AbsenceSearch:
        """The search after a scan that was not whole: an error, or a hole."""
        wait_s = min(LONGEST_WAIT_S, FAILURE_WAIT_S * 2 ** min(self.failures, MOST_DOUBLINGS))
        return replace(self, due_s=now_s + wait_s, failures=self.failures + 1)

    def is_over(self, now_s: float, settings: OrderSettings) -> bool:
        """True if the order may be presumed absent."""
        # Both: scans alone end before a delayed request can arrive, time alone passes while the venue is down.
        passed_s = now_s - self.started_s
        return self.empty_scans >= settings.absence_scans and passed_s >= settings.absence_horizon_s


def begin(now_s: float) -> AbsenceSearch:
    """A search whose first scan is due after FIRST_WAIT_S."""
    return AbsenceSearch(started_s=now_s, due_s=now_s + FIRST_WAIT_S)


class UnknownOrderResolver:
    """Scans the venue's log while there are unknown orders."""

    def __init__(
        self, store: OrderStore, reader: TransactionSource, settings: OrderSettings, *, now_s: Callable[[], float]
    ) -> None:
        self._store = store
        self._reader = reader
        self._now_s = now_s
        self._settings = settings
        self._searches: dict[str, AbsenceSearch] = {}

    async def run(self) -> None:
        """Search until cancelled."""
        while True:
            check_cancelled()
            unknown = self._store.index.with_status(OrderStatus.UNKNOWN)
            # Rebuilt each turn from the index: a search ends by itself when the stream resolves its order.
            self._searches = {record.id: self._searches.get(record.id) or begin(self._now_s()) for record in unknown}
            if not self._searches:
                await self._store.unknown.wait()
                self._store.unknown.clear()
                continue
            wait_s = min(search.due_s for search in self._searches.values()) - self._now_s()
            if wait_s > 0:
                self._store.unknown.clear()
                await self._wait(wait_s)
                continue
            await self._scan()

    async def _wait(self, wait_s: float) -> None:
        try:
            async with asyncio.timeout(wait_s):
                await self._store.unknown.wait()
        except TimeoutError:
            return

    async def _scan(self) -> None:
        """Scan once, from the oldest checkpoint, for every search that is due."""
        due = [order_id for order_id, search in self._searches.items() if search.due_s <= self._now_s()]
        records = [record for order_id in due if (record := self._store.index.get(order_id)) is not None]
        whole, found = await self._read(min(record.checkpoint for record in records))
        now_s = self._now_s()
        for order_id in due:
            record = self._store.index.get(order_id)
            if record is None or record.status is not OrderStatus.UNKNOWN:
                continue
            # The stream may have resolved the order while the log was read; then the fold changes nothing.
            if self._store.search(order_id, found).status is OrderStatus.UNKNOWN:
                search = self._searches[order_id]
                # Made, and its end not shown yet: the log lags, and says nothing of an absence.
                empty = whole and not self._store.is_created(order_id)
                self._searches[order_id] = search.after_empty(now_s) if empty else search.after_failure(now_s)
                self._conclude(order_id)

    def _conclude(self, order_id: str) -> None:
        search, record = self._searches[order_id], self._store.index.get(order_id)
        if record is None:
            return
        if record.refused_code is not None and search.empty_scans >= CONFIRMING_SCANS:
            message = "the venue answered 429 and has no such order"
            self._store.move(order_id, OrderStatus.REJECTED, RATE_LIMITED, message)
        elif search.is_over(self._now_s(), self._settings):
            log.error("order presumed absent", extra={"order_id": order_id, "scans": search.empty_scans})
            message = f"not in the venue's log after {search.empty_scans} scans; never sent again"
            self._store.move(order_id, OrderStatus.PRESUMED_ABSENT, "NOT_FOUND", message)

    async def _read(self, after: int) -> tuple[bool, tuple[Transaction, ...]]:
        """The log behind `after`: True if it is whole, and the transactions, which count in any case."""
        found: dict[int, Transaction] = {}
        tries = 0
        while tries < HOLE_TRIES:
            try:
                page = await self._reader.transactions_since(after)
            except VenueError:
                break
            # Presence needs no whole page: what is there is evidence, holes or not.
            found |= {item.id: item for item in page.transactions}
            end = last_without_gap([item.id for item in page.transactions], after)
            if end >= page.last_transaction_id:
                return True, tuple(found.values())
            # A page that got further is progress; the same hole again is not.
            tries = 0 if end > after else tries + 1
            after = end
        return False, tuple(found.values())
