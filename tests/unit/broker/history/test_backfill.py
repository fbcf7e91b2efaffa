from __future__ import annotations

import logging
from itertools import pairwise
from typing import Any

import pytest
import sqlalchemy as sa

from broker.history.archive import TRANSACTIONS, HistoryFilter
from broker.history.backfill import PAGE_IDS, Backfill, TransactionGap, find_gaps
from broker.history.repair import repair_fills
from broker.history.schema import ensure_schema
from broker.venue.errors import NotAuthorizedError
from broker.venue.v20.parse import TransactionPage
from broker.venue.v20.transactions import parse_transaction
from tests.unit.broker.history.conftest import HistoryParts
from tests.unit.broker.history.fake_journal import ACCOUNT, make_transaction


class Log:
    """The venue's log: every id but the skipped ones, three to a page."""

    def __init__(self, last: int, skipped: frozenset[int] = frozenset()) -> None:
        self.ids = [number for number in range(1, last + 1) if number not in skipped]
        self.asked: list[int] = []
        self.faults: list[Exception] = []

    async def transactions_since(self, after: int) -> TransactionPage:
        self.asked.append(after)
        if self.faults:
            raise self.faults.pop()
        found = [number for number in self.ids if number > after][:3]
        transactions = tuple(parse_transaction(make_transaction(number)) for number in found)
        return TransactionPage(transactions=transactions, last_transaction_id=self.ids[-1])


async def transaction_ids(history: HistoryParts) -> list[int]:
    page = await history.archive.page(TRANSACTIONS, HistoryFilter(), limit=1000)
    return sorted(row["id"] for row in page.rows)


async def written(history: HistoryParts, *numbers: int) -> None:
    for number in numbers:
        history.journal.add(make_transaction(number))
    async with history.writing() as writer:
        assert await writer.flush(20)


def backfill(history: HistoryParts, log: Log, page_ids: int = 2) -> Backfill:
    made = Backfill(history.database, log, account=ACCOUNT, page_ids=page_ids)
    made._backoff = made._backoff.__class__(base_s=0.001, cap_s=0.001)
    return made


async def test_gaps_and_the_end_are_found(history: HistoryParts) -> None:
    await written(history, 3, 4, 8, 9, 12)
    async with history.database.transaction() as connection:
        assert await find_gaps(connection, ACCOUNT, 3) == (12, [TransactionGap(4, 8), TransactionGap(9, 12)])
        assert await find_gaps(connection, ACCOUNT, 12) == (None, [])
        assert await find_gaps(connection, "another", 0) == (None, [])


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
async def test_pages_find_the_gaps_of_the_whole(history: HistoryParts, limit: int) -> None:
    numbers = [3, 4, 8, 9, 12, 13, 14, 20, 22]
    await written(history, *numbers)
    found: list[TransactionGap] = []
    after: int | None = 3
    async with history.database.transaction() as connection:
        while after is not None:
            after, gaps = await find_gaps(connection, ACCOUNT, after, limit=limit)
            found += gaps

    assert found == [TransactionGap(low, high) for low, high in pairwise(numbers) if high - low > 1]


async def test_what_is_missing_comes_from_the_venues_log(history: HistoryParts) -> None:
    await written(history, 3, 4, 12)

    assert await backfill(history, Log(last=17)).run() == 12
    assert await transaction_ids(history) == list(range(3, 18))


async def test_whole_history_is_left_alone(history: HistoryParts) -> None:
    await written(history, 1, 2, 3)
    log = Log(last=3)

    assert await backfill(history, log).run() == 0
    assert log.asked == [3]


async def test_empty_history_begins_with_the_journal(history: HistoryParts) -> None:
    log = Log(last=100)

    assert await backfill(history, log).run() == 0
    assert log.asked == []


async def test_id_that_the_venue_skips_is_passed_over(history: HistoryParts) -> None:
    await written(history, 1, 2, 6)

    assert await backfill(history, Log(last=6, skipped=frozenset({4, 5}))).run() == 1
    assert await transaction_ids(history) == [1, 2, 3, 6]


async def test_venue_that_cannot_be_asked_is_asked_again(history: HistoryParts) -> None:
    await written(history, 1, 4)
    log = Log(last=4)
    log.faults = [NotAuthorizedError("no token yet")]
    assert await backfill(history, log).run() == 2
    assert await transaction_ids(history) == [1, 2, 3, 4]


async def test_attempt_goes_on_where_the_one_before_it_failed(history: HistoryParts) -> None:
    await written(history, 1, 2, 3, 4, 6, 8)
    log = Log(last=8, skipped=frozenset({5, 7}))
    log.faults = [NotAuthorizedError("away"), NotAuthorizedError("away")]
    looked_at = seen_statements(history)

    assert await backfill(history, log).run() == 0
    assert log.asked == [4, 4, 4, 6, 8]
    assert sum("lag(" in text for text in looked_at) == 6  # 1 to 3; 4 and 6, three times; 8; behind it


async def test_next_start_looks_at_what_came_since_alone(history: HistoryParts) -> None:
    await written(history, 1, 2, 6, 7)
    log = Log(last=7, skipped=frozenset({4, 5}))
    await backfill(history, log).run()
    await written(history, 1, 2, 6, 7, 10)
    log.asked, log.ids = [], [*log.ids, 8, 9, 10]

    assert await backfill(history, log).run() == 2
    assert log.asked == [7, 10]
    assert await transaction_ids(history) == [1, 2, 3, 6, 7, 8, 9, 10]


async def test_slow_database_is_told_of_once(history: HistoryParts, caplog: pytest.LogCaptureFixture) -> None:
    await written(history, 1, 4)
    log = Log(last=4)
    log.faults = [NotAuthorizedError("not done within the deadline") for _ in range(5)]
    with caplog.at_level(logging.WARNING, "broker.history.backfill"):
        await backfill(history, log).run()

    assert [vars(record)["fault"] for record in caplog.records] == ["not done within the deadline"]


def seen_statements(history: HistoryParts) -> list[str]:
    """Statements that the history's engine runs from now on."""
    seen: list[str] = []
    pool = history.database._pool
    assert pool is not None
    sa.event.listen(
        pool.engine.sync_engine, "before_cursor_execute", lambda _connection, _cursor, text, *_: seen.append(text)
    )
    return seen


MANY_TRANSACTIONS = sa.text(
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :many) "
    "INSERT INTO transactions (account, id, type, document) SELECT :account, i, 'X', '' FROM n"
)
MANY_FILLS = sa.text(
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :many) "
    "INSERT INTO fills (account, transaction_id, order_id, instrument, side, units, price, profit, half_spread_cost, "
    "time, time_ns) SELECT :account, i, 'o', 'EUR_USD', 'buy', '1', '1', '0', '0', '2026-01-05 10:00:00', 1 FROM n"
)
STEPS = 100
"""Steps of SQLite's machine that a row of a page may take, with room: it took 57."""


async def test_no_statement_of_a_start_looks_at_more_than_a_page(history: HistoryParts) -> None:
    """A statement that takes more of SQLite's steps than a page needs is interrupted, as one at its deadline is."""
    await ensure_schema(history.database)
    many = 30 * PAGE_IDS
    async with history.database.transaction() as connection:
        for table in (MANY_TRANSACTIONS, MANY_FILLS):
            await connection.execute(table, {"account": ACCOUNT, "many": many})
    pool = history.database._pool
    assert pool is not None
    await pool.engine.dispose()  # the connections from here on are limited
    steps = 0

    def step() -> int:
        nonlocal steps
        steps += 1000
        return int(steps > STEPS * PAGE_IDS)

    def limit(connection: Any, _: object) -> None:
        connection.run_async(lambda raw: raw.set_progress_handler(step, 1000))

    def begin(*_: object) -> None:
        nonlocal steps
        steps = 0

    sa.event.listen(pool.engine.sync_engine, "connect", limit)
    sa.event.listen(pool.engine.sync_engine, "before_cursor_execute", begin)

    log = Log(last=many)
    assert await backfill(history, log, PAGE_IDS)._fill_all() == 0
    assert log.asked == [many]
    assert await repair_fills(history.database, ACCOUNT) == 0
