from __future__ import annotations

from pathlib import Path

import pytest

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
