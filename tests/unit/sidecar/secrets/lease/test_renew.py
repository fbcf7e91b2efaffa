"""Renewals of current, superseded and inherited leases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tests.unit.sidecar.secrets.agent_harness import DATABASE, AgentHarness, most_in_a_minute
from tests.unit.sidecar.secrets.fake_vault import failure, on

MakeHarness = Callable[..., AgentHarness]


async def test_a_lease_is_renewed_at_two_thirds_and_stays_the_same(make_harness: MakeHarness) -> None:
    harness = make_harness(DATABASE, token_check_interval_s=60.0)
    await harness.start()
    before = harness.read("database.json")
    await harness.clock.advance(0.71 * 3600)
    assert harness.vault.count("sys/leases/renew") == 1
    await harness.clock.advance(2 * 3600)
    assert harness.read("database.json") == before
    assert harness.vault.count("database/creds") == 1


async def test_what_gets_no_successor_is_renewed_to_its_last_moment(make_harness: MakeHarness) -> None:
    harness = make_harness(replace(DATABASE, max_ttl_s=3600.0), token_check_interval_s=60.0)
    harness.vault.lease_ttl, harness.vault.lease_max_ttl = 600.0, 3600.0
    await harness.start()
    harness.prove()
    harness.vault.fails = on("database/creds", lambda operation: failure(403, operation))
    await harness.clock.advance(3500)
    assert harness.vault.alive() == (1, 1)
    assert most_in_a_minute(harness.vault.failures("database/creds")) <= 10


async def test_what_a_predecessor_left_in_use_is_kept_alive(
    make_harness: MakeHarness,
) -> None:
    harness = make_harness(DATABASE)
    harness.vault.token_ttl, harness.vault.lease_ttl = 300.0, 400.0
    await harness.start()
    harness.prove()
    await harness.kill()
    await harness.start()
    harness.agent.acknowledgements.rejected("broker", 2, "database", "authentication_failed", "no")
    await harness.clock.advance(2000)
    assert harness.vault.alive() == (2, 2)
    harness.prove()
    await harness.clock.advance(1)
    assert harness.vault.alive() == (1, 1)


async def test_what_nobody_proves_is_kept_alive_and_reported(make_harness: MakeHarness) -> None:
    harness = make_harness(DATABASE)
    harness.vault.lease_ttl = 600.0
    await harness.start()
    harness.prove()
    await harness.agent.rotate("database")
    await harness.clock.advance(2000)
    assert harness.vault.alive() == (1, 2)
    assert harness.agent.status().stage == "timed_out"
    harness.prove()
    await harness.clock.advance(1)
    assert harness.vault.alive() == (1, 1)
