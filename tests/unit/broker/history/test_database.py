from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from broker.history.database import Database, DatabaseUnavailableError
from broker.history.settings import HistorySettings


async def test_nothing_is_asked_before_a_login_is_there() -> None:
    database = Database(HistorySettings(url="postgresql+asyncpg://host/db"))
    await database.ensure_open()

    with pytest.raises(DatabaseUnavailableError, match="no database login yet"):
        async with database.transaction():
            pass


def test_certificates_that_are_not_there_yet_are_named(tmp_path: Path) -> None:
    missing = tmp_path / "ca.crt"
    database = Database(HistorySettings(url="postgresql+asyncpg://host/db", ca_file=missing))

    with pytest.raises(DatabaseUnavailableError, match=r"history\.ca_file .*ca\.crt: No such file"):
        database.engine(None)


@pytest.fixture
async def replaced(tmp_path: Path) -> AsyncIterator[tuple[Database, list[str]]]:
    """A database whose engine has been used, and what has become of its connections."""
    database, closed = (
        Database(HistorySettings(url=f"sqlite+aiosqlite:///{tmp_path / 'history.sqlite'}")),
        list[str](),
    )
    engine = database.engine(None)
    sa.event.listen(engine.sync_engine, "close", lambda *_: closed.append("closed"))
    await database.adopt(engine)
    async with database.transaction() as connection:
        await connection.execute(sa.text("SELECT 1"))
    yield database, closed
    await database.close()


async def test_replaced_pool_without_transactions_is_closed_at_once(replaced: tuple[Database, list[str]]) -> None:
    database, closed = replaced
    assert closed == []
    await database.adopt(database.engine(None))
    assert closed == ["closed"]


async def test_replaced_pool_is_closed_by_its_last_transaction(replaced: tuple[Database, list[str]]) -> None:
    database, closed = replaced
    async with database.transaction() as connection:
        await database.adopt(database.engine(None))
        await connection.execute(sa.text("SELECT 1"))
        assert closed == []
    assert closed == ["closed"]


async def test_closing_waits_for_a_transaction_that_runs(replaced: tuple[Database, list[str]]) -> None:
    database, closed = replaced
    async with asyncio.TaskGroup() as tasks, database.transaction() as connection:
        tasks.create_task(database.close())
        await asyncio.sleep(0)
        await connection.execute(sa.text("SELECT 1"))
        assert closed == []
    assert closed == ["closed"]
