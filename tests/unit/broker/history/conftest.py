from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from broker.history.archive import Archive
from broker.history.database import Database
from broker.history.settings import HistorySettings
from broker.history.writer import HistoryWriter
from broker.orders.conditions import Conditions
from producer.health import Condition
from tests.unit.broker.history.changes import ACCOUNT, START, ChangeList


@dataclass
class Bench:
    """A history with its source."""

    settings: HistorySettings
    source: ChangeList = field(default_factory=ChangeList)
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
            journal=self.source,
            changes=self.source,
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
        async with asyncio.timeout(20):
            while self.condition().reason != reason:
                await asyncio.sleep(0.01)

    def condition(self) -> Condition:
        return self.conditions.all()[0]


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(HistorySettings(url=f"sqlite+aiosqlite:///{tmp_path / 'history.sqlite'}", batch_delay_s=0))
    yield made
    await made.database.close()
