"""Migration of the history's schema."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from broker.history.database import Database

MIGRATIONS = Path(__file__).with_name("migrations")
NEWEST = "0002"
"""Revision of the last migration."""
LOCK = 0x62726F6B  # any number that nothing else in the database locks


async def ensure_schema(database: Database) -> None:
    """Open a database that needs no login, and migrate it; raises DatabaseUnavailableError if it cannot be used."""
    # The writers of all accounts and their backfills start together; one of them migrates.
    async with database.schema_lock:
        await database.ensure_open()
        async with database.transaction() as connection:
            await migrate(connection)


async def migrate(connection: AsyncConnection) -> None:
    """Run the missing migrations."""
    if await connection.run_sync(_version) == NEWEST:
        return
    # Of several processes that start at once, one migrates and the others wait; then they find nothing to do.
    if connection.dialect.name == "postgresql":
        await connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
    else:
        # The driver begins no transaction for a change of tables: a kill would leave half a step, which no start can
        # make again.
        await connection.exec_driver_sql("BEGIN IMMEDIATE")
    await connection.run_sync(_upgrade)


def _version(connection: sa.Connection) -> str | None:
    # Without Alembic, whose import holds up the event loop for 0.1 s.
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
    return found


def _upgrade(connection: sa.Connection) -> None:
    from alembic import command  # noqa: PLC0415 - 0.1 s of import that only a new schema needs
    from alembic.config import Config  # noqa: PLC0415 - as above

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
