from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.domain import Order, OrderRequest, OrderStatus, OrderType, Side
from broker.history.archive import Archive
from broker.history.database import DatabaseUnavailableError
from broker.history.recall import BloomFilter, Recall
from broker.orders.errors import NotReadyError
from tests.unit.broker.history.conftest import HistoryParts
from tests.unit.broker.history.fake_journal import START, make_order

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
BITS = 1 << 16


def order(name: str) -> Order:
    request = OrderRequest(
        client_order_id=name,
        client="flow",
        account="101",
        instrument="EUR_USD",
        type=OrderType.MARKET,
        side=Side.BUY,
        units=Decimal(100),
    )
    return Order(id=name, request=request, status=OrderStatus.FILLED, created_at=NOW, updated_at=NOW)


class FakeArchive(Archive):
    """Orders of the client `flow` in memory."""

    def __init__(self, *names: str) -> None:
        self.orders = {name: order(name) for name in names}
        self.is_away = False
        self.asked: list[str] = []

    async def by_client_id(self, client: str, client_order_id: str) -> Order | None:
        self.asked.append(client_order_id)
        if self.is_away:
            raise DatabaseUnavailableError("away")
        return self.orders.get(client_order_id) if client == "flow" else None

    async def names(self, since: datetime | None) -> AsyncIterator[list[tuple[datetime, str, str]]]:
        if self.is_away:
            raise DatabaseUnavailableError("away")
        yield [(NOW, "flow", name) for name in self.orders]


async def whole(history: FakeArchive) -> Recall:
    recall = Recall(history, BITS)
    await recall._read()
    assert recall.is_whole
    return recall


@given(st.lists(st.text(max_size=20), max_size=50))
def test_the_filter_forgets_nothing(texts: list[str]) -> None:
    bloom = BloomFilter(BITS)
    for text in texts:
        bloom.add(text)
    assert all(text in bloom for text in texts)


def test_the_filter_seldom_takes_a_new_text_for_a_known_one() -> None:
    bloom = BloomFilter(BITS)
    for number in range(6000):
        bloom.add(f"known-{number}")
    assert sum(f"new-{number}" in bloom for number in range(10_000)) < 150


async def test_old_id_gives_its_first_order() -> None:
    history = FakeArchive("old")
    assert await (await whole(history)).first("flow", "old") == history.orders["old"]


async def test_new_id_does_not_ask_the_database() -> None:
    history = FakeArchive("old")
    assert await (await whole(history)).first("flow", "new") is None
    assert history.asked == []


async def test_id_of_another_caller_is_another_id() -> None:
    assert await (await whole(FakeArchive("old"))).first("other", "old") is None


async def test_before_the_filter_is_whole_the_database_is_asked() -> None:
    history = FakeArchive("old")
    assert await Recall(history, BITS).first("flow", "old") == history.orders["old"]


async def test_used_id_is_refused_while_the_history_cannot_say_for_what() -> None:
    history = FakeArchive("old")
    recall = await whole(history)
    history.is_away = True
    with pytest.raises(NotReadyError, match="HistoryUnavailable"):
        await recall.first("flow", "old")
    assert await recall.first("flow", "new") is None


async def test_orders_do_not_wait_for_a_history_that_was_never_there() -> None:
    history = FakeArchive("old")
    history.is_away = True
    recall = Recall(history, BITS)
    assert [await recall.first("flow", "old") for _ in range(3)] == [None] * 3
    assert history.asked == ["old"], "asked once until it has been read"


async def test_id_that_was_noted_is_known_before_the_history_has_it() -> None:
    history = FakeArchive()
    recall = await whole(history)
    recall.note("flow", "fresh")
    await recall.first("flow", "fresh")
    assert history.asked == ["fresh"]


async def test_every_id_of_the_database_is_read_block_by_block(
    history: HistoryParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.history.archive.EXPORT_PAGE", 2)
    for number in range(5):
        history.journal.add(make_order(number))
    async with history.writing() as writer:
        assert await writer.flush(10.0)
    blocks = [[name for _, _, name in block] async for block in history.archive.names(None)]
    assert blocks == [["c-0", "c-1"], ["c-2", "c-3"], ["c-4"]]
    late = [[name for _, _, name in block] async for block in history.archive.names(START + timedelta(seconds=3))]
    assert late == [["c-3", "c-4"], []]
    assert (await Recall(history.archive, BITS).first("flow", "c-2")) == make_order(2)
