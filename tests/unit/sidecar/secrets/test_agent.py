"""What the agent does over time, on a fake server that counts requests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sidecar.secrets.errors import VaultError, VaultFault
from sidecar.secrets.publish.files import GenerationDirectory, PublishError
from sidecar.secrets.settings import AuthSettings, FileSettings
from tests.unit.sidecar.secrets.agent_fixture import DATABASE, KEYS, VENUE, Scene
from tests.unit.sidecar.secrets.fake_vault import Token, failure, on, unreachable

MakeScene = Callable[..., Scene]


def most_in_a_minute(times: Sequence[float]) -> int:
    return max((sum(start <= time < start + 60 for time in times) for start in times), default=0)


async def test_a_set_is_published_whole_or_not_at_all(make_scene: MakeScene) -> None:
    scene = make_scene()
    scene.vault.fails = on("venue", lambda operation: failure(403, operation))
    await scene.start()
    await scene.clock.advance(30)
    assert scene.generation == 0
    assert not (scene.place / "published" / "database.json").exists()
    scene.vault.fails = None
    await scene.clock.advance(16)
    assert scene.generation == 1


async def test_a_new_version_is_published_within_the_interval(make_scene: MakeScene) -> None:
    scene = make_scene()
    await scene.start()
    scene.vault.write("venue", token="two")
    await scene.clock.advance(2.1)
    assert scene.read("venue.json") == {"token": "two"}


async def test_an_unchanged_kv_secret_is_looked_at_but_read_once(make_scene: MakeScene) -> None:
    scene = make_scene(VENUE)
    await scene.start()
    await scene.clock.advance(60)
    assert scene.vault.count("secret/data") == 1
    assert 30 <= scene.vault.count("secret/metadata") <= 34


async def test_a_lease_is_renewed_at_two_thirds_and_stays_the_same(make_scene: MakeScene) -> None:
    scene = make_scene(DATABASE, token_check_interval_s=60.0)
    await scene.start()
    before = scene.read("database.json")
    await scene.clock.advance(0.71 * 3600)
    assert scene.vault.count("sys/leases/renew") == 1
    await scene.clock.advance(2 * 3600)
    assert scene.read("database.json") == before
    assert scene.vault.count("database/creds") == 1


@pytest.mark.parametrize("seconds", [25.0, 75.0, 0.8 * 0.3 * 3600])
async def test_an_outage_changes_no_credential(make_scene: MakeScene, seconds: float) -> None:
    scene = make_scene(DATABASE)
    await scene.start()
    await scene.clock.advance(0.69 * 3600)
    renewals, before = scene.vault.count("sys/leases/renew"), scene.read("database.json")
    scene.vault.requests.clear()
    scene.vault.fails = unreachable
    await scene.clock.advance(seconds)
    scene.vault.fails = None
    await scene.clock.advance(120)
    assert scene.read("database.json") == before
    renewed = [item for item in scene.vault.requests if "leases/renew" in item.path and item.outcome == "ok"]
    assert renewals + len(renewed) == 1
    assert scene.vault.count("database/creds") == 0
    assert scene.vault.count("login") == 0


async def test_a_successor_overlaps_the_known_end_by_a_quarter_of_the_life(make_scene: MakeScene) -> None:
    scene = make_scene(replace(DATABASE, max_ttl_s=7200.0), token_check_interval_s=60.0)
    scene.vault.lease_max_ttl = 7200.0
    await scene.start()
    scene.prove()
    first = next(iter(scene.vault.leases.values()))
    while scene.vault.count("database/creds") < 2:
        await scene.clock.advance(10)
    assert first.ends - scene.clock.now >= 0.25 * 7200 - 10
    assert scene.vault.alive() == (1, 2)
    scene.prove()
    await scene.clock.advance(1)
    assert scene.vault.alive() == (1, 1)


async def test_what_gets_no_successor_is_renewed_to_its_last_moment(make_scene: MakeScene) -> None:
    scene = make_scene(replace(DATABASE, max_ttl_s=3600.0), token_check_interval_s=60.0)
    scene.vault.lease_ttl, scene.vault.lease_max_ttl = 600.0, 3600.0
    await scene.start()
    scene.prove()
    scene.vault.fails = on("database/creds", lambda operation: failure(403, operation))
    await scene.clock.advance(3500)
    assert scene.vault.alive() == (1, 1)
    assert most_in_a_minute(scene.vault.failures("database/creds")) <= 10


async def test_a_lost_lease_is_read_again(make_scene: MakeScene) -> None:
    scene = make_scene(DATABASE, token_check_interval_s=60.0)
    await scene.start()
    scene.vault.leases.clear()
    await scene.clock.advance(0.71 * 3600)
    assert scene.generation == 2
    assert scene.vault.alive() == (1, 1)


async def test_a_shortened_renewal_tells_the_end_and_brings_a_successor(make_scene: MakeScene) -> None:
    scene = make_scene(DATABASE)
    scene.vault.lease_ttl, scene.vault.lease_max_ttl = 600.0, 1800.0
    await scene.start()
    scene.prove()
    died = next(iter(scene.vault.leases.values())).ends
    while scene.vault.count("database/creds") < 2:
        await scene.clock.advance(1)
    assert died - scene.clock.now >= 0.25 * 600


FAULTS = {
    **{str(status): failure(status) for status in (400, 403, 404, 412, 429, 473, 500, 502, 503, 504)},
    "timeout": VaultError(VaultFault.TIMEOUT, "", ""),
    "reset": VaultError(VaultFault.CONNECTION, "", ""),
    "tls": VaultError(VaultFault.TLS, "", ""),
    "redirect": VaultError(VaultFault.REDIRECT, "", "", status=307),
    "half a body": VaultError(VaultFault.PROTOCOL, "", ""),
}


KINDS = ("400", "403", "404", "503", "timeout")
"""Those that are treated differently."""
WORDS = ("login", "secret/data", "secret/metadata", "renew", "lookup")


@pytest.mark.parametrize(
    ("word", "fault"),
    [*(("database/creds", fault) for fault in FAULTS), *((word, fault) for word in WORDS for fault in KINDS)],
)
async def test_no_failure_makes_a_hot_loop(make_scene: MakeScene, word: str, fault: str) -> None:
    scene = make_scene()
    scene.vault.lease_ttl = scene.vault.token_ttl = 30.0
    scene.vault.fails = on(word, lambda _: FAULTS[fault])
    await scene.start()
    scene.prove()
    await scene.clock.advance(75)
    for path in {item.path for item in scene.vault.requests}:
        assert most_in_a_minute(scene.vault.failures(path)) <= 10, path


async def test_one_failing_secret_causes_no_reads_of_the_others(make_scene: MakeScene) -> None:
    scene = make_scene(VENUE, KEYS, DATABASE)
    await scene.start()
    scene.vault.requests.clear()
    scene.vault.fails = on("secret/metadata/keys", lambda operation: failure(403, operation))
    await scene.clock.advance(120)
    assert scene.vault.count("secret/data") == 0
    assert scene.vault.count("database/creds") == 0
    assert scene.vault.count("login") == 0


async def test_retry_after_is_honoured(make_scene: MakeScene) -> None:
    scene = make_scene(VENUE)
    scene.vault.fails = on("secret/data", lambda operation: failure(429, operation, retry_after_s=45))
    await scene.start()
    await scene.clock.advance(44)
    assert scene.vault.count("secret/data") == 1
    await scene.clock.advance(2)
    assert scene.vault.count("secret/data") == 2


async def test_a_revoked_token_is_noticed_and_replaced_within_five_seconds(make_scene: MakeScene) -> None:
    scene = make_scene(DATABASE)
    await scene.start()
    scene.prove()
    scene.vault.revoke_token("token-1")
    await scene.clock.advance(2.1)
    assert scene.generation == 2
    assert scene.vault.alive() == (1, 1)


async def test_a_lease_is_said_to_end_with_its_token(make_scene: MakeScene) -> None:
    scene = make_scene(DATABASE)
    scene.vault.token_ttl = 600.0
    await scene.start()
    assert scene.agent.status().secrets[0].expires_in_s == pytest.approx(600, abs=1)


async def test_a_new_token_changes_no_kv_file(make_scene: MakeScene) -> None:
    scene = make_scene(VENUE, KEYS)
    await scene.start()
    scene.vault.revoke_token("token-1")
    await scene.clock.advance(10)
    assert scene.vault.alive() == (1, 0)
    assert scene.generation == 1
    assert scene.vault.count("secret/data") == 2


async def test_a_token_is_replaced_with_its_lease_before_its_own_end(make_scene: MakeScene) -> None:
    scene = make_scene(DATABASE)
    scene.vault.token_ttl, scene.vault.token_max_ttl = 600.0, 1800.0
    await scene.start()
    scene.prove()
    for _ in range(3600):
        await scene.clock.advance(1)
        scene.prove()
        assert scene.vault.alive()[1] >= 1
    assert not scene.audited("secrets.token.lost")
    assert scene.vault.alive() == (1, 1)


async def test_a_secret_id_that_is_used_up_costs_no_renewal_and_few_requests(make_scene: MakeScene) -> None:
    scene = make_scene(DATABASE)
    auth: AuthSettings = replace(scene.settings.auth, max_ttl_s=3600.0)
    scene.settings = replace(scene.settings, auth=auth)
    scene.agent = scene._agent()
    scene.vault.secret_id_uses = 1
    scene.vault.token_ttl, scene.vault.token_max_ttl = 120.0, 3600.0
    await scene.start()
    scene.prove()
    await scene.clock.advance(3400)
    assert scene.vault.alive() == (1, 1)
    status = scene.agent.status()
    assert (status.token.state, status.generation_published) == ("failing", 1)
    assert status.token.last_error
    assert status.token.last_error.name == "secret_id_spent"
    assert 2 <= len(scene.vault.failures("login")) <= 6


async def test_a_new_secret_id_is_taken_at_once(make_scene: MakeScene) -> None:
    scene = make_scene()
    scene.vault.secret_id_uses = 1
    await scene.start()
    scene.prove()
    published = scene.read("database.json")
    scene.vault.revoke_token("token-1")
    await scene.clock.advance(120)
    assert scene.read("database.json") == published
    assert len(scene.vault.failures("login")) == 1
    scene.vault.secret_id, scene.vault.secret_id_uses = "another", 1
    (scene.place / "secret-id").write_text("another")
    await scene.clock.advance(1.1)
    assert scene.vault.alive() == (1, 1)
    assert scene.agent.status().token.state == "valid"


async def test_a_restart_with_a_used_up_secret_id_goes_on_with_the_token_that_was_kept(make_scene: MakeScene) -> None:
    scene = make_scene(DATABASE)
    scene.vault.secret_id_uses = 1
    scene.vault.token_ttl = 600.0
    await scene.start()
    scene.prove()
    await scene.kill()
    await scene.start()
    assert scene.agent.status().token.logins == {"resumed": 1}
    assert scene.vault.alive() == (1, 2)
    scene.prove()
    await scene.clock.advance(3600)
    assert scene.vault.alive() == (1, 1)
    scene.agent.acknowledgements.goodbye("broker")
    await scene.stop()
    assert scene.vault.alive() == (0, 0)
    assert not (scene.place / "leases" / "token.json").exists()


async def test_a_kept_token_that_has_died_is_no_way_in(make_scene: MakeScene) -> None:
    scene = make_scene(DATABASE)
    scene.vault.secret_id_uses = 1
    await scene.start()
    await scene.kill()
    scene.vault.revoke_token("token-1")
    await scene.start()
    last_error = scene.agent.status().token.last_error
    assert last_error
    assert last_error.name == "secret_id_spent"
    await scene.clock.advance(120)
    assert len(scene.vault.failures("")) == 2


async def test_a_kept_token_is_tried_again_when_the_server_was_away(make_scene: MakeScene) -> None:
    scene = make_scene(DATABASE)
    scene.vault.secret_id_uses = 1
    await scene.start()
    await scene.kill()
    scene.vault.fails = on("lookup-self", lambda operation: failure(503, operation))
    await scene.start()
    scene.vault.fails = None
    await scene.clock.advance(2)
    assert scene.agent.status().token.logins == {"resumed": 1}


async def test_credentials_that_change_all_the_time_make_no_hot_loop(make_scene: MakeScene) -> None:
    scene = make_scene(VENUE)
    scene.vault.secret_id = "unknown to the agent"
    await scene.start()
    for number in range(120):
        (scene.place / "secret-id").write_text(str(number))
        await scene.clock.advance(1)
    assert most_in_a_minute(scene.vault.failures("login")) <= 10


async def test_an_expiry_during_a_suspend_is_made_good_within_a_second_of_waking(
    make_scene: MakeScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sidecar.secrets.clock.TICK_S", 1.0)
    scene = make_scene(DATABASE)
    await scene.start()
    scene.prove()
    scene.clock.suspend(2 * 86400)
    await scene.clock.advance(1.1)
    assert scene.generation == 2
    assert scene.vault.alive() == (1, 1)


@pytest.mark.parametrize("hours", [-1, 1])
async def test_a_step_of_the_wall_clock_changes_nothing(make_scene: MakeScene, hours: int) -> None:
    scene = make_scene()
    await scene.start()
    scene.vault.requests.clear()
    scene.clock.wall_offset = timedelta(hours=hours)
    await scene.clock.advance(60)
    assert scene.vault.count("secret/data") + scene.vault.count("creds") + scene.vault.count("renew") == 0
    assert scene.generation == 1


async def test_a_lease_whose_answer_was_lost_goes_with_its_token(make_scene: MakeScene) -> None:
    scene = make_scene(DATABASE)
    lost = iter([VaultError(VaultFault.TIMEOUT, "", ""), None, None, None])
    scene.vault.loses = lambda _, path: next(lost) if "creds" in path else None
    await scene.start()
    await scene.clock.advance(5)
    assert scene.generation >= 1
    scene.prove()
    await scene.clock.advance(5)
    assert scene.vault.alive() == (1, 1)


async def test_ten_kills_leave_one_token_and_one_lease(make_scene: MakeScene) -> None:
    scene = make_scene()
    await scene.start()
    for _ in range(10):
        await scene.kill()
        await scene.start()
    scene.prove()
    await scene.clock.advance(2)
    assert scene.vault.alive() == (1, 1)
    assert scene.agent.status().sessions == 1


async def test_a_token_that_a_killed_login_left_is_short_lived(make_scene: MakeScene) -> None:
    scene = make_scene(VENUE)
    scene.settings = replace(scene.settings, auth=replace(scene.settings.auth, ttl_s=1200))
    scene.agent = scene._agent()
    scene.vault.token_ttl = 60.0
    scene.vault.loses = on("login", lambda operation: VaultError(VaultFault.TIMEOUT, operation, ""))
    await scene.start()
    await scene.kill()
    scene.vault.loses = None
    await scene.start()
    assert scene.vault.alive() == (2, 0)
    await scene.clock.advance(60)
    assert scene.vault.alive() == (1, 0)
    assert scene.agent.status().token.expires_in_s == pytest.approx(1140, abs=1)


async def test_a_predecessors_lease_lives_until_its_successor_is_proved(make_scene: MakeScene) -> None:
    scene = make_scene()
    await scene.start()
    scene.prove()
    await scene.kill()
    await scene.start()
    await scene.clock.advance(60)
    assert scene.vault.alive() == (2, 2)
    scene.prove()
    await scene.clock.advance(1)
    assert scene.vault.alive() == (1, 1)


async def test_what_a_predecessor_left_in_use_is_kept_alive(
    make_scene: MakeScene,
) -> None:
    scene = make_scene(DATABASE)
    scene.vault.token_ttl, scene.vault.lease_ttl = 300.0, 400.0
    await scene.start()
    scene.prove()
    await scene.kill()
    await scene.start()
    scene.agent.acknowledgements.rejected("broker", 2, "database", "authentication_failed", "no")
    await scene.clock.advance(2000)
    assert scene.vault.alive() == (2, 2)
    scene.prove()
    await scene.clock.advance(1)
    assert scene.vault.alive() == (1, 1)


async def test_a_predecessors_kv_set_stands_while_the_server_is_away(make_scene: MakeScene) -> None:
    scene = make_scene(VENUE)
    await scene.start()
    await scene.kill()
    scene.vault.fails = unreachable
    await scene.start()
    await scene.clock.advance(30)
    status = scene.agent.status()
    assert (status.generation_published, status.secrets[0].state) == (1, "carried")
    assert status.token.last_error is not None
    assert status.token.last_error.name == "unreachable"


async def test_a_secret_that_fails_at_a_restart_holds_up_no_other(make_scene: MakeScene) -> None:
    scene = make_scene()
    await scene.start()
    await scene.kill()
    scene.vault.fails = on("venue", lambda operation: failure(403, operation))
    await scene.start()
    await scene.clock.advance(2)
    assert scene.generation == 2
    assert scene.read("venue.json") == {"token": "one"}


async def test_what_nobody_proves_is_kept_alive_and_reported(make_scene: MakeScene) -> None:
    scene = make_scene(DATABASE)
    scene.vault.lease_ttl = 600.0
    await scene.start()
    scene.prove()
    await scene.agent.rotate("database")
    await scene.clock.advance(2000)
    assert scene.vault.alive() == (1, 2)
    assert scene.agent.status().stage == "timed_out"
    scene.prove()
    await scene.clock.advance(1)
    assert scene.vault.alive() == (1, 1)


async def test_a_reader_may_be_faster_than_the_publisher(
    make_scene: MakeScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = make_scene(DATABASE)
    await scene.start()
    scene.prove()
    publish = GenerationDirectory.publish

    def publish_and_be_read(*arguments: Any) -> None:
        publish(*arguments)
        scene.agent.acknowledgements.applied("broker", 2)

    monkeypatch.setattr(GenerationDirectory, "publish", publish_and_be_read)
    await scene.agent.rotate("database")
    await scene.clock.advance(2)
    assert scene.agent.status().stage == "acknowledged"
    assert scene.vault.alive() == (1, 1)


async def test_a_set_that_is_being_made_is_not_swept(make_scene: MakeScene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = make_scene(VENUE)
    await scene.start()
    swap = GenerationDirectory._swap

    def swap_late(publisher: GenerationDirectory, target: str) -> None:
        scene.agent._publisher.sweep()
        swap(publisher, target)

    monkeypatch.setattr(GenerationDirectory, "_swap", swap_late)
    scene.vault.write("venue", token="two")
    await scene.clock.advance(2.1)
    assert scene.read("venue.json") == {"token": "two"}


async def test_a_full_volume_is_reported_and_tried_again(
    make_scene: MakeScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = make_scene(VENUE)
    await scene.start()

    def full(*_: object) -> None:
        raise PublishError("no space")

    with monkeypatch.context() as patch:
        patch.setattr(GenerationDirectory, "publish", full)
        scene.vault.write("venue", token="two")
        await scene.clock.advance(5)
        assert scene.agent.status().last_error is not None
    await scene.clock.advance(16)
    assert scene.read("venue.json") == {"token": "two"}
    assert scene.agent.status().last_error is None


async def test_without_a_lease_journal_nothing_is_asked_for(
    make_scene: MakeScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    scene = make_scene(DATABASE)
    with monkeypatch.context() as patch:
        patch.setattr("sidecar.secrets.lease.record.replace_file", full)
        await scene.start()
        await scene.clock.advance(30)
        assert scene.vault.requests == []
        last_error = scene.agent.status().token.last_error
        assert last_error is not None
        assert last_error.name == "lease_journal_unwritable"
    await scene.clock.advance(16)
    assert scene.generation == 1


async def test_a_template_that_is_not_there_is_named(make_scene: MakeScene, tmp_path: Path) -> None:
    file = FileSettings(name="venue", format="jinja2", template_file=tmp_path / "none")
    scene = make_scene(replace(VENUE, files=(file,)))
    await scene.start()
    last_error = scene.agent.status().secrets[0].last_error
    assert last_error is not None
    assert (last_error.name, "none cannot be read" in last_error.message) == ("not_renderable", True)


async def test_a_rejected_set_can_still_be_proved_later(make_scene: MakeScene) -> None:
    scene = make_scene(DATABASE)
    await scene.start()
    scene.prove()
    await scene.agent.rotate("database")
    await scene.clock.advance(1)
    scene.agent.acknowledgements.rejected("broker", 2, "database", "authentication_failed", "no")
    await scene.clock.advance(5)
    assert scene.vault.alive() == (1, 2)
    assert scene.agent.status().rejection is not None
    scene.prove()
    await scene.clock.advance(1)
    assert scene.vault.alive() == (1, 1)
    assert scene.agent.status().rejection is None


async def test_all_named_producers_must_prove_a_set(make_scene: MakeScene) -> None:
    scene = make_scene(DATABASE, acknowledged_by=("broker", "pricer"))
    await scene.start()
    scene.agent.acknowledgements.applied("broker", 1)
    assert scene.agent.status().generation_acknowledged == 0
    scene.agent.acknowledgements.applied("pricer", 1)
    assert scene.agent.status().generation_acknowledged == 1


async def test_a_token_that_is_not_ours_stays_and_its_old_leases_go(make_scene: MakeScene, tmp_path: Path) -> None:
    scene = make_scene(DATABASE)
    scene.vault.tokens["operators"] = Token("accessor", scene.clock.now + 86400, scene.clock.now + 86400)
    (tmp_path / "token").write_text("operators")
    auth = AuthSettings(method="token_file", token_file=tmp_path / "token")
    scene.settings = replace(scene.settings, auth=auth)
    scene.agent = scene._agent()
    await scene.start()
    for _ in range(3):
        await scene.kill()
        await scene.start()
    scene.prove()
    await scene.clock.advance(2)
    assert scene.vault.alive() == (1, 1)
    scene.agent.acknowledgements.goodbye("broker")
    await scene.stop()
    assert scene.vault.alive() == (1, 0)


async def test_after_a_goodbye_everything_is_given_back(make_scene: MakeScene) -> None:
    scene = make_scene()
    await scene.start()
    scene.prove()
    scene.agent.acknowledgements.goodbye("broker")
    await scene.stop()
    assert scene.vault.alive() == (0, 0)


async def test_a_producer_that_came_back_keeps_its_credentials(make_scene: MakeScene) -> None:
    scene = make_scene()
    await scene.start()
    scene.prove()
    scene.agent.acknowledgements.goodbye("broker")
    scene.agent.acknowledgements.connected("broker")
    await scene.stop()
    assert scene.vault.alive() == (1, 1)


async def test_without_secrets_nothing_is_asked(make_scene: MakeScene) -> None:
    scene = make_scene()
    scene.settings = type(scene.settings)()
    scene.agent = scene._agent()
    await scene.start()
    await scene.clock.advance(10)
    assert scene.vault.requests == []
    await scene.stop()
