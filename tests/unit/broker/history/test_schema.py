from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from broker.history import tables
from broker.history.archive import FILLS, HistoryFilter
from broker.history.rows import fill_row
from broker.history.schema import MIGRATIONS, NEWEST, migrate
from tests.unit.broker.history.conftest import HistoryParts
from tests.unit.broker.history.fake_journal import make_order


async def test_migrations_make_the_tables_that_the_code_declares(history: HistoryParts) -> None:
    await history.database.ensure_open()

    def differences(connection: sa.Connection) -> list[Any]:
        return list(compare_metadata(MigrationContext.configure(connection), tables.metadata))

    async with history.database.transaction() as connection:
        await migrate(connection)
        await migrate(connection)
        assert await connection.run_sync(differences) == []


async def test_database_of_the_first_version_is_migrated_with_its_rows(history: HistoryParts) -> None:
    await history.database.ensure_open()
    order = make_order(1)
    row = fill_row(order.fills[0], order)
    old = {
        name: row[name]
        for name in row
        if name not in {"time_ns", "commission", "financing", "guaranteed_fee", "trades"}
    }

    def first_version(connection: sa.Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.set_main_option("path_separator", "os")
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.execute(sa.insert(tables.fills).values(old))

    async with history.database.transaction() as connection:
        await connection.run_sync(first_version)
    async with history.database.transaction() as connection:
        await migrate(connection)
    page = await history.archive.page(FILLS, HistoryFilter(), limit=10)

    assert page.rows == [row]
    assert (row["commission"], row["trades"], row["time_ns"]) == (None, None, None)


async def test_migration_that_is_cut_short_leaves_nothing_and_is_made_again(history: HistoryParts) -> None:
    await history.database.ensure_open()

    def die(*args: Any) -> None:
        if "ADD COLUMN time_ns" in args[2]:
            raise OSError("killed")

    def columns(connection: sa.Connection) -> set[str]:
        return {item["name"] for item in sa.inspect(connection).get_columns("fills")}

    async with history.database.transaction() as connection:
        sa.event.listen(connection.sync_connection, "before_cursor_execute", die)
        with pytest.raises(OSError, match="killed"):
            await migrate(connection)
        await connection.rollback()
        sa.event.remove(connection.sync_connection, "before_cursor_execute", die)
    async with history.database.transaction() as connection:
        assert not await connection.run_sync(lambda found: sa.inspect(found).has_table("fills"))
        await migrate(connection)
        assert "time_ns" in await connection.run_sync(columns)


def test_newest_step_is_the_head_of_the_migrations() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("path_separator", "os")

    assert ScriptDirectory.from_config(config).get_heads() == [NEWEST]
