from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from broker.history.archive import ORDERS, Archive, HistoryFilter
from broker.history.database import Database
from broker.history.settings import HistorySettings
from broker.history.writer import HistoryWriter
from broker.orders.conditions import Conditions
from producer.health import Condition
from tests.unit.broker.history.fake_journal import ACCOUNT, START, FakeJournal

FOREVER = 10.0
"""Seconds that a test waits at most for the writer."""


@dataclass
class HistoryParts:
    """A history with its journal."""

    settings: HistorySettings
    journal: FakeJournal = field(default_factory=FakeJournal)
    conditions: Conditions = field(default_factory=lambda: Conditions(lambda: START))
    events: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.database = Database(self.settings)
        self.archive = Archive(self.database, ACCOUNT)
        self.writer = self.new_writer()

    def new_writer(self) -> HistoryWriter:
        return HistoryWriter(
            self.settings,
            self.database,
            journal=self.journal,
            changes=self.journal,
            account=ACCOUNT,
            conditions=self.conditions,
            emit=self.events.append,
            chance=lambda: 0.0,
        )

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[HistoryWriter]:
        """Runs the writer; ends it as a drain does not: in the middle."""
        self.writer = self.new_writer()
        task = asyncio.create_task(self.writer.run())
        try:
            yield self.writer
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def until(self, reason: str) -> None:
        """Waits until the condition has this reason."""
        async with asyncio.timeout(120):
            while self.condition().reason != reason:
                await asyncio.sleep(0.01)

    def condition(self) -> Condition:
        return self.conditions.all()[0]

    async def ids(self, wanted: HistoryFilter = HistoryFilter(), limit: int = 100) -> list[str]:  # noqa: B008 - frozen
        """Client order ids of a page of orders, the newest first."""
        page = await self.archive.page(ORDERS, wanted, limit=limit)
        return [row["client_order_id"] for row in page.rows]


@pytest.fixture
async def history(tmp_path: Path) -> AsyncIterator[HistoryParts]:
    made = HistoryParts(HistorySettings(url=f"sqlite+aiosqlite:///{tmp_path / 'history.sqlite'}", batch_delay_s=0))
    yield made
    await made.database.close()
