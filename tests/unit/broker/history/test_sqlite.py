from __future__ import annotations

import asyncio
import gc
import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from broker.history.database import Database, DatabaseUnavailableError
from broker.history.settings import HistorySettings
from tests.unit.broker.history.conftest import HistoryParts
from tests.unit.broker.history.fake_journal import make_order

# Hours of work: who waits for its end waits longer than any test.
SLOW = sa.text("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1e12) SELECT max(i) FROM n")
SLOW_READ = sa.text(
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1e12) "
    "SELECT i FROM n, t WHERE i < 2 OR i > 1e11"
)
INSERT = sa.text("INSERT INTO t VALUES (2)")
BOUND_S = 60.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.sqlite"


@pytest.fixture
async def database(path: Path) -> AsyncIterator[Database]:
    made = Database(HistorySettings(url=f"sqlite+aiosqlite:///{path}", deadline_s=0.5))
    await made.ensure_open()
    await run(made, sa.text("CREATE TABLE t (a INTEGER)"))
    await run(made, sa.text("INSERT INTO t VALUES (1)"))
    yield made
    await made.close()


@pytest.fixture
def uncollected() -> Iterator[None]:
    """No collection of cycles, as between two hours of `pod_runtime.run.keep_short`."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def other(path: Path, database: Database) -> Iterator[sqlite3.Connection]:
    """Another process's connection, which waits for nobody."""
    connection = sqlite3.connect(path, timeout=0, isolation_level=None)
    yield connection
    connection.close()


async def run(database: Database, *statements: sa.TextClause) -> None:
    async with asyncio.timeout(BOUND_S), database.transaction() as connection:
        for statement in statements:
            await connection.execute(statement)


async def miss(database: Database, *statements: sa.TextClause) -> DatabaseUnavailableError:
    with pytest.raises(DatabaseUnavailableError, match=r"not done within history\.deadline_s, 0\.5 s") as caught:
        await run(database, *statements)
    return caught.value


async def test_a_read_ends_at_the_deadline(database: Database) -> None:
    await miss(database, SLOW)


async def test_a_missed_deadline_leaves_no_lock(
    database: Database, other: sqlite3.Connection, uncollected: None
) -> None:
    error = await miss(database, INSERT, SLOW)

    other.execute("INSERT INTO t VALUES (3)")
    assert other.execute("SELECT a FROM t").fetchall() == [(1,), (3,)]
    assert error.__traceback__ is not None  # and so all that its frames refer to


@pytest.mark.parametrize("slow", [SLOW, SLOW_READ], ids=["first row", "rows behind it"])
async def test_a_missed_deadline_leaves_no_reader_of_the_log(
    database: Database, other: sqlite3.Connection, uncollected: None, slow: sa.TextClause
) -> None:
    error = await miss(database, sa.text("SELECT a FROM t"), slow)

    other.execute("INSERT INTO t VALUES (3)")
    busy, _, _ = other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    assert busy == 0
    assert error.__traceback__ is not None


async def test_a_wait_for_a_lock_ends_by_the_deadline(database: Database, other: sqlite3.Connection) -> None:
    async with database.transaction() as connection:
        wait_ms = (await connection.execute(sa.text("PRAGMA busy_timeout"))).scalar()
    assert wait_ms == 500

    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(DatabaseUnavailableError, match=r"locked|not done"):
        await run(database, INSERT)
    other.execute("ROLLBACK")
    await run(database, INSERT)


async def test_a_caller_that_gives_up_leaves_no_lock(
    database: Database, other: sqlite3.Connection, uncollected: None
) -> None:
    inserted = asyncio.Event()

    async def write() -> None:
        async with database.transaction() as connection:
            await connection.execute(INSERT)
            inserted.set()
            await connection.execute(SLOW)

    task = asyncio.create_task(write())
    await inserted.wait()
    task.cancel()
    async with asyncio.timeout(BOUND_S):
        await asyncio.wait((task,))

    assert task.cancelled() or isinstance(task.exception(), DatabaseUnavailableError)
    other.execute("INSERT INTO t VALUES (3)")


async def test_the_history_goes_on_after_a_missed_deadline(history: HistoryParts) -> None:
    history.journal.add(make_order(1))
    async with history.writing() as writer:
        assert await writer.flush(20)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2), history.database.transaction() as connection:
                await connection.execute(SLOW)
        history.journal.add(make_order(2))
        assert await writer.flush(20)

    assert await history.ids() == ["c-2", "c-1"]
