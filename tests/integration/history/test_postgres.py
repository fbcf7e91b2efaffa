from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from decimal import Decimal
from itertools import count
from pathlib import Path

import asyncpg
import pytest
import sqlalchemy as sa

from broker.config import CredentialSettings
from broker.credentials.proof import CredentialNeeds
from broker.credentials.watcher import CredentialWatcher
from broker.history.archive import FILLS, ORDERS, Archive, HistoryFilter
from broker.history.backfill import TransactionGap, find_gaps
from broker.history.database import Database, DatabaseLogin, DatabaseUnavailableError, LoginRefusedError
from broker.history.repair import repair_fills
from broker.history.schema import migrate
from broker.history.settings import HistorySettings
from pod_runtime.secret import Secret
from tests.postgres import Postgres, running_postgres
from tests.unit.broker.certificates import make_pair
from tests.unit.broker.history.conftest import HistoryParts
from tests.unit.broker.history.fake_journal import ACCOUNT, START, make_order, make_transaction
from tests.unit.broker.history.test_repair import exit_as_it_was_written, told_of, wrote
from tests.unit.broker.secret_volume import publish, usual_files

pytestmark = pytest.mark.real
OWNER = "broker_owner"
_NAMES = count(1)


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with running_postgres() as running:
        yield running


@pytest.fixture
async def superuser(server: Postgres) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(
        host="127.0.0.1", port=server.port, user=server.user, password=server.password, database=server.database
    )
    yield connection
    await connection.close()


@pytest.fixture
async def settings(server: Postgres, superuser: asyncpg.Connection) -> HistorySettings:
    """A database of its own, whose tables belong to a role that short-lived users are members of."""
    name = f"history_{next(_NAMES)}"
    await superuser.execute(f"DO $$ BEGIN CREATE ROLE {OWNER}; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
    await superuser.execute(f"CREATE DATABASE {name} OWNER {OWNER}")
    return HistorySettings(
        url=f"postgresql+asyncpg://127.0.0.1:{server.port}/{name}", role=OWNER, batch_delay_s=0, deadline_s=5.0
    )


async def lease(superuser: asyncpg.Connection) -> DatabaseLogin:
    """A user as a dynamic secret makes it."""
    name = f"v-broker-{next(_NAMES)}"
    await superuser.execute(f"CREATE ROLE \"{name}\" LOGIN PASSWORD 'pw-{name}' IN ROLE {OWNER}")
    return DatabaseLogin(name, Secret(f"pw-{name}"))


async def revoke(superuser: asyncpg.Connection, login: DatabaseLogin) -> None:
    await superuser.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", login.username)
    await superuser.execute(f'DROP ROLE "{login.username}"')


async def adopt(database: Database, login: DatabaseLogin) -> None:
    engine = database.engine(login)
    await database.prove(engine)
    await database.adopt(engine)


@pytest.fixture
async def history(settings: HistorySettings) -> AsyncIterator[HistoryParts]:
    made = HistoryParts(settings)
    yield made
    await made.database.close()


async def numbers(history: HistoryParts) -> list[int]:
    found: list[int] = []
    cursor: str | None = None
    while True:
        page = await history.archive.page(ORDERS, HistoryFilter(), limit=1000, cursor=cursor)
        found += [int(row["client_order_id"].removeprefix("c-")) for row in page.rows]
        if (cursor := page.cursor) is None:
            return sorted(found)


async def test_a_connection_whose_server_is_gone_ends_by_itself(
    history: HistoryParts, superuser: asyncpg.Connection
) -> None:
    await adopt(history.database, await lease(superuser))
    async with history.database.transaction() as connection:
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
        used = driver._transport.get_extra_info("socket")
        options = (socket.TCP_KEEPIDLE, socket.TCP_USER_TIMEOUT)
        assert [used.getsockopt(socket.IPPROTO_TCP, option) for option in options] == [10, 15_000]


async def test_history_waits_for_a_login_and_is_complete(history: HistoryParts, superuser: asyncpg.Connection) -> None:
    for number in range(1, 51):
        history.journal.add(make_order(number))
    history.journal.add(make_transaction(7))
    async with history.writing() as writer:
        await asyncio.sleep(0)
        await adopt(history.database, await lease(superuser))
        assert await writer.flush(20)

    assert await numbers(history) == list(range(1, 51))
    assert await history.archive.order(make_order(3).id) == make_order(3)
    assert history.journal.released == 51


async def test_rows_of_an_old_version_are_repaired(history: HistoryParts, superuser: asyncpg.Connection) -> None:
    await adopt(history.database, await lease(superuser))
    await wrote(history, exit_as_it_was_written(8), told_of(8), exit_as_it_was_written(9))
    assert await repair_fills(history.database, ACCOUNT) == 1
    (fill,) = (await history.archive.page(FILLS, HistoryFilter(equal={"instrument": "EUR_USD"}), limit=9)).rows

    assert (fill["side"], fill["commission"], fill["time_ns"]) == ("sell", Decimal("0.06"), 1767607200123456789)


async def test_gaps_are_found_page_by_page(history: HistoryParts, superuser: asyncpg.Connection) -> None:
    await adopt(history.database, await lease(superuser))
    await wrote(history, *map(make_transaction, (3, 4, 8, 9, 12)))
    async with history.database.transaction() as connection:
        assert await find_gaps(connection, ACCOUNT, 3, limit=2) == (8, [TransactionGap(4, 8)])
        assert await find_gaps(connection, ACCOUNT, 8, limit=2) == (12, [TransactionGap(9, 12)])
        assert await find_gaps(connection, ACCOUNT, 12, limit=2) == (None, [])


async def test_pages_of_a_filter_that_no_index_serves_have_every_row_once(
    history: HistoryParts, superuser: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1, 61):
        history.journal.add(make_order(number))
    async with history.writing() as writer:
        await adopt(history.database, await lease(superuser))
        assert await writer.flush(20)
    monkeypatch.setattr("broker.history.archive.FIRST_WINDOW", 7)
    ticks = count(0.0, history.settings.deadline_s)
    archive = Archive(history.database, ACCOUNT, now_s=lambda: next(ticks))
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = await archive.page(ORDERS, HistoryFilter(equal={"instrument": "USD_JPY"}), limit=2, cursor=cursor)
        seen += [row["client_order_id"] for row in page.rows]
        if (cursor := page.cursor) is None:
            break
    assert seen == [f"c-{number}" for number in range(60, 0, -3)]


async def test_a_statement_ends_at_the_deadline_also_without_its_caller(
    settings: HistorySettings, superuser: asyncpg.Connection
) -> None:
    database = Database(replace(settings, deadline_s=0.5))
    login = await lease(superuser)
    await adopt(database, login)
    try:
        with pytest.raises(DatabaseUnavailableError, match="not done within"):
            async with database.transaction() as connection:
                await connection.execute(sa.text("SELECT pg_sleep(600)"))
        await no_statement_runs(superuser, login)
        engine = database.engine(login)
        async with engine.connect() as connection:
            with pytest.raises(sa.exc.DBAPIError, match="statement timeout"):
                await connection.execute(sa.text("SELECT pg_sleep(600)"))
        await engine.dispose()
    finally:
        await database.close()


async def no_statement_runs(superuser: asyncpg.Connection, login: DatabaseLogin) -> None:
    """Waits until no statement of a user is running."""
    active = "SELECT count(*) FROM pg_stat_activity WHERE usename = $1 AND state = 'active'"
    async with asyncio.timeout(60):
        while await superuser.fetchval(active, login.username):
            await asyncio.sleep(0.05)


async def test_rotation_fails_no_query_and_leaves_no_connection(
    history: HistoryParts, superuser: asyncpg.Connection
) -> None:
    login = await lease(superuser)
    await adopt(history.database, login)
    asked = 0

    async def ask() -> None:
        nonlocal asked
        while True:
            await history.archive.page(ORDERS, HistoryFilter(), limit=10)
            asked += 1
            await asyncio.sleep(0)

    async with history.writing() as writer:
        history.journal.add(make_order(1))
        assert await writer.flush(20)
        readers = [asyncio.create_task(ask()) for _ in range(4)]
        for number in range(2, 22):
            history.journal.add(make_order(number))
            successor = await lease(superuser)
            replaced = history.database._pool
            await adopt(history.database, successor)
            assert replaced is not None
            await replaced.closed.wait()
            await revoke(superuser, login)
            login = successor
        assert await writer.flush(20)
        for reader in readers:
            assert not reader.done(), reader.exception()
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)

    assert asked > 20
    assert await numbers(history) == list(range(1, 22))
    await history.database.close()
    left = await superuser.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'broker' AND usename <> $1", login.username
    )
    assert left == 0


async def test_database_that_refuses_for_a_while_loses_nothing(
    history: HistoryParts, superuser: asyncpg.Connection
) -> None:
    login = await lease(superuser)
    await adopt(history.database, login)
    async with history.writing() as writer:
        history.journal.add(make_order(1))
        assert await writer.flush(20)
        await revoke(superuser, login)
        for number in range(2, 200):
            history.journal.add(make_order(number))
        await history.until("DatabaseUnavailable")
        assert writer.backlog() == 198

        await adopt(history.database, await lease(superuser))
        assert await writer.flush(20)
    assert await numbers(history) == list(range(1, 200))
    assert history.condition().ok


async def test_wrong_password_is_a_refusal_and_a_dead_port_is_not(
    settings: HistorySettings, superuser: asyncpg.Connection
) -> None:
    database = Database(settings)
    login = await lease(superuser)
    engine = database.engine(DatabaseLogin(login.username, Secret("wrong-password")))
    with pytest.raises(LoginRefusedError) as caught:
        await database.prove(engine)
    await engine.dispose()
    assert "wrong-password" not in str(caught.value)

    nowhere = Database(HistorySettings(url="postgresql+asyncpg://127.0.0.1:1/db", deadline_s=2))
    engine = nowhere.engine(login)
    with pytest.raises(DatabaseUnavailableError) as unavailable:
        await nowhere.prove(engine)
    await engine.dispose()
    assert not isinstance(unavailable.value, LoginRefusedError)


@pytest.fixture
async def offers_tls(superuser: asyncpg.Connection) -> AsyncIterator[Path]:
    """Lets the server offer TLS; its certificate, which it signed itself."""
    place = Path(await superuser.fetchval("SHOW data_directory"))
    owner = place.stat()
    for name, text in zip(("server.crt", "server.key"), make_pair("postgres"), strict=True):
        (place / name).write_bytes(text)
        (place / name).chmod(0o600)
        os.chown(place / name, owner.st_uid, owner.st_gid)
    await set_tls(superuser, "on")
    yield place / "server.crt"
    await set_tls(superuser, "off")


async def set_tls(superuser: asyncpg.Connection, state: str) -> None:
    await superuser.execute(f"ALTER SYSTEM SET ssl = {state}")
    await superuser.execute("SELECT pg_reload_conf()")
    async with asyncio.timeout(60):
        while await superuser.fetchval("SHOW ssl") != state:
            await asyncio.sleep(0.02)


async def uses_tls(superuser: asyncpg.Connection, settings: HistorySettings, login: DatabaseLogin) -> bool:
    database = Database(settings)
    await adopt(database, login)
    async with database.transaction() as connection:
        process = (await connection.execute(sa.text("SELECT pg_backend_pid()"))).scalar()
        found: bool = await superuser.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = $1", process)
    await database.close()
    return found


@pytest.mark.parametrize("mode", [None, "disable", "prefer", "verify-full"])
async def test_tls_is_as_the_settings_say_whatever_the_environment_does(
    settings: HistorySettings,
    superuser: asyncpg.Connection,
    offers_tls: Path,
    monkeypatch: pytest.MonkeyPatch,
    mode: str | None,
) -> None:
    login = await lease(superuser)
    if mode is not None:
        monkeypatch.setenv("PGSSLMODE", mode)
        monkeypatch.setenv("PGTARGETSESSIONATTRS", "standby")
        monkeypatch.setenv("PGSSLNEGOTIATION", "direct")

    assert not await uses_tls(superuser, settings, login)
    assert await uses_tls(superuser, replace(settings, ca_file=offers_tls), login)


async def test_processes_that_start_at_once_migrate_once(
    settings: HistorySettings, superuser: asyncpg.Connection, tmp_path: Path
) -> None:
    databases = [Database(settings) for _ in range(4)]
    for database in databases:
        await adopt(database, await lease(superuser))

    async def start(database: Database) -> None:
        async with database.transaction() as connection:
            await migrate(connection)

    await asyncio.gather(*map(start, databases))
    for database in databases:
        await database.close()


class Announced:
    def __init__(self) -> None:
        self.said: list[tuple[object, ...]] = []

    def secrets_applied(self, generation: int) -> None:
        self.said.append(("applied", generation))

    def secrets_rejected(self, generation: int, secret: str, reason: str, message: str) -> None:
        self.said.append(("rejected", generation, secret, reason))


class AgreeableVenue:
    async def prove(self, token: Secret) -> None:
        pass


def with_login(login: DatabaseLogin) -> dict[str, object]:
    return {**usual_files(), "database.json": {"username": login.username, "password": login.password.reveal()}}


async def test_generation_brings_a_login_that_is_proved_before_the_old_one_ends(
    history: HistoryParts, superuser: asyncpg.Connection, tmp_path: Path
) -> None:
    announced = Announced()
    credentials = CredentialWatcher(
        CredentialSettings(directory=tmp_path, retry_s=1.0),
        CredentialNeeds(accounts=("101-004-1234567-001",), needs_tls=False),
        venues=[AgreeableVenue()],
        database=history.database,
        tls=None,
        conditions=history.conditions,
        emit=history.events.append,
        announce=announced,
        clock=lambda: START,
    )
    first, second = await lease(superuser), await lease(superuser)
    publish(tmp_path, 1, with_login(first))
    await credentials.poll(0)
    async with history.database.transaction() as connection:
        await migrate(connection)

    publish(tmp_path, 2, with_login(DatabaseLogin(second.username, Secret("wrong"))))
    await credentials.poll(1)
    assert announced.said == [("applied", 1), ("rejected", 2, "database", "Unauthorized")]
    await history.archive.page(ORDERS, HistoryFilter(), limit=1)

    publish(tmp_path, 3, with_login(second))
    replaced = history.database._pool
    await credentials.poll(2)
    assert announced.said[-1] == ("applied", 3)
    assert replaced is not None
    await replaced.closed.wait()
    await revoke(superuser, first)
    await history.archive.page(ORDERS, HistoryFilter(), limit=1)
