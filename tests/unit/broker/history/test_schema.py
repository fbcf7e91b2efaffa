from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from broker.history import tables
from broker.history.schema import MIGRATIONS, NEWEST, migrate
from tests.unit.broker.history.conftest import HistoryParts


async def test_migrations_make_the_tables_that_the_code_declares(history: HistoryParts) -> None:
    await history.database.ensure_open()

    def differences(connection: sa.Connection) -> list[Any]:
        return list(compare_metadata(MigrationContext.configure(connection), tables.metadata))

    async with history.database.transaction() as connection:
        await migrate(connection)
        await migrate(connection)
        assert await connection.run_sync(differences) == []


def test_newest_step_is_the_head_of_the_migrations() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("path_separator", "os")

    assert ScriptDirectory.from_config(config).get_heads() == [NEWEST]
