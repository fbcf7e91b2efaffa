from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from broker.history.journal_end import JournalEnd
from broker.orders.model.order_record import OrderRecord
from broker.orders.model.trading_state import AccountControl
from broker.orders.store.journal import OrderJournal
from broker.orders.store.journal_format import SNAPSHOT_ORDER, encode_control, encode_order, encode_transaction
from broker.orders.store.tail import changes
from tests.unit.broker.history.fake_journal import make_order, make_transaction


def entry(number: int, kind: bytes = b"o") -> bytes:
    return encode_order(OrderRecord(order=make_order(number), client_id=f"bk.b.1.{number}", checkpoint=1), kind)


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[OrderJournal]:
    made = OrderJournal(tmp_path / "orders", segment_bytes=1 << 20, keep_bytes=1 << 30, emit=lambda _: None)
    made.open()
    made.rotate([encode_control(AccountControl())])
    yield made
    await made.close()


async def test_last_is_the_newest_change_not_the_newest_record(journal: OrderJournal) -> None:
    end = JournalEnd(journal.directory)
    assert end.last() == 0
    journal.append(entry(1))
    position = journal.append(encode_transaction(make_transaction(7)))
    journal.append(encode_control(AccountControl()))

    assert end.last() == position
    assert end.last() == position


async def test_last_agrees_with_what_is_read(journal: OrderJournal) -> None:
    end = JournalEnd(journal.directory)
    for number in range(1, 4):
        journal.append(entry(number))
    journal.rotate([entry(3, SNAPSHOT_ORDER), encode_control(AccountControl())])
    assert end.last() == 4
    journal.append(entry(4))

    read = []
    async for change in changes(journal, 0):
        read.append(change.position)
        if change.position == end.last():
            break
    assert read == [2, 3, 4, 7]


async def test_a_new_reader_finds_the_last_change_before_a_snapshot(journal: OrderJournal) -> None:
    position = journal.append(entry(1))
    journal.rotate([encode_control(AccountControl())])

    assert JournalEnd(journal.directory).last() == position


async def test_name_stays_with_the_volume(journal: OrderJournal, tmp_path: Path) -> None:
    first = JournalEnd(journal.directory).name

    assert JournalEnd(journal.directory).name == first
    assert JournalEnd(tmp_path / "other").name != first
