from __future__ import annotations

import asyncio
from collections import deque
from pathlib import Path

import pytest

from broker.domain import OrderStatus
from broker.orders.recovery.unknown_orders import LONGEST_WAIT_S, UnknownOrderResolver, begin
from broker.orders.store.index import OrderIndex
from broker.orders.store.journal import OrderJournal
from broker.orders.store.order_store import OrderStore
from broker.venue.errors import VenueFailedError
from broker.venue.v20.parse import TransactionPage
from broker.venue.v20.transactions import Transaction
from tests.unit.broker.orders.samples import created, filled, make_record, make_store


class Log:
    """Answers scans from a list; time passes with each."""

    def __init__(self) -> None:
        self.pages: deque[TransactionPage | Exception] = deque()
        self.asked: list[int] = []
        self.now_s = 0.0

    def clock(self) -> float:
        self.now_s += 2.0
        return self.now_s

    async def transactions_since(self, after: int) -> TransactionPage:
        self.asked.append(after)
        self.now_s += 10.0
        await asyncio.sleep(0)
        page = self.pages.popleft() if self.pages else TransactionPage(transactions=(), last_transaction_id=after)
        if isinstance(page, Exception):
            raise page
        return page


def page(*transactions: Transaction) -> TransactionPage:
    return TransactionPage(transactions=transactions, last_transaction_id=max(item.id for item in transactions))


@pytest.fixture
def store(tmp_path: Path) -> OrderStore:
    journal = OrderJournal(tmp_path, segment_bytes=1 << 20, keep_bytes=1 << 20, emit=lambda _: None)
    index = OrderIndex(remember_orders=10, remember_s=60)
    made = make_store(journal, index)
    made.open()
    return made


async def resolved(store: OrderStore, log: Log, *, scans: int = 3, horizon_s: float = 60.0) -> OrderStatus:
    resolver = UnknownOrderResolver(store, log, now_s=log.clock, horizon_s=horizon_s, scans=scans)
    searching = asyncio.create_task(resolver.run())
    async with asyncio.timeout(120):
        while (record := store.index.get("01ORDER")) is not None and record.status is OrderStatus.UNKNOWN:
            await asyncio.sleep(0)
    searching.cancel()
    assert record is not None
    return record.status


async def test_order_in_the_log_is_found_from_its_checkpoint(store: OrderStore) -> None:
    log = Log()
    log.pages.append(page(created(7), filled(8, 7)))
    store.put(make_record(OrderStatus.UNKNOWN, checkpoint=6))
    assert await resolved(store, log) is OrderStatus.FILLED
    assert log.asked == [6]


async def test_one_empty_scan_decides_nothing(store: OrderStore) -> None:
    log = Log()
    log.pages.extend([TransactionPage(transactions=(), last_transaction_id=6), page(created(7), filled(8, 7))])
    store.put(make_record(OrderStatus.UNKNOWN, checkpoint=6))
    assert await resolved(store, log) is OrderStatus.FILLED


async def test_absence_is_presumed_after_scans_and_horizon(store: OrderStore) -> None:
    log = Log()
    store.put(make_record(OrderStatus.UNKNOWN, checkpoint=6))
    assert await resolved(store, log) is OrderStatus.PRESUMED_ABSENT
    assert log.now_s >= 60.0
    assert len(log.asked) >= 3


async def test_scans_that_fail_or_have_holes_are_no_evidence(store: OrderStore) -> None:
    log = Log()
    hole = TransactionPage(transactions=(created(9, client_id="x"),), last_transaction_id=9)
    log.pages.extend([VenueFailedError("502"), *[hole] * 9, page(created(7), filled(8, 7))])
    store.put(make_record(OrderStatus.UNKNOWN, checkpoint=6))
    assert await resolved(store, log, scans=2, horizon_s=1.0) is OrderStatus.FILLED


def test_waits_between_scans_double() -> None:
    search, waits = begin(0.0), []
    for _ in range(6):
        search = search.after_empty(100.0)
        waits.append(search.due_s - 100.0)
    assert waits == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8, 1.6])


async def test_horizon_alone_is_not_enough(store: OrderStore) -> None:
    log = Log()
    store.put(make_record(OrderStatus.UNKNOWN, checkpoint=6))
    assert await resolved(store, log, scans=3, horizon_s=1.0) is OrderStatus.PRESUMED_ABSENT
    assert log.asked == [6, 6, 6]


def test_scans_that_fail_are_asked_ever_more_slowly() -> None:
    search, waits = begin(0.0), []
    for _ in range(8):
        search = search.after_failure(100.0)
        waits.append(search.due_s - 100.0)
    assert waits == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]
    assert search.after_empty(100.0).after_failure(100.0).due_s == 100.25


def test_waits_stay_bounded_however_long_the_venue_is_away() -> None:
    search = begin(0.0)
    for _ in range(2000):
        search = search.after_failure(0.0)
    assert search.due_s == LONGEST_WAIT_S
    for _ in range(2000):
        search = search.after_empty(0.0)
    assert search.due_s == LONGEST_WAIT_S
