from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from msgspec.structs import replace

from broker.domain import OrderStatus
from broker.events.process import HistorySample
from broker.history import tables
from broker.history.archive import FILLS, TRANSACTIONS, HistoryFilter
from broker.history.database import DatabaseUnavailableError
from broker.history.settings import HistorySettings
from tests.unit.broker.history.conftest import FOREVER, HistoryParts
from tests.unit.broker.history.fake_journal import START, FakeJournal, make_order, make_transaction


async def test_changes_become_rows(history: HistoryParts) -> None:
    order = make_order(1)
    history.journal.add(replace(order, status=OrderStatus.SUBMITTED, fills=()))
    history.journal.add(order)
    history.journal.add(make_transaction(1001))
    async with history.writing() as writer:
        assert await writer.flush(FOREVER)

    assert await history.archive.order(order.id) == order
    assert await history.archive.by_client_id("flow", "c-1") == order
    (fill,) = (await history.archive.page(FILLS, HistoryFilter(), limit=10)).rows
    assert (fill["transaction_id"], fill["units"], fill["price"]) == ("1001", Decimal("100.50"), Decimal("1.10000"))
    assert str(fill["price"]) == "1.10000"
    assert fill["time"] == START + timedelta(seconds=1)
    (transaction,) = (await history.archive.page(TRANSACTIONS, HistoryFilter(), limit=10)).rows
    assert (transaction["id"], transaction["type"]) == (1001, "DAILY_FINANCING")
    assert history.journal.released == 3
    assert history.condition().ok


async def test_order_goes_on_to_its_newer_state_only(history: HistoryParts) -> None:
    order = make_order(1)
    later = replace(order, updated_at=order.updated_at + timedelta(seconds=1), reason="LATER")
    history.journal.add(later)
    async with history.writing() as writer:
        assert await writer.flush(FOREVER)
        history.journal.add(order)
        assert await writer.flush(FOREVER)

    found = await history.archive.order(order.id)
    assert found is not None
    assert found.reason == "LATER"


async def test_successor_goes_on_where_the_predecessor_was_killed(history: HistoryParts) -> None:
    history.journal.add(make_order(1))
    async with history.writing() as writer:
        assert await writer.flush(FOREVER)
    for number in range(2, 6):
        history.journal.add(make_order(number))
    async with history.writing() as writer:
        assert await writer.flush(FOREVER)
        assert writer.position == 5

    assert await history.ids() == ["c-5", "c-4", "c-3", "c-2", "c-1"]


async def test_changes_that_come_again_change_nothing(history: HistoryParts) -> None:
    history.journal.add(make_order(1))
    history.journal.add(make_transaction(7))
    async with history.writing() as writer:
        assert await writer.flush(FOREVER)
    async with history.database.transaction() as connection:
        await connection.execute(tables.progress.delete())
    async with history.writing() as writer:
        assert await writer.flush(FOREVER)

    assert len((await history.archive.page(FILLS, HistoryFilter(), limit=10)).rows) == 1
    assert len((await history.archive.page(TRANSACTIONS, HistoryFilter(), limit=10)).rows) == 1


async def test_another_journal_begins_at_its_own_start(history: HistoryParts) -> None:
    for number in range(1, 4):
        history.journal.add(make_order(number))
    async with history.writing() as writer:
        assert await writer.flush(FOREVER)
    history.journal = FakeJournal("journal-2")
    for number in range(4, 8):
        history.journal.add(make_order(number))
    async with history.writing() as writer:
        assert await writer.flush(FOREVER)

    assert len(await history.ids()) == 7


async def test_database_that_is_away_loses_nothing(tmp_path: Path) -> None:
    history = HistoryParts(
        HistorySettings(url=f"sqlite+aiosqlite:///{tmp_path / 'later' / 'h.sqlite'}", batch_delay_s=0)
    )
    for number in range(1, 4):
        history.journal.add(make_order(number))
    async with history.writing() as writer:
        await history.until("DatabaseUnavailable")
        assert writer.backlog() == 3
        assert (history.condition().ok, history.condition().advisory) == (False, True)
        with pytest.raises(DatabaseUnavailableError):
            await history.archive.order("x")

        (tmp_path / "later").mkdir()
        history.database.changed.set()
        assert await writer.flush(FOREVER)
    assert await history.ids() == ["c-3", "c-2", "c-1"]
    assert history.condition().ok
    assert HistorySample(backlog=3) in history.events
    await history.database.close()


async def test_batch_is_one_transaction_with_its_position(
    history: HistoryParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    history.journal.add(make_order(1))
    async with history.writing() as writer:
        assert await writer.flush(FOREVER)

    real = tables.progress
    monkeypatch.setattr(tables, "progress", sa.table("no_such_table", sa.column("source"), sa.column("position")))
    history.journal.add(make_order(2))
    with pytest.raises(Exception, match=r".*"):
        await history.writer._write(history.journal.items[1:])
    monkeypatch.setattr(tables, "progress", real)
    assert await history.ids() == ["c-1"]


async def test_journal_that_cannot_be_read_is_told_and_tried_again(
    history: HistoryParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, broken = history.journal.changes, [True]

    def changes(after: int) -> Any:
        if broken:
            raise ValueError("record of 7 bytes")
        return real(after)

    monkeypatch.setattr(history.journal, "changes", changes)
    history.journal.add(make_order(1))
    async with history.writing() as writer:
        await history.until("JournalUnreadable")
        assert not history.condition().ok
        assert writer.backlog() == 1
        broken.clear()
        history.database.changed.set()
        assert await writer.flush(FOREVER)

    assert history.condition().ok
