"""Kills, rotations under readers, and what must never be seen."""

from __future__ import annotations

import asyncio
import base64
import json
import math
import os
import random
import re
import signal
import threading
import time
import urllib.parse
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Self

import asyncpg
import pytest

from sidecar.secrets.settings import AuthSettings
from tests.integration.secrets.reader_process import process, written
from tests.integration.secrets.vault import Vault, until

pytestmark = pytest.mark.real
ROTATIONS = int(os.environ.get("ROTATIONS", "60"))
"""1,000 in a soak."""
KILL_STEPS = int(os.environ.get("KILL_STEPS", "5"))
"""Of the 84 calls at most that change a file while a successor takes over; all of them in a soak."""
OUTAGES_S = [float(text) for text in os.environ.get("OUTAGES_S", "2").split()]
"""25 and 75 in a soak."""
REVOKE = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{{name}}'"""
"""As our own role does: what is revoked too early is noticed at once, by the connections that use it."""
SEED = int(os.environ.get("SEED") or random.randrange(1 << 30))


def generation(vault: Vault) -> int:
    try:
        return int(vault.read("manifest.json")["generation"])
    except FileNotFoundError:
        return 0


async def test_ten_kills_leave_one_lease_and_one_token(vault: Vault) -> None:
    vault.bao.call("POST", f"auth/approle/role/{vault.name}", {"token_ttl": "4s"})
    settings = vault.settings()
    auth: AuthSettings = replace(settings.auth, ttl_s=1200)
    path = written(vault, replace(settings, auth=auth))
    print("seed", SEED)
    chance = random.Random(SEED)
    for _ in range(10):
        with process(vault, path):
            before = generation(vault)
            await until(partial(lambda before: generation(vault) > before or chance.random() < 0.02, before))
            await asyncio.sleep(chance.random() * 0.02)
    left = generation(vault)
    with process(vault, path, "prove"):
        await until(lambda: settled(vault, left))
        await log_in_to_the_database(vault)


async def log_in_to_the_database(vault: Vault) -> None:
    connection = await vault.connect()
    assert await connection.fetchval("select 1") == 1
    await connection.close()


async def test_a_kill_at_any_step_leaves_one_lease_and_one_token(vault: Vault) -> None:
    vault.bao.call("POST", f"auth/approle/role/{vault.name}", {"token_ttl": "4s"})
    settings = vault.settings()
    auth: AuthSettings = replace(settings.auth, ttl_s=1200)
    path = written(vault, replace(settings, auth=auth, grace_s=0.5))
    print("seed", SEED)
    died = 0
    for step in steps_to_die_at():
        with process(vault, path, "prove", f"die={step}") as child:
            before = generation(vault)
            await until(
                partial(lambda child, before: child.poll() is not None or settled(vault, before), child, before)
            )
            died += child.poll() == -signal.SIGKILL
        left = generation(vault)
        with process(vault, path, "prove"):
            await until(partial(lambda left: settled(vault, left), left))
            await log_in_to_the_database(vault)
    print("died", died)
    assert died > 0


def settled(vault: Vault, before: int) -> bool:
    """A newer set is published and proved, and nothing else is held at the server."""
    return generation(vault) > before and (len(vault.tokens()), len(vault.leases())) == (1, 1)


def steps_to_die_at() -> list[int]:
    steps = range(1, 85)
    return list(steps) if len(steps) <= KILL_STEPS else sorted(random.Random(SEED).sample(steps, KILL_STEPS))


@pytest.mark.parametrize("seconds", OUTAGES_S)
async def test_an_outage_of_most_of_the_remaining_life_changes_no_credential(vault: Vault, seconds: float) -> None:
    """It begins before the renewal is due (at 60 % of the life at the earliest) and lasts 80 % of what is left."""
    life = math.ceil(seconds / (0.8 * 0.41))
    vault.database(ttl=f"{life}s", max_ttl="24h")
    async with vault.running() as agent:
        issued, before = time.monotonic(), vault.read("database.json")
        await asyncio.sleep(0.59 * life - (time.monotonic() - issued))
        os.kill(vault.bao.process.pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            os.kill(vault.bao.process.pid, signal.SIGCONT)
        await until(lambda: agent.status().requests.get(("renew", "ok"), 0) == 1)
        await asyncio.sleep(0.2 * life)
        assert agent.status().requests.get(("renew", "ok"), 0) == 1
        assert vault.read("database.json") == before
        assert agent.status().secrets[1].reads == {"first": 1}
        assert agent.status().token.logins == {"first": 1}
        await log_in_to_the_database(vault)


async def test_a_kill_where_the_secret_id_is_used_up_takes_nothing_and_leaves_nothing(vault: Vault) -> None:
    vault.bao.call("POST", f"auth/approle/role/{vault.name}", {"secret_id_num_uses": 1})
    secret_id = vault.bao.call("POST", f"auth/approle/role/{vault.name}/secret-id", {})["data"]["secret_id"]
    (vault.place / "secret-id").write_text(secret_id)
    path = written(vault, vault.settings())
    for _ in range(3):
        before = generation(vault)
        with process(vault, path):
            await until(partial(lambda before: generation(vault) > before, before))
    with process(vault, path, "prove") as child:
        await until(lambda: settled(vault, before))
        await log_in_to_the_database(vault)
        await until(lambda: b"secrets.revoke" in (vault.place / "log").read_bytes())
        child.send_signal(signal.SIGTERM)
        assert child.wait(60) == 0
    await until(lambda: vault.tokens() == [] and vault.leases() == [])


async def test_a_signal_after_the_goodbye_leaves_nothing(vault: Vault) -> None:
    with process(vault, written(vault, vault.settings()), "prove") as child:
        await until(lambda: generation(vault) == 1)
        await until(lambda: b"secrets.acknowledge" in (vault.place / "log").read_bytes())
        child.send_signal(signal.SIGTERM)
        assert child.wait(60) == 0
    await until(lambda: vault.tokens() == [] and vault.leases() == [])


async def test_a_signal_before_it_leaves_all_to_a_successor(vault: Vault) -> None:
    with process(vault, written(vault, vault.settings())) as child:
        await until(lambda: generation(vault) == 1)
        child.send_signal(signal.SIGTERM)
        assert child.wait(60) == 0
    assert (len(vault.tokens()), len(vault.leases())) == (1, 1)


class Readers:
    """Threads that read the set in a loop, by its directory and by its links."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=read) for read in (self._whole, self._whole, self._links)]
        self.faults: list[str] = []
        self.reads = 0

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _whole(self) -> None:
        """All files of one set belong together: both carry the version that the manifest says."""
        while not self._stop.wait(0.0005):
            try:
                place = (self._place / "..data").resolve(strict=True)
                venue = json.loads((place / "venue.json").read_text())
                manifest = json.loads((place / "manifest.json").read_text())
                database = json.loads((place / "database.json").read_text())
            except (OSError, ValueError) as error:
                self.faults.append(repr(error))
                continue
            self.reads += 1
            if str(manifest["secrets"]["venue"]["version"]) != venue["token"] or not database["password"]:
                self.faults.append("torn")

    def _links(self) -> None:
        while not self._stop.wait(0.0005):
            try:
                json.loads((self._place / "venue.json").read_text())
            except (OSError, ValueError) as error:
                self.faults.append(repr(error))


class Querying:
    """A client that queries all the time and moves to what is published as the broker's pool does."""

    def __init__(self, vault: Vault, connection: asyncpg.Connection) -> None:
        self._vault = vault
        self._connection = connection
        self._in_use = asyncio.Lock()
        self.queries = 0

    async def run(self) -> None:
        while True:
            async with self._in_use:
                assert await self._connection.fetchval("select 1") == 1
            self.queries += 1
            await asyncio.sleep(0.001)

    async def move(self) -> None:
        connection = await self._vault.connect()
        async with self._in_use:
            old, self._connection = self._connection, connection
        await old.close()

    async def close(self) -> None:
        await self._connection.close()


async def test_rotations_under_readers_tear_no_set_and_fail_no_query(vault: Vault) -> None:
    vault.bao.write_kv(f"{vault.name}/venue", token="2")
    vault.bao.call("DELETE", f"secret/metadata/{vault.name}/venue")
    vault.bao.write_kv(f"{vault.name}/venue", token="1")
    settings = vault.settings(poll_interval_s=0.1, grace_s=5.0)
    vault.database(ttl="1h", max_ttl="24h", revoke=REVOKE)
    async with vault.running(settings) as agent, asyncio.TaskGroup() as group:
        client = Querying(vault, await vault.connect())
        querying = group.create_task(client.run())
        with Readers(settings.directory) as readers:
            for number in range(2, ROTATIONS + 2):
                before = agent.status().generation_published
                vault.bao.write_kv(f"{vault.name}/venue", token=str(number))
                if number % 3 == 0:
                    await agent.rotate("database")
                await until(partial(lambda before: agent.status().generation_published > before, before))
                # A further generation may come in between: only the one that was there before the move is proved.
                published = agent.status().generation_published
                await client.move()
                agent.acknowledgements.applied("broker", published)
        querying.cancel()
        await asyncio.gather(querying, return_exceptions=True)
        await client.close()
        print("reads", readers.reads, "queries", client.queries)
        assert readers.faults == []
        assert client.queries > ROTATIONS
        assert readers.reads > ROTATIONS
        agent.acknowledgements.applied("broker", agent.status().generation_published)
        await until(lambda: len(vault.leases()) == 1)


async def test_canaries_appear_nowhere(vault: Vault) -> None:
    canary = f'cänary"/+{random.getrandbits(64):x}'
    vault.bao.write_kv(f"{vault.name}/venue", token=canary)
    with process(vault, written(vault, vault.settings(poll_interval_s=0.2)), "prove") as child:
        await until(lambda: generation(vault) >= 1)
        vault.bao.write_kv(f"{vault.name}/venue", token=canary + "2")
        await until(lambda: generation(vault) >= 2)
        (accessor,) = vault.tokens()
        vault.bao.call("POST", "auth/token/revoke-accessor", {"accessor": accessor})
        await until(lambda: generation(vault) >= 3)
        places = {name: Path(f"/proc/{child.pid}/{name}").read_bytes() for name in ("environ", "cmdline")}
        limits = Path(f"/proc/{child.pid}/limits").read_text()
        password = vault.read("database.json")["password"]
        secret_id = (vault.place / "secret-id").read_text()
        child.send_signal(signal.SIGTERM)
        child.wait(60)
    places |= {
        "log": (vault.place / "log").read_bytes(),
        "manifest": (vault.place / "published" / "manifest.json").read_bytes(),
    }
    places |= {"journal": (vault.place / "leases" / "leases.json").read_bytes()}
    assert re.search(r"^Max core file size\s+0\s+0\s", limits, re.MULTILINE)
    for secret in (canary, password, secret_id):
        for form in forms(secret):
            assert [name for name, text in places.items() if form.encode() in text] == []


def forms(secret: str) -> list[str]:
    """Forms of a secret where it leaked."""
    return [
        secret,
        json.dumps(secret)[1:-1],
        urllib.parse.quote(secret, safe=""),
        base64.b64encode(secret.encode()).decode().rstrip("="),
    ]


async def test_a_stopped_server_costs_nothing_but_time(vault: Vault) -> None:
    async with vault.running(vault.settings(poll_interval_s=0.2)) as agent:
        before = vault.read("database.json")
        os.kill(vault.bao.process.pid, signal.SIGSTOP)
        try:
            await until(lambda: agent.status().secrets[0].last_error is not None)
            stalled = agent.status()
        finally:
            os.kill(vault.bao.process.pid, signal.SIGCONT)
        assert stalled.secrets[0].last_error
        assert stalled.secrets[0].last_error.name == "timeout"
        started = time.monotonic()
        await until(lambda: agent.status().secrets[0].state == "fresh" and agent.status().token.state == "valid")
        print("recovered after", time.monotonic() - started)
        assert vault.read("database.json") == before
        assert len(vault.tokens()) == 1
