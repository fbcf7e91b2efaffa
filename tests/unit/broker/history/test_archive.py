from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from broker.domain import OrderStatus, Side
from broker.history.archive import ORDERS, CursorError, HistoryFilter, make_cursor, parse_cursor
from tests.unit.broker.history.conftest import FOREVER, HistoryParts
from tests.unit.broker.history.fake_journal import START, make_order


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
