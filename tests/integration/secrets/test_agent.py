"""The agent against a real server and a real database."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.integration.secrets.vault import Vault, until

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
