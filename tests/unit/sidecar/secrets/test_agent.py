"""The agent as a whole, on a fake server that counts requests."""

from __future__ import annotations

from collections.abc import Callable

from tests.unit.sidecar.secrets.agent_harness import DATABASE, AgentHarness

MakeHarness = Callable[..., AgentHarness]


async def test_all_named_producers_must_prove_a_set(make_harness: MakeHarness) -> None:
    harness = make_harness(DATABASE, acknowledged_by=("broker", "pricer"))
    await harness.start()
    harness.agent.acknowledgements.applied("broker", 1)
    assert harness.agent.status().generation_acknowledged == 0
    harness.agent.acknowledgements.applied("pricer", 1)
    assert harness.agent.status().generation_acknowledged == 1


async def test_without_secrets_nothing_is_asked(make_harness: MakeHarness) -> None:
    harness = make_harness()
    harness.settings = type(harness.settings)()
    harness.agent = harness._agent()
    await harness.start()
    await harness.clock.advance(10)
    assert harness.vault.requests == []
    await harness.stop()
