"""Answers of the probes while secrets age, on a fake server and clock."""

from __future__ import annotations

from collections.abc import Callable

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
