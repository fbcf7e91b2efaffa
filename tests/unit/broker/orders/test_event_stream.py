from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, cast
from zlib import crc32

from hypothesis import given, settings
from hypothesis import strategies as st

from broker.orders.event_stream import Begun, Gap, Streamed, follow
from broker.orders.model.trading_state import AccountControl
from broker.orders.ownership.leadership import Leadership
from broker.orders.store.journal import JournalMark, OrderJournal, encode_control, encode_order, encode_transaction
from broker.orders.store.tail import Change
from broker.orders.updates import Missed, Updates
from tests.unit.broker.api.schemas.test_events import QUOTE
from tests.unit.broker.orders.samples import make_record, make_settings

SNAPSHOT = encode_control(AccountControl(), b"z")


class Terms:
    """An account's terms of ownership on one directory: a journal each, changes published as they are appended."""

    def __init__(self, directory: Path, depth: int = 4) -> None:
        self.directory = directory
        self.updates = Updates(depth)
        self.leadership = SimpleNamespace(held=asyncio.Event(), engine=None)
        self.journal = self.open()
        self.begin()
        self.written: list[int] = []
        """Numbers of the transactions, in the journal's order."""

    def open(self) -> OrderJournal:
        journal = OrderJournal(self.directory, make_settings(self.directory), lambda _: None)
        journal.open()
        journal.rotate([SNAPSHOT])
        return journal

    def begin(self) -> None:
        self.leadership.engine = SimpleNamespace(store=SimpleNamespace(journal=self.journal))
        self.leadership.held.set()

    def append(self, *, published: bool = True) -> None:
        number = len(self.written) + 1
        raw = {"id": str(number), "type": "X"}
        payload = encode_transaction(raw)
        position = self.journal.append(payload)
        self.written.append(number)
        if published:
            self.updates.publish(Change(position=position, crc=crc32(payload), transaction=raw))

    async def next_term(self, elsewhere: int) -> None:
        """Another process owns the account and appends; then we do, and append before we are known as the owner."""
        self.leadership.held.clear()
        self.leadership.engine = None
        await self.journal.close()
        self.journal = self.open()
        for _ in range(elsewhere):
            self.append(published=False)
        await self.journal.close()
        self.journal = self.open()
        self.append()
        self.begin()

    def follow(self, after: JournalMark | None) -> AsyncGenerator[Streamed, None]:
        return follow(self.updates, cast("Leadership", self.leadership), after)


async def begun(terms: Terms) -> tuple[AsyncGenerator[Streamed, None], JournalMark]:
    stream = terms.follow(None)
    first = await anext(stream)
    assert isinstance(first, Begun)
    return stream, first.mark


class Visit:
    """A reader that comes, reads, leaves and comes back, and what happens meanwhile: a method for each step."""

    def __init__(self, terms: Terms, stream: AsyncGenerator[Streamed, None], mark: JournalMark) -> None:
        self.terms = terms
        self.stream = stream
        self.mark = mark
        self.seen: list[int] = []

    async def append(self, count: int) -> None:
        for _ in range(count):
            self.terms.append()

    async def price(self, count: int) -> None:
        for _ in range(count):
            self.terms.updates.publish(QUOTE)

    async def rotate(self, _: int) -> None:
        self.terms.journal.rotate([SNAPSHOT])

    async def reconnect(self, _: int) -> None:
        await self.stream.aclose()
        self.stream = self.terms.follow(self.mark)

    async def next_term(self, elsewhere: int) -> None:
        await self.terms.next_term(elsewhere)

    async def read(self, count: int) -> None:
        while count and len(self.seen) < len(self.terms.written):
            item = await anext(self.stream)
            assert not isinstance(item, Gap | Begun), item
            if isinstance(item, Change) and item.transaction is not None:
                self.seen.append(int(item.transaction["id"]))
                self.mark = item.mark
                count -= 1


STEPS = [Visit.append, Visit.price, Visit.rotate, Visit.reconnect, Visit.next_term, Visit.read, Visit.read]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 8)), max_size=30))
def test_reader_sees_each_change_once_and_in_order_however_slow_it_is_and_whenever_it_reconnects(
    steps: list[tuple[Callable[[Visit, int], Awaitable[None]], int]],
) -> None:
    async def run(directory: Path) -> None:
        terms = Terms(directory)
        visit = Visit(terms, *await begun(terms))
        async with asyncio.timeout(120):
            for step, count in [*steps, (Visit.read, 10_000)]:
                await step(visit, count)
        await visit.stream.aclose()
        assert visit.seen == terms.written
        assert not terms.updates, "a stream that is closed still listens"
        await terms.journal.close()

    with TemporaryDirectory() as place:
        asyncio.run(run(Path(place)))


async def test_orders_transactions_and_states_come_in_the_journals_order(tmp_path: Path) -> None:
    terms = Terms(tmp_path)
    stream, mark = await begun(terms)
    await stream.aclose()
    record, control = make_record(), AccountControl(state_reason="test")
    for payload in (encode_order(record), encode_transaction({"id": "7", "type": "X"}), encode_control(control)):
        terms.journal.append(payload)
    again = terms.follow(mark)
    found = [cast("Change", await anext(again)) for _ in range(3)]
    await again.aclose()
    await terms.journal.close()

    assert [item.order for item in found] == [record.order, None, None]
    assert [item.transaction for item in found] == [None, {"id": "7", "type": "X"}, None]
    assert [item.control for item in found] == [None, None, control]
    assert found[-1].mark == terms.journal.mark


async def after_gap(terms: Terms, after: JournalMark) -> tuple[Gap, int]:
    """The gap that a reader at `after` is told, and the next transaction."""
    stream = terms.follow(after)
    gap = await anext(stream)
    assert isinstance(gap, Gap), gap
    terms.append()
    item = await anext(stream)
    await stream.aclose()
    await terms.journal.close()
    assert isinstance(item, Change)
    assert item.transaction is not None
    return gap, int(item.transaction["id"])


async def test_reader_whose_place_was_discarded_is_told_and_goes_on_from_now(tmp_path: Path) -> None:
    terms = Terms(tmp_path)
    terms.append()
    mark = terms.journal.mark
    for _ in range(3):
        terms.journal.rotate([SNAPSHOT])
        terms.journal.release(terms.journal.written)
    now = terms.journal.mark

    assert await after_gap(terms, mark) == (Gap(now, "discarded"), 2)


async def test_reader_of_the_last_segment_but_one_is_still_served(tmp_path: Path) -> None:
    terms = Terms(tmp_path)
    terms.append()
    mark = terms.journal.mark
    terms.append()
    terms.journal.release(terms.journal.written)
    terms.journal.rotate([SNAPSHOT])
    stream = terms.follow(mark)
    item = cast("Change", await anext(stream))
    await stream.aclose()
    await terms.journal.close()

    assert item.transaction == {"id": "2", "type": "X"}


async def test_place_in_another_journal_is_told_though_the_position_exists(tmp_path: Path) -> None:
    terms = Terms(tmp_path)
    for _ in range(3):
        terms.append()
    other = JournalMark(terms.journal.mark.position - 1, 0xDEADBEEF)

    assert (await after_gap(terms, other))[0].reason == "unknown"


async def test_place_beyond_the_journals_end_is_told(tmp_path: Path) -> None:
    terms = Terms(tmp_path)
    assert (await after_gap(terms, JournalMark(1000, 1)))[0].reason == "unknown"


async def test_place_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    terms = Terms(tmp_path)
    assert (await after_gap(terms, JournalMark.parse("01JGX5TVK2M4N6P8Q0R2S4T001.17676")))[0].reason == "unknown"


async def test_change_that_the_journal_failed_to_take_comes_without_a_place(tmp_path: Path) -> None:
    terms = Terms(tmp_path)
    stream, _ = await begun(terms)
    lost = Change(position=0, order=make_record().order)
    terms.updates.publish(lost)

    assert await anext(stream) == lost
    await stream.aclose()
    await terms.journal.close()


async def test_slow_reader_is_told_of_missed_prices_only(tmp_path: Path) -> None:
    terms = Terms(tmp_path, depth=4)
    stream, _ = await begun(terms)
    for _ in range(10):
        terms.updates.publish(QUOTE)
        terms.append()
    found: list[Any] = [await anext(stream) for _ in range(13)]
    await stream.aclose()
    await terms.journal.close()

    numbers = [int(item.transaction["id"]) for item in found if isinstance(item, Change) and item.transaction]
    assert numbers == terms.written
    assert [item for item in found if isinstance(item, Missed)] == [Missed(8)]
    assert found.count(QUOTE) == 2
