"""Answers of the probes while secrets age, on a fake server and clock."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sidecar.health.conditions import HealthCondition, HealthFacts, HealthSettings, evaluate
from sidecar.status_facts import secrets_facts
from tests.unit.sidecar.secrets.agent_harness import DATABASE, KEYS, VENUE, AgentHarness
from tests.unit.sidecar.secrets.fake_vault import failure, on, unreachable

MakeHarness = Callable[..., AgentHarness]
STEP_S = 0.25
"""As often as the sidecar evaluates its conditions."""


def condition(harness: AgentHarness, name: str) -> HealthCondition:
    facts = HealthFacts(now_ns=0, secrets=secrets_facts(harness.agent.status()))
    return next(item for item in evaluate(facts, HealthSettings(secrets_margin_s=30.0)) if item.name == name)


async def until_fresh_is(harness: AgentHarness, wanted: bool) -> float:
    """The time when the condition has become so."""
    for _ in range(4 * 3600):
        if condition(harness, "SecretsFresh").ok is wanted:
            return harness.clock.now
        await harness.clock.advance(STEP_S)
    raise AssertionError("it stayed as it was")


async def test_one_secret_that_is_denied_keeps_all_from_being_published(make_harness: MakeHarness) -> None:
    harness = make_harness(VENUE, KEYS)
    harness.vault.fails = on("secret/data/keys", lambda operation: failure(403, operation))
    await harness.start()
    await harness.clock.advance(60)
    found = condition(harness, "SecretsPublished")
    assert (found.ok, found.reason) == (False, "Denied")
    assert not (harness.place / "published" / "..data").exists()


async def test_readiness_ends_at_the_margin_and_comes_back_with_the_renewal(make_harness: MakeHarness) -> None:
    harness = make_harness(DATABASE)
    harness.vault.lease_ttl = 600.0
    await harness.start()
    harness.prove()
    (lease,) = harness.vault.leases.values()
    harness.vault.fails = unreachable
    unready = await until_fresh_is(harness, False)
    harness.vault.fails = None
    ready = await until_fresh_is(harness, True)
    renewed = [item.time for item in harness.vault.requests if "leases/renew" in item.path and item.outcome == "ok"]
    assert abs(unready - (lease.ends - harness.vault.lease_max_ttl + 600.0 - 30.0)) <= 1.0
    assert 0.0 <= ready - renewed[0] <= 1.0


@pytest.mark.parametrize("ttl_s", [20.0, 60.0, 100.0])
async def test_a_secret_of_a_short_life_is_not_late_in_each_of_its_lives(
    make_harness: MakeHarness, ttl_s: float
) -> None:
    harness = make_harness(DATABASE)
    harness.vault.lease_ttl = ttl_s
    await harness.start()
    harness.prove()
    for _ in range(int(4 * ttl_s / STEP_S)):
        assert condition(harness, "SecretsFresh").ok
        await harness.clock.advance(STEP_S)
        harness.prove()
    harness.vault.fails = unreachable
    await until_fresh_is(harness, False)
    assert 0 < (harness.agent.status().secrets[0].expires_in_s or 0) <= 0.15 * ttl_s


async def test_a_token_of_a_short_life_makes_no_secret_late(make_harness: MakeHarness) -> None:
    harness = make_harness(DATABASE)
    harness.vault.token_ttl = 60.0
    await harness.start()
    harness.prove()
    for _ in range(int(240 / STEP_S)):
        assert condition(harness, "SecretsFresh").ok
        await harness.clock.advance(STEP_S)
        harness.prove()
