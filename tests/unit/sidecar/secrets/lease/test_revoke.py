"""Revocations: after a proof, after a crash, and at the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from sidecar.secrets.errors import VaultError, VaultFault
from sidecar.secrets.settings import AuthSettings
from tests.unit.sidecar.secrets.agent_harness import DATABASE, AgentHarness
from tests.unit.sidecar.secrets.fake_vault import Token, unreachable

MakeHarness = Callable[..., AgentHarness]


async def test_a_lease_whose_answer_was_lost_goes_with_its_token(make_harness: MakeHarness) -> None:
    harness = make_harness(DATABASE)
    lost = iter([VaultError(VaultFault.TIMEOUT, "", ""), None, None, None])
    harness.vault.loses = lambda _, path: next(lost) if "creds" in path else None
    await harness.start()
    await harness.clock.advance(5)
    assert harness.generation >= 1
    harness.prove()
    await harness.clock.advance(5)
    assert harness.vault.alive() == (1, 1)


async def test_ten_kills_leave_one_token_and_one_lease(make_harness: MakeHarness) -> None:
    harness = make_harness()
    await harness.start()
    for _ in range(10):
        await harness.kill()
        await harness.start()
    harness.prove()
    await harness.clock.advance(2)
    assert harness.vault.alive() == (1, 1)
    assert harness.agent.status().sessions == 1


async def test_a_predecessors_lease_lives_until_its_successor_is_proved(make_harness: MakeHarness) -> None:
    harness = make_harness()
    await harness.start()
    harness.prove()
    await harness.kill()
    await harness.start()
    await harness.clock.advance(60)
    assert harness.vault.alive() == (2, 2)
    harness.prove()
    await harness.clock.advance(1)
    assert harness.vault.alive() == (1, 1)


async def test_a_rejected_set_can_still_be_proved_later(make_harness: MakeHarness) -> None:
    harness = make_harness(DATABASE)
    await harness.start()
    harness.prove()
    await harness.agent.rotate("database")
    await harness.clock.advance(1)
    harness.agent.acknowledgements.rejected("broker", 2, "database", "authentication_failed", "no")
    await harness.clock.advance(5)
    assert harness.vault.alive() == (1, 3)
    assert harness.agent.status().rejection is not None
    harness.prove()
    await harness.clock.advance(1)
    assert harness.vault.alive() == (1, 1)
    assert harness.agent.status().rejection is None


async def test_a_token_that_is_not_ours_stays_and_its_old_leases_go(make_harness: MakeHarness, tmp_path: Path) -> None:
    harness = make_harness(DATABASE)
    harness.vault.tokens["operators"] = Token("accessor", harness.clock.now + 86400, harness.clock.now + 86400)
    (tmp_path / "token").write_text("operators")
    auth = AuthSettings(method="token_file", token_file=tmp_path / "token")
    harness.settings = replace(harness.settings, auth=auth)
    harness.agent = harness._agent()
    await harness.start()
    for _ in range(3):
        await harness.kill()
        await harness.start()
    harness.prove()
    await harness.clock.advance(2)
    assert harness.vault.alive() == (1, 1)
    harness.agent.acknowledgements.goodbye("broker")
    await harness.stop()
    assert harness.vault.alive() == (1, 0)


async def test_after_a_goodbye_everything_is_given_back(make_harness: MakeHarness) -> None:
    harness = make_harness()
    await harness.start()
    harness.prove()
    harness.agent.acknowledgements.goodbye("broker")
    await harness.stop()
    assert harness.vault.alive() == (0, 0)


async def test_a_producer_that_came_back_keeps_its_credentials(make_harness: MakeHarness) -> None:
    harness = make_harness()
    await harness.start()
    harness.prove()
    harness.agent.acknowledgements.goodbye("broker")
    harness.agent.acknowledgements.connected("broker")
    await harness.stop()
    assert harness.vault.alive() == (1, 1)


async def test_an_end_without_the_server_leaves_the_leases_of_a_token_that_is_not_ours(
    make_harness: MakeHarness, tmp_path: Path
) -> None:
    harness = make_harness(DATABASE)
    harness.vault.tokens["operators"] = Token("accessor", harness.clock.now + 86400, harness.clock.now + 86400)
    (tmp_path / "token").write_text("operators")
    auth = AuthSettings(method="token_file", token_file=tmp_path / "token")
    harness.settings = replace(harness.settings, auth=auth)
    harness.agent = harness._agent()
    await harness.start()
    harness.prove()
    harness.agent.acknowledgements.goodbye("broker")
    harness.vault.fails = unreachable
    await harness.stop()
    assert [event.outcome for event in harness.audited("secrets.end")] == ["unreachable"]
