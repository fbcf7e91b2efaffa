from __future__ import annotations

from broker.history.archive import TRANSACTIONS, HistoryFilter
from broker.history.backfill import Backfill, TransactionGap, find_gaps
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


def backfill(history: HistoryParts, log: Log) -> Backfill:
    return Backfill(history.database, log, account=ACCOUNT, chance=lambda: 0.0)


async def test_gaps_and_the_end_are_found(history: HistoryParts) -> None:
    await written(history, 3, 4, 8, 9, 12)
    async with history.database.transaction() as connection:
        assert await find_gaps(connection, ACCOUNT) == [
            TransactionGap(4, 8),
            TransactionGap(9, 12),
            TransactionGap(12, None),
        ]
        assert await find_gaps(connection, "another") == []


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
    filling = backfill(history, log)
    filling._backoff = filling._backoff.__class__(base_s=0.001, cap_s=0.001)

    assert await filling.run() == 2
    assert await transaction_ids(history) == [1, 2, 3, 4]
