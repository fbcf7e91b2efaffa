"""What the probes say while secrets age, on a fake server and clock."""

from __future__ import annotations

from collections.abc import Callable

from sidecar.health.conditions import HealthCondition, HealthFacts, evaluate
from sidecar.health.settings import HealthSettings
from sidecar.status_facts import secrets_facts
from tests.unit.sidecar.secrets.agent_fixture import DATABASE, KEYS, VENUE, Scene
from tests.unit.sidecar.secrets.fake_vault import failure, on, unreachable

MakeScene = Callable[..., Scene]
STEP_S = 0.25
"""As often as the sidecar evaluates its conditions."""


def condition(scene: Scene, name: str) -> HealthCondition:
    facts = HealthFacts(now_ns=0, secrets=secrets_facts(scene.agent.status()))
    return next(item for item in evaluate(facts, HealthSettings(secrets_margin_s=30.0)) if item.name == name)


async def until_fresh_is(scene: Scene, wanted: bool) -> float:
    """The time when the condition has become so."""
    for _ in range(4 * 3600):
        if condition(scene, "SecretsFresh").ok is wanted:
            return scene.clock.now
        await scene.clock.advance(STEP_S)
    raise AssertionError("it stayed as it was")


async def test_one_secret_that_is_denied_keeps_all_from_being_published(make_scene: MakeScene) -> None:
    scene = make_scene(VENUE, KEYS)
    scene.vault.fails = on("secret/data/keys", lambda operation: failure(403, operation))
    await scene.start()
    await scene.clock.advance(60)
    found = condition(scene, "SecretsPublished")
    assert (found.ok, found.reason) == (False, "Denied")
    assert not (scene.place / "published" / "..data").exists()


async def test_readiness_ends_at_the_margin_and_comes_back_with_the_renewal(make_scene: MakeScene) -> None:
    scene = make_scene(DATABASE)
    scene.vault.lease_ttl = 600.0
    await scene.start()
    scene.prove()
    (lease,) = scene.vault.leases.values()
    scene.vault.fails = unreachable
    unready = await until_fresh_is(scene, False)
    scene.vault.fails = None
    ready = await until_fresh_is(scene, True)
    renewed = [item.time for item in scene.vault.requests if "leases/renew" in item.path and item.outcome == "ok"]
    assert abs(unready - (lease.ends - scene.vault.lease_max_ttl + 600.0 - 30.0)) <= 1.0
    assert 0.0 <= ready - renewed[0] <= 1.0
