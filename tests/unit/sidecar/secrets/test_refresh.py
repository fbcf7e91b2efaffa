"""Reads, polls and retries of a secret, on a fake server that counts requests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from sidecar.secrets.errors import VaultError, VaultFault
from sidecar.secrets.settings import FileSettings
from tests.unit.sidecar.secrets.agent_harness import DATABASE, KEYS, STATIC, VENUE, AgentHarness, most_in_a_minute
from tests.unit.sidecar.secrets.fake_vault import failure, on, unreachable

MakeHarness = Callable[..., AgentHarness]


async def test_an_unchanged_kv_secret_is_looked_at_but_read_once(make_harness: MakeHarness) -> None:
    harness = make_harness(VENUE)
    await harness.start()
    await harness.clock.advance(60)
    assert harness.vault.count("secret/data") == 1
    assert 30 <= harness.vault.count("secret/metadata") <= 34


@pytest.mark.parametrize("seconds", [25.0, 75.0, 0.8 * 0.3 * 3600])
async def test_an_outage_changes_no_credential(make_harness: MakeHarness, seconds: float) -> None:
    harness = make_harness(DATABASE)
    await harness.start()
    await harness.clock.advance(0.69 * 3600)
    renewals, before = harness.vault.count("sys/leases/renew"), harness.read("database.json")
    harness.vault.requests.clear()
    harness.vault.fails = unreachable
    await harness.clock.advance(seconds)
    harness.vault.fails = None
    await harness.clock.advance(120)
    assert harness.read("database.json") == before
    renewed = [item for item in harness.vault.requests if "leases/renew" in item.path and item.outcome == "ok"]
    assert renewals + len(renewed) == 1
    assert harness.vault.count("database/creds") == 0
    assert harness.vault.count("login") == 0


async def test_a_successor_overlaps_the_known_end_by_a_quarter_of_the_life(make_harness: MakeHarness) -> None:
    harness = make_harness(replace(DATABASE, max_ttl_s=7200.0), token_check_interval_s=60.0)
    harness.vault.lease_max_ttl = 7200.0
    await harness.start()
    harness.prove()
    first = next(iter(harness.vault.leases.values()))
    while harness.vault.count("database/creds") < 2:
        await harness.clock.advance(10)
    assert first.ends - harness.clock.now >= 0.25 * 7200 - 10
    assert harness.vault.alive() == (1, 2)
    harness.prove()
    await harness.clock.advance(1)
    assert harness.vault.alive() == (1, 1)


async def test_a_lease_that_an_operator_revoked_is_noticed_on_the_poll(make_harness: MakeHarness) -> None:
    harness = make_harness(DATABASE)
    await harness.start()
    harness.vault.leases.clear()
    await harness.clock.advance(2.1)
    assert harness.generation == 2
    assert harness.vault.alive() == (1, 1)


async def test_a_lease_that_was_revoked_is_not_fresh_until_its_successor_is_read(make_harness: MakeHarness) -> None:
    harness = make_harness(DATABASE)
    await harness.start()
    harness.prove()
    harness.vault.fails = on("database/creds", lambda operation: failure(500, operation))
    harness.vault.leases.clear()
    await harness.clock.advance(30)
    found = harness.agent.status().secrets[0]
    assert (found.state, (found.expires_in_s or 0) < 0) == ("ended", True)
    harness.vault.fails = None
    await harness.clock.advance(16)
    assert harness.agent.status().secrets[0].state == "fresh"


async def test_a_policy_that_forbids_looks_at_leases_is_named_and_the_renewal_tells(make_harness: MakeHarness) -> None:
    harness = make_harness(DATABASE, token_check_interval_s=60.0)
    harness.vault.fails = on("leases/lookup", lambda operation: failure(403, operation))
    await harness.start()
    await harness.clock.advance(290)
    assert harness.vault.count("leases/lookup") == 1
    assert [event.outcome for event in harness.audited("secrets.lease")] == ["denied"]
    assert harness.agent.status().secrets[0].state == "fresh"
    harness.vault.leases.clear()
    await harness.clock.advance(0.71 * 3600)
    assert harness.generation == 2
    assert harness.vault.alive() == (1, 1)


async def test_a_static_role_that_was_rotated_by_hand_is_read_on_the_poll(make_harness: MakeHarness) -> None:
    harness = make_harness(STATIC)
    await harness.start()
    await harness.clock.advance(10)
    harness.vault.password, harness.vault.rotated = "second", "2026-11-02T12:00:10Z"
    await harness.clock.advance(2.1)
    assert harness.read("static.json")["password"] == "second"
    assert harness.generation == 2
    harness.vault.password, harness.vault.rotated = "first", "2026-11-02T11:00:00Z"
    await harness.clock.advance(10)
    assert harness.generation == 2


async def test_a_rejection_makes_the_secret_be_read_anew_at_once(make_harness: MakeHarness) -> None:
    harness = make_harness()
    await harness.start()
    harness.prove()
    await harness.clock.advance(1)
    harness.agent.acknowledgements.rejected("broker", 1, "database", "authentication_failed", "no")
    await harness.clock.advance(0.1)
    assert harness.generation == 2
    assert harness.vault.count("secret/data") == 1
    harness.prove()
    await harness.clock.advance(2)
    assert harness.vault.alive() == (1, 1)


async def test_rejections_that_go_on_leave_few_logins(make_harness: MakeHarness) -> None:
    harness = make_harness(DATABASE)
    await harness.start()
    for _ in range(600):
        harness.agent.acknowledgements.rejected("broker", harness.generation, "database", "authentication_failed", "no")
        await harness.clock.advance(1)
    assert harness.vault.count("database/creds") == 1 + 3
    harness.prove()
    await harness.clock.advance(2)
    assert harness.vault.alive() == (1, 1)


async def test_a_proof_after_a_rejection_ends_it(make_harness: MakeHarness) -> None:
    harness = make_harness(DATABASE)
    await harness.start()
    harness.prove()
    await harness.clock.advance(1)
    harness.agent.acknowledgements.rejected("broker", 1, "venue", "Unauthorized", "no")
    assert harness.agent.status().rejection
    harness.prove()
    assert harness.agent.status().rejection is None


async def test_a_shortened_renewal_tells_the_end_and_brings_a_successor(make_harness: MakeHarness) -> None:
    harness = make_harness(DATABASE)
    harness.vault.lease_ttl, harness.vault.lease_max_ttl = 600.0, 1800.0
    await harness.start()
    harness.prove()
    died = next(iter(harness.vault.leases.values())).ends
    while harness.vault.count("database/creds") < 2:
        await harness.clock.advance(1)
    assert died - harness.clock.now >= 0.25 * 600


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
WORDS = ("login", "secret/data", "secret/metadata", "renew", "lookup-self", "leases/lookup")


@pytest.mark.parametrize(
    ("word", "fault"),
    [*(("database/creds", fault) for fault in FAULTS), *((word, fault) for word in WORDS for fault in KINDS)],
)
async def test_no_failure_makes_a_hot_loop(make_harness: MakeHarness, word: str, fault: str) -> None:
    harness = make_harness()
    harness.vault.lease_ttl = harness.vault.token_ttl = 30.0
    harness.vault.fails = on(word, lambda _: FAULTS[fault])
    await harness.start()
    harness.prove()
    await harness.clock.advance(75)
    for path in {item.path for item in harness.vault.requests}:
        assert most_in_a_minute(harness.vault.failures(path)) <= 10, path


async def test_one_failing_secret_causes_no_reads_of_the_others(make_harness: MakeHarness) -> None:
    harness = make_harness(VENUE, KEYS, DATABASE)
    await harness.start()
    harness.vault.requests.clear()
    harness.vault.fails = on("secret/metadata/keys", lambda operation: failure(403, operation))
    await harness.clock.advance(120)
    assert harness.vault.count("secret/data") == 0
    assert harness.vault.count("database/creds") == 0
    assert harness.vault.count("login") == 0


async def test_a_secret_that_was_deleted_and_made_again_is_read(make_harness: MakeHarness) -> None:
    harness = make_harness(VENUE)
    await harness.start()
    await harness.clock.advance(1)
    harness.vault.delete("venue")
    harness.vault.write("venue", token="second")
    await harness.clock.advance(3)
    assert harness.read("venue.json") == {"token": "second"}
    assert harness.generation == 2


async def test_an_older_reply_is_not_news(make_harness: MakeHarness) -> None:
    harness = make_harness(VENUE)
    await harness.start()
    await harness.clock.advance(1)
    lagging = list(harness.vault.kv["venue"])
    harness.vault.write("venue", token="second")
    await harness.clock.advance(3)
    newest = harness.vault.kv["venue"]
    for number in range(100):
        harness.vault.kv["venue"] = lagging if number % 2 else newest
        await harness.clock.advance(1)
    assert harness.read("venue.json") == {"token": "second"}
    assert harness.generation == 2


async def test_a_value_of_a_standby_that_lags_is_not_published(make_harness: MakeHarness) -> None:
    harness = make_harness(VENUE)
    await harness.start()
    await harness.clock.advance(1)
    lagging = list(harness.vault.kv["venue"])
    harness.vault.write("venue", token="second")
    newest = harness.vault.kv["venue"]

    def standby(_: str, path: str) -> None:
        harness.vault.kv["venue"] = lagging if "secret/data" in path else newest

    harness.vault.fails = standby
    await harness.clock.advance(30)
    assert harness.generation == 1
    assert most_in_a_minute(harness.vault.times("secret/data")) <= 11
    last_error = harness.agent.status().secrets[0].last_error
    assert last_error
    assert last_error.name == "stale_answer"
    harness.vault.fails = None
    harness.vault.kv["venue"] = newest
    await harness.clock.advance(16)
    assert harness.read("venue.json") == {"token": "second"}


async def test_a_snapshot_that_was_restored_is_believed_after_a_minute(make_harness: MakeHarness) -> None:
    harness = make_harness(VENUE)
    await harness.start()
    await harness.clock.advance(1)
    snapshot = list(harness.vault.kv["venue"])
    harness.vault.write("venue", token="second")
    await harness.clock.advance(3)
    harness.vault.kv["venue"] = snapshot
    await harness.clock.advance(55)
    assert harness.read("venue.json") == {"token": "second"}
    await harness.clock.advance(15)
    assert harness.read("venue.json") == {"token": "one"}


async def test_retry_after_is_honoured(make_harness: MakeHarness) -> None:
    harness = make_harness(VENUE)
    harness.vault.fails = on("secret/data", lambda operation: failure(429, operation, retry_after_s=45))
    await harness.start()
    await harness.clock.advance(44)
    assert harness.vault.count("secret/data") == 1
    await harness.clock.advance(2)
    assert harness.vault.count("secret/data") == 2


async def test_an_expiry_during_a_suspend_is_made_good_within_a_second_of_waking(
    make_harness: MakeHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sidecar.secrets.clock.TICK_S", 1.0)
    harness = make_harness(DATABASE)
    await harness.start()
    harness.prove()
    harness.clock.suspend(2 * 86400)
    await harness.clock.advance(1.1)
    assert harness.generation == 2
    assert harness.vault.alive() == (1, 1)


@pytest.mark.parametrize("hours", [-1, 1])
async def test_a_step_of_the_wall_clock_changes_nothing(make_harness: MakeHarness, hours: int) -> None:
    harness = make_harness()
    await harness.start()
    harness.vault.requests.clear()
    harness.clock.wall_offset = timedelta(hours=hours)
    await harness.clock.advance(60)
    assert harness.vault.count("secret/data") + harness.vault.count("creds") + harness.vault.count("renew") == 0
    assert harness.generation == 1


async def test_without_a_lease_journal_nothing_is_asked_for(
    make_harness: MakeHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    harness = make_harness(DATABASE)
    with monkeypatch.context() as patch:
        patch.setattr("sidecar.secrets.lease.record.replace_file", full)
        await harness.start()
        await harness.clock.advance(30)
        assert harness.vault.requests == []
        last_error = harness.agent.status().token.last_error
        assert last_error is not None
        assert last_error.name == "lease_journal_unwritable"
    await harness.clock.advance(16)
    assert harness.generation == 1


async def test_a_template_that_is_not_there_is_named(make_harness: MakeHarness, tmp_path: Path) -> None:
    file = FileSettings(name="venue", format="jinja2", template_file=tmp_path / "none")
    harness = make_harness(replace(VENUE, files=(file,)))
    await harness.start()
    last_error = harness.agent.status().secrets[0].last_error
    assert last_error is not None
    assert (last_error.name, "none cannot be read" in last_error.message) == ("not_renderable", True)
