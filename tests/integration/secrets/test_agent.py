"""The agent against a real server and a real database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

import pytest

from sidecar.secrets.agent import SecretsAgent
from sidecar.secrets.status import LastError
from tests.integration.secrets.vault import Vault, until
from tests.openbao import RefusedError

pytestmark = pytest.mark.real


async def test_publishes_a_set_whose_credentials_work(vault: Vault) -> None:
    async with vault.running():
        assert vault.read("venue.json") == {"token": "first"}
        connection = await vault.connect()
        assert await connection.fetchval("select 1") == 1
        await connection.close()
    assert vault.read("manifest.json")["secrets"]["venue"] == {
        "source": "kv",
        "version": 1,
        "expires_at": None,
        "files": ["venue.json"],
    }


async def test_a_new_version_is_published_and_the_lease_stays(vault: Vault) -> None:
    async with vault.running() as agent:
        before = vault.leases()
        vault.bao.write_kv(f"{vault.name}/venue", token="second")
        await until(lambda: vault.read("venue.json") == {"token": "second"})
        await until(lambda: agent.status().generation_published == 2)
        assert vault.leases() == before


async def test_lives_are_told_as_the_server_counts_them(vault: Vault) -> None:
    async with vault.running() as agent:
        (lease,), (accessor,) = vault.leases(), vault.tokens()
        told = agent.status()
        lease_id = f"database/creds/{vault.name}/{lease}"
        counted = vault.bao.call("POST", "sys/leases/lookup", {"lease_id": lease_id})["data"]["ttl"]
        token = vault.bao.call("POST", "auth/token/lookup-accessor", {"accessor": accessor})["data"]["ttl"]
    assert told.secrets[1].expires_in_s == pytest.approx(min(counted, token), abs=1.5)
    assert told.token.expires_in_s == pytest.approx(token, abs=1.5)


async def test_the_old_lease_goes_only_after_the_new_one_is_proved(vault: Vault) -> None:
    async with vault.running() as agent:
        agent.acknowledgements.applied("broker", 1)
        before = set(vault.leases())
        await agent.rotate("database")
        await until(lambda: agent.status().generation_published == 2)
        assert len(vault.leases()) == 2
        agent.acknowledgements.applied("broker", 2)
        await until(lambda: len(vault.leases()) == 1)
        assert not before & set(vault.leases())
        await (await vault.connect()).close()


async def test_a_rejected_set_keeps_both_leases(vault: Vault) -> None:
    async with vault.running() as agent:
        agent.acknowledgements.applied("broker", 1)
        await agent.rotate("database")
        await until(lambda: agent.status().generation_published == 2)
        agent.acknowledgements.rejected("broker", 2, "database", "authentication_failed", "no")
        await until(lambda: agent.status().rejection)
        assert len(vault.leases()) == 2


async def test_a_revoked_token_is_replaced_with_its_lease(vault: Vault) -> None:
    async with vault.running() as agent:
        agent.acknowledgements.applied("broker", 1)
        (accessor,) = vault.tokens()
        vault.bao.call("POST", "auth/token/revoke-accessor", {"accessor": accessor})
        await until(lambda: agent.status().generation_published == 2)
        assert len(vault.tokens()) == 1
        await until(lambda: len(vault.leases()) == 1)
        await (await vault.connect()).close()


async def test_a_policy_without_the_look_at_the_token_costs_no_login(vault: Vault) -> None:
    vault.bao.call("POST", f"auth/approle/role/{vault.name}", {"token_no_default_policy": True})
    settings = vault.settings(token_check_interval_s=0.1)
    async with vault.running(replace(settings, secrets=settings.secrets[1:])) as agent:
        agent.acknowledgements.applied("broker", 1)
        await until(lambda: agent.status().requests.get(("check", "denied"), 0) > 5)
        assert (agent.status().generation_published, len(vault.tokens()), len(vault.leases())) == (1, 1, 1)
        assert len(vault.audited("secrets.token.check")) == 1
        agent.acknowledgements.goodbye("broker")
    await until(lambda: vault.tokens() == [])


async def test_a_secret_whose_metadata_was_deleted_is_read_when_it_is_made_again(vault: Vault) -> None:
    async with vault.running():
        vault.bao.call("DELETE", f"secret/metadata/{vault.name}/venue")
        vault.bao.write_kv(f"{vault.name}/venue", token="second")
        await until(lambda: vault.read("venue.json") == {"token": "second"})


async def test_a_lease_that_an_operator_revoked_is_replaced(vault: Vault) -> None:
    async with vault.running() as agent:
        vault.bao.call("PUT", f"sys/leases/revoke-prefix/database/creds/{vault.name}", {})
        await until(lambda: agent.status().generation_published == 2)
        await (await vault.connect()).close()


async def test_a_wrong_secret_id_does_not_lock_the_role(vault: Vault) -> None:
    good = (vault.place / "secret-id").read_text()
    (vault.place / "secret-id").write_text("wrong")
    agent, stop = SecretsAgent(vault.settings(), audit=vault.audit), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(agent.run(stop))
        await until(lambda: agent.status().token.last_error)
        for _ in range(2):
            await agent.rotate(None)
            await until(lambda: agent.status().token.last_error)
        body = {"role_id": (vault.place / "role-id").read_text(), "secret_id": good}
        vault.bao.call("POST", "auth/approle/login", body)
        (vault.place / "secret-id").write_text(good)
        await until(lambda: agent.status().generation_published == 1)
        stop.set()


@asynccontextmanager
async def refused(vault: Vault) -> AsyncIterator[LastError]:
    """The first error of the token of an agent that runs."""
    agent, stop = SecretsAgent(vault.settings(), audit=vault.audit), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(agent.run(stop))
        await until(lambda: agent.status().token.last_error)
        error = agent.status().token.last_error
        assert error
        yield error
        stop.set()


async def test_a_role_that_was_locked_is_named(vault: Vault) -> None:
    role = (vault.place / "role-id").read_text()
    for _ in range(6):
        with pytest.raises(RefusedError):
            vault.bao.call("POST", "auth/approle/login", {"role_id": role, "secret_id": "wrong"})
    async with refused(vault) as error:
        assert error.name == "role_locked"


async def test_a_token_of_a_few_uses_is_refused_and_revoked(vault: Vault) -> None:
    vault.bao.call("POST", f"auth/approle/role/{vault.name}", {"token_num_uses": 10})
    async with refused(vault) as error:
        assert error.name == "token_use_limited"
        assert vault.tokens() == []


async def test_a_periodic_token_is_kept(vault: Vault) -> None:
    vault.bao.call("POST", f"auth/approle/role/{vault.name}", {"token_period": "6s", "token_max_ttl": "0"})
    settings = vault.settings()
    async with vault.running(replace(settings, auth=replace(settings.auth, ttl_s=1200))) as agent:
        await until(lambda: agent.status().requests.get(("renew", "ok"), 0) >= 3)
        assert (agent.status().token.logins, len(vault.tokens())) == ({"first": 1}, 1)


async def test_a_batch_token_leaves_no_lease(vault: Vault) -> None:
    def has_one_lease_behind_its_proof(agent: SecretsAgent) -> bool:
        agent.acknowledgements.applied("broker", agent.status().generation_published)
        return len(vault.leases()) == 1

    vault.bao.call("POST", f"auth/approle/role/{vault.name}", {"token_type": "batch"})
    for _ in range(2):
        async with vault.running() as agent:
            await until(partial(has_one_lease_behind_its_proof, agent))
    async with vault.running() as agent:
        agent.acknowledgements.applied("broker", agent.status().generation_published)
        agent.acknowledgements.goodbye("broker")
    await until(lambda: vault.leases() == [])


async def test_after_a_goodbye_nothing_is_left(vault: Vault) -> None:
    async with vault.running() as agent:
        agent.acknowledgements.applied("broker", 1)
        agent.acknowledgements.goodbye("broker")
    await until(lambda: vault.tokens() == [])
    await until(lambda: vault.leases() == [])


async def test_a_restart_alone_takes_nothing_that_the_reader_uses(vault: Vault) -> None:
    async with vault.running() as agent:
        agent.acknowledgements.applied("broker", 1)
    (lease,) = vault.leases()
    async with vault.running() as successor:
        await until(lambda: successor.status().generation_published == 2)
        assert lease in vault.leases()
        successor.acknowledgements.applied("broker", 2)
        await until(lambda: len(vault.tokens()) == 1 and len(vault.leases()) == 1)
        assert lease not in vault.leases()
