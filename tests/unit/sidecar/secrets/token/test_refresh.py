"""Logins, renewals and checks of the token over time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sidecar.secrets.errors import VaultError, VaultFault
from sidecar.secrets.settings import AuthSettings
from tests.unit.sidecar.secrets.agent_harness import DATABASE, KEYS, VENUE, AgentHarness, most_in_a_minute
from tests.unit.sidecar.secrets.fake_vault import DEAD, SECRET_ID, Token, failure, foreign, on

MakeHarness = Callable[..., AgentHarness]


async def test_a_revoked_token_is_noticed_and_replaced_within_five_seconds(make_harness: MakeHarness) -> None:
    harness = make_harness(DATABASE)
    await harness.start()
    harness.prove()
    harness.vault.revoke_token("token-1")
    await harness.clock.advance(2.1)
    assert harness.generation == 2
    assert harness.vault.alive() == (1, 1)


async def test_a_lease_is_said_to_end_with_its_token(make_harness: MakeHarness) -> None:
    harness = make_harness(DATABASE)
    harness.vault.token_ttl = 600.0
    await harness.start()
    assert harness.agent.status().secrets[0].expires_in_s == pytest.approx(600, abs=1)


async def test_a_new_token_changes_no_kv_file(make_harness: MakeHarness) -> None:
    harness = make_harness(VENUE, KEYS)
    await harness.start()
    harness.vault.revoke_token("token-1")
    await harness.clock.advance(10)
    assert harness.vault.alive() == (1, 0)
    assert harness.generation == 1
    assert harness.vault.count("secret/data") == 2


async def test_a_token_is_replaced_with_its_lease_before_its_own_end(make_harness: MakeHarness) -> None:
    harness = make_harness(DATABASE)
    harness.vault.token_ttl, harness.vault.token_max_ttl = 600.0, 1800.0
    await harness.start()
    harness.prove()
    for _ in range(3600):
        await harness.clock.advance(1)
        harness.prove()
        assert harness.vault.alive()[1] >= 1
    assert not harness.audited("secrets.token.lost")
    assert harness.vault.alive() == (1, 1)


async def test_a_secret_id_that_is_used_up_costs_no_renewal_and_few_requests(make_harness: MakeHarness) -> None:
    harness = make_harness(DATABASE)
    auth: AuthSettings = replace(harness.settings.auth, max_ttl_s=3600.0)
    harness.settings = replace(harness.settings, auth=auth)
    harness.agent = harness._agent()
    harness.vault.secret_id_uses = 1
    harness.vault.token_ttl, harness.vault.token_max_ttl = 120.0, 3600.0
    await harness.start()
    harness.prove()
    await harness.clock.advance(3400)
    assert harness.vault.alive() == (1, 1)
    status = harness.agent.status()
    assert (status.token.state, status.generation_published) == ("failing", 1)
    assert status.token.last_error
    assert status.token.last_error.name == "secret_id_spent"
    assert 1 <= len(harness.vault.failures("login")) <= 2


async def test_a_new_secret_id_is_taken_at_once(make_harness: MakeHarness) -> None:
    harness = make_harness()
    harness.vault.secret_id_uses = 1
    await harness.start()
    harness.prove()
    published = harness.read("database.json")
    harness.vault.revoke_token("token-1")
    await harness.clock.advance(120)
    assert harness.read("database.json") == published
    assert len(harness.vault.failures("login")) == 1
    harness.vault.secret_id, harness.vault.secret_id_uses = "another", 1
    (harness.place / "secret-id").write_text("another")
    await harness.clock.advance(1.1)
    assert harness.vault.alive() == (1, 1)
    assert harness.agent.status().token.state == "valid"


async def test_a_restart_with_a_used_up_secret_id_goes_on_with_the_token_that_was_kept(
    make_harness: MakeHarness,
) -> None:
    harness = make_harness(DATABASE)
    harness.vault.secret_id_uses = 1
    harness.vault.token_ttl = 600.0
    await harness.start()
    harness.prove()
    await harness.kill()
    await harness.start()
    assert harness.agent.status().token.logins == {"resumed": 1}
    assert harness.vault.alive() == (1, 2)
    harness.prove()
    await harness.clock.advance(3600)
    assert harness.vault.alive() == (1, 1)
    harness.agent.acknowledgements.goodbye("broker")
    await harness.stop()
    assert harness.vault.alive() == (0, 0)
    assert not (harness.place / "leases" / "token.json").exists()


async def test_a_kept_token_that_has_died_is_no_way_in(make_harness: MakeHarness) -> None:
    harness = make_harness(DATABASE)
    harness.vault.secret_id_uses = 1
    await harness.start()
    await harness.kill()
    harness.vault.revoke_token("token-1")
    await harness.start()
    last_error = harness.agent.status().token.last_error
    assert last_error
    assert last_error.name == "secret_id_spent"
    await harness.clock.advance(120)
    assert len(harness.vault.failures("")) == 2


async def test_a_kept_token_is_tried_again_when_the_server_was_away(make_harness: MakeHarness) -> None:
    harness = make_harness(DATABASE)
    harness.vault.secret_id_uses = 1
    await harness.start()
    await harness.kill()
    harness.vault.fails = on("lookup-self", lambda operation: failure(503, operation))
    await harness.start()
    harness.vault.fails = None
    await harness.clock.advance(2)
    assert harness.agent.status().token.logins == {"resumed": 1}


async def test_credentials_that_change_all_the_time_make_no_hot_loop(make_harness: MakeHarness) -> None:
    harness = make_harness(VENUE)
    harness.vault.secret_id = "unknown to the agent"
    await harness.start()
    for number in range(120):
        (harness.place / "secret-id").write_text(str(number))
        await harness.clock.advance(1)
    assert most_in_a_minute(harness.vault.failures("login")) <= 10


async def test_a_token_that_a_killed_login_left_is_short_lived(make_harness: MakeHarness) -> None:
    harness = make_harness(VENUE)
    harness.settings = replace(harness.settings, auth=replace(harness.settings.auth, ttl_s=1200))
    harness.agent = harness._agent()
    harness.vault.token_ttl = 60.0
    harness.vault.loses = on("login", lambda operation: VaultError(VaultFault.TIMEOUT, operation, ""))
    await harness.start()
    await harness.kill()
    harness.vault.loses = None
    await harness.start()
    assert harness.vault.alive() == (2, 0)
    await harness.clock.advance(60)
    assert harness.vault.alive() == (1, 0)
    assert harness.agent.status().token.expires_in_s == pytest.approx(1140, abs=1)


async def test_a_refused_secret_id_is_tried_twice_and_then_waits_for_another(make_harness: MakeHarness) -> None:
    harness = make_harness(VENUE)
    harness.vault.secret_id = "another"
    await harness.start()
    await harness.clock.advance(890)
    assert len(harness.vault.failures("login")) == 2
    (harness.place / "secret-id").write_text("another")
    await harness.clock.advance(1.1)
    assert harness.generation == 1


async def test_a_refused_secret_id_is_tried_again_each_quarter_of_an_hour_or_when_a_person_asks(
    make_harness: MakeHarness,
) -> None:
    harness = make_harness(VENUE)
    harness.vault.secret_id_uses = 0
    await harness.start()
    await harness.clock.advance(3600)
    assert len(harness.vault.failures("login")) == 5
    harness.vault.secret_id_uses = 1
    await harness.agent.rotate(None)
    await harness.clock.advance(0.1)
    assert harness.generation == 1


async def test_a_refused_secret_id_is_not_tried_more_often_by_a_sidecar_that_is_killed_again_and_again(
    make_harness: MakeHarness,
) -> None:
    harness = make_harness(VENUE)
    harness.vault.secret_id = "another"
    for _ in range(60):
        await harness.start()
        await harness.clock.advance(14)
        await harness.kill()
    await harness.start()
    assert len(harness.vault.failures("login")) == 2
    last_error = harness.agent.status().token.last_error
    assert last_error
    assert last_error.name == "invalid", "the pause is told with its reason"
    (harness.place / "secret-id").write_text("another")
    await harness.clock.advance(1.1)
    assert harness.generation == 1
    assert not (harness.place / "leases" / "refused-login.json").exists()


async def test_a_restart_waits_no_longer_than_the_pause_for_a_secret_id_that_is_right_by_now(
    make_harness: MakeHarness,
) -> None:
    harness = make_harness(VENUE)
    harness.vault.secret_id = "another"
    await harness.start()
    await harness.clock.advance(20)
    await harness.kill()
    harness.vault.secret_id = SECRET_ID
    await harness.start()
    await harness.clock.advance(800)
    assert harness.generation == 0
    await harness.clock.advance(100)
    assert harness.generation == 1


async def test_another_secret_id_is_tried_at_once_after_a_restart(make_harness: MakeHarness) -> None:
    harness = make_harness(VENUE)
    harness.vault.secret_id = "another"
    await harness.start()
    await harness.clock.advance(20)
    await harness.kill()
    (harness.place / "secret-id").write_text("another")
    await harness.start()
    assert harness.generation == 1


async def test_a_locked_role_is_named_and_tried_again_each_minute(make_harness: MakeHarness) -> None:
    harness = make_harness(VENUE)
    harness.vault.fails = on("login", lambda operation: failure(403, operation, words=DEAD))
    await harness.start()
    await harness.clock.advance(200)
    assert len(harness.vault.failures("login")) == 4
    last_error = harness.agent.status().token.last_error
    assert last_error
    assert (last_error.name, "sys/locked-users" in last_error.message) == ("role_locked", True)
    harness.vault.fails = None
    await harness.clock.advance(60)
    assert harness.generation == 1


async def test_what_a_proxy_says_of_a_login_is_no_refusal(make_harness: MakeHarness) -> None:
    harness = make_harness(VENUE)
    harness.vault.fails = on("login", lambda operation: foreign(403, operation))
    await harness.start()
    await harness.clock.advance(60)
    harness.vault.fails = None
    await harness.clock.advance(16)
    assert harness.generation == 1


async def test_a_token_of_a_few_uses_is_refused_by_name_and_given_back(make_harness: MakeHarness) -> None:
    harness = make_harness(DATABASE)
    harness.vault.token_uses = 10
    await harness.start()
    await harness.clock.advance(600)
    last_error = harness.agent.status().token.last_error
    assert last_error
    assert (last_error.name, "token_num_uses=0" in last_error.message) == ("token_use_limited", True)
    assert harness.vault.alive() == (0, 0)
    assert harness.vault.count("login") == 1
    assert harness.agent.status().sessions == 0


async def test_a_token_of_a_few_uses_that_could_not_be_revoked_goes_with_the_next_one(
    make_harness: MakeHarness,
) -> None:
    harness = make_harness(DATABASE)
    harness.vault.token_uses = 10
    harness.vault.fails = on("revoke-self", lambda operation: failure(503, operation))
    await harness.start()
    harness.vault.token_uses, harness.vault.fails = 0, None
    await harness.agent.rotate(None)
    await harness.clock.advance(2)
    assert harness.vault.alive() == (1, 1)


@pytest.mark.parametrize("ttl_s", [0, 1200])
async def test_a_periodic_token_is_renewed_and_kept(make_harness: MakeHarness, ttl_s: int) -> None:
    harness = make_harness(DATABASE)
    harness.settings = replace(harness.settings, auth=replace(harness.settings.auth, ttl_s=ttl_s))
    harness.agent = harness._agent()
    harness.vault.token_period = harness.vault.token_ttl = 30.0
    await harness.start()
    harness.prove()
    await harness.clock.advance(600)
    assert (harness.vault.count("approle/login"), harness.generation) == (1, 1)
    assert harness.vault.alive() == (1, 1)


async def test_a_token_file_near_its_end_waits_for_another_token(make_harness: MakeHarness, tmp_path: Path) -> None:
    harness = make_harness(DATABASE)
    harness.vault.tokens["operators"] = Token("accessor", harness.clock.now + 60, harness.clock.now + 60)
    (tmp_path / "token").write_text("operators")
    harness.settings = replace(harness.settings, auth=AuthSettings(method="token_file", token_file=tmp_path / "token"))
    harness.agent = harness._agent()
    await harness.start()
    harness.prove()
    await harness.clock.advance(58)
    assert harness.vault.count("creds") == 1
    last_error = harness.agent.status().token.last_error
    assert last_error
    assert last_error.name == "token_not_replaced"
    harness.vault.tokens["next"] = Token("accessor-2", harness.clock.now + 3600, harness.clock.now + 3600)
    (tmp_path / "token").write_text("next")
    await harness.clock.advance(1.2)
    assert (harness.vault.count("creds"), harness.agent.status().token.state) == (2, "valid")
