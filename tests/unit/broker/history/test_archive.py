from __future__ import annotations

from datetime import timedelta
from itertools import count
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from broker.domain import OrderStatus, Side
from broker.history.archive import (
    FILLS,
    ORDERS,
    TRANSACTIONS,
    Archive,
    CursorError,
    HistoryFilter,
    HistoryTable,
    make_cursor,
    parse_cursor,
)
from broker.history.schema import ensure_schema
from tests.unit.broker.history.conftest import FOREVER, HistoryParts
from tests.unit.broker.history.fake_journal import ACCOUNT, START, make_order, make_transaction


async def test_filters_are_combined(history: HistoryParts) -> None:
    for number in range(1, 8):
        history.journal.add(make_order(number))
    history.journal.add(make_order(9, OrderStatus.REJECTED, client="other", side=Side.SELL))
    async with history.writing() as writer:
        assert await writer.flush(FOREVER)

    assert await history.ids(HistoryFilter(equal={"instrument": "USD_JPY"})) == ["c-9", "c-6", "c-3"]
    assert await history.ids(HistoryFilter(equal={"instrument": "USD_JPY", "client": "other"})) == ["c-9"]
    assert await history.ids(HistoryFilter(equal={"status": "rejected"})) == ["c-9"]
    span = HistoryFilter(since=START + timedelta(seconds=2), until=START + timedelta(seconds=4))
    assert await history.ids(span) == ["c-3", "c-2"]


@pytest.mark.parametrize("table", [ORDERS, FILLS, TRANSACTIONS], ids=lambda table: str(table.name))
async def test_no_page_sorts_the_table(history: HistoryParts, table: HistoryTable) -> None:
    await ensure_schema(history.database)
    seen: list[tuple[str, Any]] = []
    pool = history.database._pool
    assert pool is not None
    sa.event.listen(
        pool.engine.sync_engine, "before_cursor_execute", lambda _, __, text, values, *___: seen.append((text, values))
    )
    cursor = make_cursor(START, 7 if table is TRANSACTIONS else "7")
    for place in (None, cursor):
        await history.archive.page(table, HistoryFilter(), limit=10, cursor=place)
    asked = [(text, values) for text, values in seen if text.startswith("SELECT")]
    async with history.database.transaction() as connection:
        plans = [str((await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", v)).all()) for text, v in asked]

    assert len(plans) == 4, "of each page the end of its window, and its rows"
    assert not [plan for plan in plans if "TEMP B-TREE" in plan]
    assert all("<?" in plan for plan in plans[2:]), "the index finds the place behind a cursor"


async def kept(history: HistoryParts, orders: int) -> None:
    for number in range(1, orders + 1):
        history.journal.add(make_order(number))
        history.journal.add(make_transaction(number))
    async with history.writing() as writer:
        assert await writer.flush(FOREVER)


@pytest.mark.parametrize(
    ("table", "equal"),
    [(ORDERS, {}), (ORDERS, {"instrument": "USD_JPY"}), (ORDERS, {"status": "expired"}), (TRANSACTIONS, {"type": "X"})],
    ids=["all", "some", "no order", "no transaction"],
)
async def test_a_page_ends_with_half_of_the_deadline_and_the_next_one_goes_on(
    history: HistoryParts, monkeypatch: pytest.MonkeyPatch, table: HistoryTable, equal: dict[str, str]
) -> None:
    await kept(history, 60)
    wanted, tie = HistoryFilter(equal=equal), table.tie
    expected = [row[tie] for row in (await history.archive.page(table, wanted, limit=100)).rows]
    monkeypatch.setattr("broker.history.archive.FIRST_WINDOW", 7)
    ticks = count(0.0, history.settings.deadline_s)
    archive = Archive(history.database, ACCOUNT, now_s=lambda: next(ticks))
    seen: list[Any] = []
    pages, cursor = 0, None
    while True:
        page = await archive.page(table, wanted, limit=2, cursor=cursor)
        seen, pages = [*seen, *(row[tie] for row in page.rows)], pages + 1
        if (cursor := page.cursor) is None:
            break
    assert (seen, pages >= 60 // 8) == (expected, True)


async def test_a_page_is_filled_from_as_many_windows_as_there_is_time_for(
    history: HistoryParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    await kept(history, 60)
    monkeypatch.setattr("broker.history.archive.FIRST_WINDOW", 1)
    monkeypatch.setattr("broker.history.archive.LAST_WINDOW", 8)
    archive = Archive(history.database, ACCOUNT, now_s=lambda: 0.0)
    page = await archive.page(ORDERS, HistoryFilter(equal={"instrument": "USD_JPY"}), limit=2)
    assert [row["client_order_id"] for row in page.rows] == ["c-60", "c-57"]
    none = await archive.page(ORDERS, HistoryFilter(equal={"status": "expired"}), limit=2)
    assert (none.rows, none.cursor) == ([], None)


async def test_an_export_passes_over_pages_without_rows(history: HistoryParts, monkeypatch: pytest.MonkeyPatch) -> None:
    await kept(history, 60)
    monkeypatch.setattr("broker.history.archive.EXPORT_PAGE", 2)
    monkeypatch.setattr("broker.history.archive.FIRST_WINDOW", 7)
    ticks = count(0.0, history.settings.deadline_s)
    archive = Archive(history.database, ACCOUNT, now_s=lambda: next(ticks))
    wanted = HistoryFilter(equal={"client_order_id": "c-1"})
    blocks = [block async for block in archive.export(ORDERS, wanted, limit=100)]
    assert [[row["client_order_id"] for row in block] for block in blocks] == [["c-1"]]


async def test_pages_of_transactions_are_in_the_order_of_their_numbers(history: HistoryParts) -> None:
    timeless = {"id": "4", "type": "X"}
    for transaction in (*map(make_transaction, (1, 2, 3)), timeless, make_transaction(10)):
        history.journal.add(transaction)
    async with history.writing() as writer:
        assert await writer.flush(FOREVER)

    seen: list[int] = []
    cursor: str | None = None
    while True:
        page = await history.archive.page(TRANSACTIONS, HistoryFilter(), limit=2, cursor=cursor)
        seen += [row["id"] for row in page.rows]
        if (cursor := page.cursor) is None:
            break
    assert seen == [10, 4, 3, 2, 1]


async def test_pages_give_every_row_once_also_at_equal_times(history: HistoryParts) -> None:
    for number in range(1, 26):
        history.journal.add(replace(make_order(number), created_at=START + timedelta(seconds=number // 10)))
    async with history.writing() as writer:
        assert await writer.flush(FOREVER)

    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = await history.archive.page(ORDERS, HistoryFilter(), limit=7, cursor=cursor)
        seen += [row["client_order_id"] for row in page.rows]
        if (cursor := page.cursor) is None:
            break
    assert seen == [f"c-{number}" for number in range(25, 0, -1)]


async def test_export_gives_all_in_blocks_up_to_its_limit(
    history: HistoryParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.history.archive.EXPORT_PAGE", 4)
    for number in range(1, 11):
        history.journal.add(make_order(number))
    async with history.writing() as writer:
        assert await writer.flush(FOREVER)

    async def sizes(limit: int) -> list[int]:
        return [len(block) async for block in history.archive.export(ORDERS, HistoryFilter(), limit=limit)]

    assert await sizes(100) == [4, 4, 2]
    assert await sizes(5) == [4, 1]


async def test_other_accounts_are_not_seen(history: HistoryParts) -> None:
    history.journal.add(make_order(1, account="101-004-0000000-001"))
    async with history.writing() as writer:
        assert await writer.flush(FOREVER)

    assert await history.ids() == []
    assert await history.archive.by_client_id("flow", "c-1") is None


@given(
    moment=st.datetimes(timezones=st.just(START.tzinfo)), tie=st.text(max_size=20).filter(lambda text: "\0" not in text)
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
