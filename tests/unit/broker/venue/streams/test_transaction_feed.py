from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.venue.streams import transaction_feed as feed_module
from broker.venue.streams.stream_state import StreamDataError
from broker.venue.streams.transaction_feed import MAX_TOLD, TransactionFeed, TransactionLine, transaction_line
from broker.venue.v20.parse import TransactionPage
from broker.venue.v20.transactions import Transaction, parse_transaction


def raw(number: int) -> dict[str, Any]:
    return {"id": str(number), "type": "DAILY_FINANCING", "time": "2026-01-05T12:00:00Z"}


def told(message: dict[str, Any]) -> TransactionLine:
    return transaction_line(json.dumps(message).encode())


class FakeLog:
    """The venue's log up to `last`; the first pages may lag, or lack some."""

    def __init__(self, last: int) -> None:
        self.last = last
        self.missing: list[set[int]] = []
        self.asked: list[int] = []

    async def transactions_since(self, after: int) -> TransactionPage:
        self.asked.append(after)
        missing = self.missing.pop(0) if self.missing else set()
        found = tuple(parse_transaction(raw(n)) for n in range(after + 1, self.last + 1) if n not in missing)
        return TransactionPage(transactions=found, last_transaction_id=self.last)


def make(log: FakeLog, applied: int = 0) -> tuple[TransactionFeed, list[int], list[Any]]:
    seen: list[int] = []
    events: list[Any] = []

    def deliver(transaction: Transaction) -> None:
        seen.append(transaction.id)

    return TransactionFeed(log=log, deliver=deliver, emit=events.append, applied=applied), seen, events


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "HOLE_WAIT_S", 0.0)


async def test_opening_brings_what_happened_before() -> None:
    feed, seen, events = make(FakeLog(5), applied=2)
    await feed.opened()
    assert seen == [3, 4, 5]
    assert [event.transactions for event in events] == [3]


async def test_next_in_line_needs_no_read() -> None:
    log = FakeLog(3)
    feed, seen, _ = make(log, applied=2)
    await feed.message(told(raw(3)))
    assert (seen, log.asked) == ([3], [])


async def test_what_an_answer_told_is_delivered_as_the_answer_had_it() -> None:
    delivered: list[Transaction] = []
    feed = TransactionFeed(log=FakeLog(3), deliver=delivered.append, emit=lambda _: None, applied=2)
    answered = [parse_transaction(raw(2)), parse_transaction(raw(3))]
    feed.tell(answered)
    assert delivered == []
    await feed.message(told(raw(3)))
    await feed.message(told(raw(3)))
    assert len(delivered) == 1
    assert delivered[0] is answered[1]


async def test_more_answers_than_the_bound_are_parsed_again() -> None:
    feed, seen, _ = make(FakeLog(3), applied=2)
    feed.tell([parse_transaction(raw(number)) for number in range(3, MAX_TOLD + 3)])
    feed.tell([parse_transaction(raw(4))])
    await feed.message(told(raw(3)))
    await feed.message(told(raw(4)))
    assert seen == [3, 4]


async def test_ids_as_numbers_are_read_as_texts_are() -> None:
    feed, seen, _ = make(FakeLog(3), applied=2)
    await feed.message(told({**raw(3), "id": 3}))
    assert seen == [3]


@pytest.mark.parametrize("text", [b"<html>", b"[1]", b'{"id": "3"'])
def test_line_that_is_no_object_is_no_message(text: bytes) -> None:
    with pytest.raises(StreamDataError):
        transaction_line(text)


async def test_transaction_without_a_whole_number_id_ends_the_stream() -> None:
    feed, seen, _ = make(FakeLog(3), applied=2)
    with pytest.raises(ValueError, match="wanted a whole number"):
        await feed.message(told({**raw(3), "id": "3_0"}))
    assert seen == []


async def test_gap_is_filled_in_order_and_counted() -> None:
    feed, seen, events = make(FakeLog(6), applied=2)
    await feed.message(told(raw(6)))
    assert seen == [3, 4, 5, 6]
    assert [event.transactions for event in events] == [4]


async def test_heartbeat_ahead_is_a_gap() -> None:
    feed, seen, _ = make(FakeLog(4), applied=2)
    await feed.message(told({"type": "HEARTBEAT", "lastTransactionID": "4", "time": "2026-01-05T12:00:00Z"}))
    assert seen == [3, 4]


async def test_what_other_answers_spoke_of_is_on_its_way_and_no_gap() -> None:
    log = FakeLog(4)
    feed, seen, events = make(log, applied=2)
    feed.note(4)
    await feed.message(told(raw(3)))
    assert (seen, log.asked, events) == ([3], [], [])


async def test_reading_that_the_stream_did_not_cause_is_no_gap() -> None:
    feed, seen, events = make(FakeLog(4), applied=2)
    await feed.fill()
    assert (seen, events) == ([3, 4], [])


async def test_message_behind_a_reading_that_is_under_way_waits_for_it() -> None:
    log = FakeLog(4)
    feed, seen, events = make(log, applied=2)
    reading = asyncio.create_task(feed.fill())
    await asyncio.sleep(0)
    await feed.message(told(raw(5)))
    await reading
    assert (seen, log.asked, events) == ([3, 4, 5], [2], [])


async def test_repetition_is_let_go() -> None:
    feed, seen, _ = make(FakeLog(3), applied=3)
    await feed.message(told(raw(2)))
    assert seen == []


async def test_lagging_page_is_asked_again() -> None:
    log = FakeLog(5)
    log.missing = [{4, 5}, {4}]
    feed, seen, _ = make(log, applied=2)
    await feed.fill()
    assert seen == [3, 4, 5]
    assert log.asked == [2, 3, 3]


async def test_short_pages_are_read_one_after_the_other() -> None:
    log = FakeLog(9)
    log.missing = [set(range(4, 10)), set(range(7, 10))]
    feed, seen, _ = make(log)
    await feed.fill()
    assert seen == list(range(1, 10))
    assert log.asked == [0, 3, 6]


async def test_hole_that_stays_is_passed_over() -> None:
    log = FakeLog(5)
    log.missing = [{4}] * 6
    feed, seen, _ = make(log, applied=2)
    await feed.fill()
    assert seen == [3, 5]


async def test_transaction_that_was_not_taken_comes_again() -> None:
    log, seen = FakeLog(3), []

    def deliver(transaction: Transaction) -> None:
        seen.append(transaction.id)
        if len(seen) == 1:
            raise OSError("journal full")

    feed = TransactionFeed(log=log, deliver=deliver, emit=lambda _: None, applied=2)
    with pytest.raises(OSError, match="full"):
        await feed.message(told(raw(3)))
    await feed.opened()
    assert seen == [3, 3]
    assert feed.applied == 3


@given(st.lists(st.integers(1, 12), max_size=20))
async def test_any_order_of_messages_delivers_each_once_in_order(numbers: list[int]) -> None:
    feed, seen, _ = make(FakeLog(12))
    for number in numbers:
        await feed.message(told(raw(number)))
    await feed.fill()
    assert seen == list(range(1, 13))
