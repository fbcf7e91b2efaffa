from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from broker.domain import OrderStatus, Side
from broker.events.events import HistorySample
from broker.history import tables
from broker.history.archive import (
    FILLS,
    ORDERS,
    TRANSACTIONS,
    CursorError,
    HistoryFilter,
    make_cursor,
    parse_cursor,
)
from broker.history.database import Database, DatabaseUnavailableError
from broker.history.schema import MIGRATIONS, NEWEST, migrate
from broker.history.settings import HistorySettings
from tests.unit.broker.history.changes import START, ChangeList, make_order, make_transaction
from tests.unit.broker.history.conftest import Bench

FOREVER = 10.0


async def ids(bench: Bench, wanted: HistoryFilter = HistoryFilter(), limit: int = 100) -> list[str]:  # noqa: B008 - frozen
    page = await bench.archive.page(ORDERS, wanted, limit=limit)
    return [row["client_order_id"] for row in page.rows]


async def test_changes_become_rows(bench: Bench) -> None:
    order = make_order(1)
    bench.source.add(replace(order, status=OrderStatus.SUBMITTED, fills=()))
    bench.source.add(order)
    bench.source.add(make_transaction(1001))
    async with bench.writing() as writer:
        assert await writer.flush(FOREVER)

    assert await bench.archive.order(order.id) == order
    assert await bench.archive.by_client_id("flow", "c-1") == order
    (fill,) = (await bench.archive.page(FILLS, HistoryFilter(), limit=10)).rows
    assert (fill["transaction_id"], fill["units"], fill["price"]) == ("1001", Decimal("100.50"), Decimal("1.10000"))
    assert str(fill["price"]) == "1.10000"
    assert fill["time"] == START + timedelta(seconds=1)
    (transaction,) = (await bench.archive.page(TRANSACTIONS, HistoryFilter(), limit=10)).rows
    assert (transaction["id"], transaction["type"]) == (1001, "DAILY_FINANCING")
    assert bench.source.released == 3
    assert bench.condition().ok


async def test_order_goes_on_to_its_newer_state_only(bench: Bench) -> None:
    order = make_order(1)
    later = replace(order, updated_at=order.updated_at + timedelta(seconds=1), reason="LATER")
    bench.source.add(later)
    async with bench.writing() as writer:
        assert await writer.flush(FOREVER)
        bench.source.add(order)
        assert await writer.flush(FOREVER)

    found = await bench.archive.order(order.id)
    assert found is not None
    assert found.reason == "LATER"


async def test_successor_goes_on_where_the_predecessor_was_killed(bench: Bench) -> None:
    bench.source.add(make_order(1))
    async with bench.writing() as writer:
        assert await writer.flush(FOREVER)
    for number in range(2, 6):
        bench.source.add(make_order(number))
    async with bench.writing() as writer:
        assert await writer.flush(FOREVER)
        assert writer.position == 5

    assert await ids(bench) == ["c-5", "c-4", "c-3", "c-2", "c-1"]


async def test_changes_that_come_again_change_nothing(bench: Bench) -> None:
    bench.source.add(make_order(1))
    bench.source.add(make_transaction(7))
    async with bench.writing() as writer:
        assert await writer.flush(FOREVER)
    async with bench.database.transaction() as connection:
        await connection.execute(tables.progress.delete())
    async with bench.writing() as writer:
        assert await writer.flush(FOREVER)

    assert len((await bench.archive.page(FILLS, HistoryFilter(), limit=10)).rows) == 1
    assert len((await bench.archive.page(TRANSACTIONS, HistoryFilter(), limit=10)).rows) == 1


async def test_another_journal_begins_at_its_own_start(bench: Bench) -> None:
    for number in range(1, 4):
        bench.source.add(make_order(number))
    async with bench.writing() as writer:
        assert await writer.flush(FOREVER)
    bench.source = ChangeList("journal-2")
    for number in range(4, 8):
        bench.source.add(make_order(number))
    async with bench.writing() as writer:
        assert await writer.flush(FOREVER)

    assert len(await ids(bench)) == 7


async def test_database_that_is_away_loses_nothing(tmp_path: Path) -> None:
    bench = Bench(HistorySettings(url=f"sqlite+aiosqlite:///{tmp_path / 'later' / 'h.sqlite'}", batch_delay_s=0))
    for number in range(1, 4):
        bench.source.add(make_order(number))
    async with bench.writing() as writer:
        await bench.until("DatabaseUnavailable")
        assert writer.backlog() == 3
        assert (bench.condition().ok, bench.condition().advisory) == (False, True)
        with pytest.raises(DatabaseUnavailableError):
            await bench.archive.order("x")

        (tmp_path / "later").mkdir()
        bench.database.changed.set()
        assert await writer.flush(FOREVER)
    assert await ids(bench) == ["c-3", "c-2", "c-1"]
    assert bench.condition().ok
    assert HistorySample(backlog=3) in bench.events
    await bench.database.close()


async def test_filters_are_combined(bench: Bench) -> None:
    for number in range(1, 8):
        bench.source.add(make_order(number))
    bench.source.add(make_order(9, OrderStatus.REJECTED, client="other", side=Side.SELL))
    async with bench.writing() as writer:
        assert await writer.flush(FOREVER)

    assert await ids(bench, HistoryFilter(equal={"instrument": "USD_JPY"})) == ["c-9", "c-6", "c-3"]
    assert await ids(bench, HistoryFilter(equal={"instrument": "USD_JPY", "client": "other"})) == ["c-9"]
    assert await ids(bench, HistoryFilter(equal={"status": "rejected"})) == ["c-9"]
    span = HistoryFilter(since=START + timedelta(seconds=2), until=START + timedelta(seconds=4))
    assert await ids(bench, span) == ["c-3", "c-2"]


async def test_pages_give_every_row_once_also_at_equal_times(bench: Bench) -> None:
    for number in range(1, 26):
        bench.source.add(replace(make_order(number), created_at=START + timedelta(seconds=number // 10)))
    async with bench.writing() as writer:
        assert await writer.flush(FOREVER)

    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = await bench.archive.page(ORDERS, HistoryFilter(), limit=7, cursor=cursor)
        seen += [row["client_order_id"] for row in page.rows]
        if (cursor := page.cursor) is None:
            break
    assert seen == [f"c-{number}" for number in range(25, 0, -1)]


async def test_export_gives_all_in_blocks_up_to_its_limit(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.history.archive.EXPORT_PAGE", 4)
    for number in range(1, 11):
        bench.source.add(make_order(number))
    async with bench.writing() as writer:
        assert await writer.flush(FOREVER)

    async def sizes(limit: int) -> list[int]:
        return [len(block) async for block in bench.archive.export(ORDERS, HistoryFilter(), limit=limit)]

    assert await sizes(100) == [4, 4, 2]
    assert await sizes(5) == [4, 1]


async def test_other_accounts_are_not_seen(bench: Bench) -> None:
    bench.source.add(make_order(1, account="101-004-0000000-001"))
    async with bench.writing() as writer:
        assert await writer.flush(FOREVER)

    assert await ids(bench) == []
    assert await bench.archive.by_client_id("flow", "c-1") is None


@given(
    moment=st.datetimes(timezones=st.just(START.tzinfo)),
    tie=st.text(max_size=20).filter(lambda text: "\0" not in text),
)
def test_cursor_is_read_as_it_was_made(moment: Any, tie: str) -> None:
    assert parse_cursor(make_cursor(moment, tie), number=False) == (moment, tie)


@given(text=st.text(max_size=60))
def test_any_other_cursor_is_refused(text: str) -> None:
    with pytest.raises(CursorError):
        parse_cursor(text, number=False)


def test_cursor_of_another_list_is_refused() -> None:
    with pytest.raises(CursorError, match="another list"):
        parse_cursor(make_cursor(START, "order"), number=True)


async def test_migrations_make_the_tables_that_the_code_declares(bench: Bench) -> None:
    await bench.database.ensure_open()

    def differences(connection: sa.Connection) -> list[Any]:
        return compare_metadata(MigrationContext.configure(connection), tables.metadata)

    async with bench.database.transaction() as connection:
        await migrate(connection)
        await migrate(connection)
        assert await connection.run_sync(differences) == []


def test_newest_step_is_the_head_of_the_migrations() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("path_separator", "os")

    assert ScriptDirectory.from_config(config).get_heads() == [NEWEST]


async def test_batch_is_one_transaction_with_its_position(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.source.add(make_order(1))
    async with bench.writing() as writer:
        assert await writer.flush(FOREVER)

    real = tables.progress
    monkeypatch.setattr(tables, "progress", sa.table("no_such_table", sa.column("source"), sa.column("position")))
    bench.source.add(make_order(2))
    with pytest.raises(Exception, match=r".*"):
        await bench.writer._write(bench.source.items[1:])
    monkeypatch.setattr(tables, "progress", real)
    assert await ids(bench) == ["c-1"]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mysql://host/db", "must start with one of"),
        ("no url", "must start with one of"),
        ("sqlite+aiosqlite://", "names no database"),
        ("postgresql+asyncpg://user:secret-pw@host/db", "user or password"),
        ("postgresql+asyncpg://user@host/db", "user or password"),
    ],
)
def test_url_that_cannot_be_used_is_refused_without_its_password(url: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        HistorySettings(url=url)

    assert "secret-pw" not in str(caught.value)


async def test_nothing_is_asked_before_a_login_is_there() -> None:
    database = Database(HistorySettings(url="postgresql+asyncpg://host/db"))
    await database.ensure_open()

    with pytest.raises(DatabaseUnavailableError, match="no database login yet"):
        async with database.transaction():
            pass


async def test_journal_that_cannot_be_read_is_told_and_tried_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, broken = bench.source.changes, [True]

    def changes(after: int) -> Any:
        if broken:
            raise ValueError("record of 7 bytes")
        return real(after)

    monkeypatch.setattr(bench.source, "changes", changes)
    bench.source.add(make_order(1))
    async with bench.writing() as writer:
        await bench.until("JournalUnreadable")
        assert not bench.condition().ok
        assert writer.backlog() == 1
        broken.clear()
        bench.database.changed.set()
        assert await writer.flush(FOREVER)

    assert bench.condition().ok


def test_certificates_that_are_not_there_yet_are_named(tmp_path: Path) -> None:
    missing = tmp_path / "ca.crt"
    database = Database(HistorySettings(url="postgresql+asyncpg://host/db", ca_file=missing))

    with pytest.raises(DatabaseUnavailableError, match=r"history\.ca_file .*ca\.crt: No such file"):
        database.engine(None)
