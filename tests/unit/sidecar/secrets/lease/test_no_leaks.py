"""A living token or lease is never dropped unrevoked, whatever answered in the server's place."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sidecar.secrets.errors import VaultError, VaultFault
from tests.unit.sidecar.secrets.agent_harness import DATABASE, SECOND, AgentHarness, most_in_a_minute
from tests.unit.sidecar.secrets.fake_vault import DEAD, failure, foreign, on

MakeHarness = Callable[..., AgentHarness]
LOST = VaultError(VaultFault.TIMEOUT, "", "")


async def end(harness: AgentHarness) -> None:
    """The pod's orderly end."""
    harness.prove()
    await harness.clock.advance(2)
    harness.prove()
    await harness.clock.advance(2)
    harness.agent.acknowledgements.goodbye("broker")
    await harness.stop()


async def test_a_policy_without_the_look_at_the_token_costs_no_token_and_is_named_once(
    make_harness: MakeHarness,
) -> None:
    harness = make_harness(DATABASE, poll_interval_s=10000.0)
    harness.vault.fails = on("lookup-self", lambda operation: failure(403, operation))
    await harness.start()
    harness.prove()
    await harness.clock.advance(120)
    assert (harness.vault.count("approle/login"), harness.generation) == (1, 1)
    assert harness.vault.alive() == (1, 1)
    assert [event.outcome for event in harness.audited("secrets.token.check")] == ["denied"]
    assert harness.agent.status().token.state == "valid"


async def test_a_dead_token_is_noticed_although_the_policy_forbids_the_look(make_harness: MakeHarness) -> None:
    harness = make_harness(DATABASE, poll_interval_s=10000.0)
    living = harness.vault.tokens
    harness.vault.fails = lambda _, path: failure(403) if "lookup-self" in path and living else None
    await harness.start()
    harness.vault.revoke_token("token-1")
    await harness.clock.advance(3)
    assert harness.generation == 2


@pytest.mark.parametrize("word", ["lookup-self", "renew", "creds", ""])
async def test_a_proxy_that_denies_for_a_while_changes_nothing(make_harness: MakeHarness, word: str) -> None:
    harness = make_harness(DATABASE)
    harness.vault.lease_ttl = harness.vault.token_ttl = 60.0
    await harness.start()
    harness.prove()
    for _ in range(3):
        harness.vault.fails = on(word, lambda operation: foreign(403, operation))
        await harness.clock.advance(6)
        harness.vault.fails = None
        await harness.clock.advance(40)
        harness.prove()
        await harness.clock.advance(2)
    assert harness.vault.count("approle/login") == 1
    await end(harness)
    assert harness.vault.alive() == (0, 0)


async def test_a_token_that_was_called_dead_and_lives_is_given_back_with_its_lease(make_harness: MakeHarness) -> None:
    harness = make_harness(DATABASE, poll_interval_s=10000.0)
    await harness.start()
    harness.prove()
    harness.vault.fails = on("lookup-self", lambda operation: failure(403, operation, words=DEAD))
    await harness.clock.advance(2.1)
    harness.vault.fails = None
    assert harness.agent.status().sessions == 2
    await harness.clock.advance(2)
    harness.prove()
    await harness.clock.advance(2)
    assert harness.vault.alive() == (1, 1)
    assert harness.agent.status().sessions == 1


async def test_a_token_that_was_called_dead_is_given_back_by_the_next_process(make_harness: MakeHarness) -> None:
    harness = make_harness(DATABASE)
    await harness.start()
    harness.prove()
    harness.vault.fails = lambda _, path: failure(403, words=DEAD) if "lookup" in path or "login" in path else None
    await harness.clock.advance(3)
    await harness.kill()
    harness.vault.fails = None
    await harness.start()
    harness.prove()
    await harness.clock.advance(2)
    assert harness.vault.alive() == (1, 1)


async def test_answers_that_call_every_token_dead_make_no_circle_of_logins(make_harness: MakeHarness) -> None:
    harness = make_harness(DATABASE, poll_interval_s=10000.0)
    harness.vault.fails = on("lookup-self", lambda operation: failure(403, operation, words=DEAD))
    await harness.start()
    await harness.clock.advance(300)
    logins = [item.time for item in harness.vault.requests if item.path == "auth/approle/login"]
    assert most_in_a_minute(logins) <= 10
    harness.vault.fails = None
    await harness.clock.advance(20)
    harness.prove()
    await harness.clock.advance(20)
    assert harness.vault.alive() == (1, 1)


async def test_a_revocation_that_the_policy_forbids_stays_in_the_journal(make_harness: MakeHarness) -> None:
    harness = make_harness(DATABASE)
    await harness.start()
    harness.prove()
    harness.vault.fails = on("revoke-accessor", lambda operation: failure(403, operation))
    harness.vault.revoke_token("token-1")
    await harness.clock.advance(4)
    harness.prove()
    await harness.clock.advance(100)
    assert harness.agent.status().sessions == 2
    assert harness.vault.count("revoke-accessor") == 1
    harness.vault.fails = None
    await harness.clock.advance(300)
    assert harness.agent.status().sessions == 1


async def test_a_policy_without_revoke_self_is_no_reason_to_leave_a_token(make_harness: MakeHarness) -> None:
    harness = make_harness(DATABASE)
    harness.vault.fails = on("revoke-self", lambda operation: failure(403, operation))
    await harness.start()
    await end(harness)
    assert harness.vault.alive() == (0, 0)


async def test_a_lease_is_not_struck_because_a_front_knows_no_such_path(make_harness: MakeHarness) -> None:
    harness = make_harness(DATABASE)
    await harness.start()
    harness.prove()
    await harness.agent.rotate("database")
    harness.vault.fails = on("leases/revoke", lambda operation: foreign(404, operation))
    await harness.clock.advance(1)
    harness.prove()
    await harness.clock.advance(5)
    assert harness.vault.alive() == (1, 2)
    harness.vault.fails = None
    await harness.clock.advance(16)
    assert harness.vault.alive() == (1, 1)


async def test_a_login_that_outlasts_a_pass_of_the_revoker_stays_recorded(make_harness: MakeHarness) -> None:
    harness = make_harness(DATABASE)
    await harness.start()
    journal = harness.agent._journal
    number = journal.begin_session(harness.clock.wall(), owned=True)
    await harness.clock.advance(1.1)
    journal.name_session(number, "accessor-of-a-slow-login", owned=True)
    assert "accessor-of-a-slow-login" in {item.accessor for item in journal.holdings.sessions}


async def test_a_failing_lease_leaves_the_others_alone_and_costs_one_token_when_it_is_well(
    make_harness: MakeHarness,
) -> None:
    harness = make_harness(DATABASE, SECOND)
    await harness.start()
    harness.prove()
    harness.vault.requests.clear()
    harness.vault.loses = on("creds/second", lambda _: LOST)
    await harness.agent.rotate("second")
    await harness.clock.advance(300)
    assert (harness.vault.count("approle/login"), harness.vault.count("creds/broker")) == (0, 0)
    assert len(harness.agent._journal.holdings.leases) == 3
    harness.vault.loses = None
    await harness.clock.advance(20)
    assert (harness.vault.count("approle/login"), harness.vault.count("creds/broker")) == (1, 1)
    harness.prove()
    await harness.clock.advance(2)
    assert harness.vault.alive() == (1, 2)


async def test_a_creation_that_the_server_undid_costs_no_token(make_harness: MakeHarness) -> None:
    harness = make_harness(DATABASE, SECOND)
    await harness.start()
    harness.vault.fails = on("creds/second", lambda operation: failure(500, operation))
    await harness.agent.rotate("second")
    await harness.clock.advance(60)
    harness.vault.fails = None
    await harness.clock.advance(20)
    assert harness.vault.count("approle/login") == 1


async def test_leases_of_batch_tokens_are_revoked_one_by_one(make_harness: MakeHarness) -> None:
    harness = make_harness(DATABASE)
    harness.vault.batch = True
    await harness.start()
    harness.prove()
    for _ in range(3):
        await harness.kill()
        await harness.start()
        harness.prove()
        await harness.clock.advance(2)
        assert harness.vault.alive()[1] == 1
    await end(harness)
    assert harness.vault.alive()[1] == 0
    assert harness.audited("secrets.token.revoke")[-1].outcome == "left"
    assert harness.vault.count("revoke-") == 0


async def test_a_lease_whose_token_died_is_shown_as_ended(make_harness: MakeHarness) -> None:
    harness = make_harness(DATABASE)
    await harness.start()
    harness.prove()
    harness.vault.revoke_token("token-1")
    harness.vault.secret_id_uses = 0
    await harness.clock.advance(30)
    (status,) = harness.agent.status().secrets
    assert status.state == "ended"
    assert status.expires_in_s is not None
    assert -30 <= status.expires_in_s <= -25
    harness.vault.secret_id_uses = 1
    await harness.agent.rotate(None)
    await harness.clock.advance(1)
    (status,) = harness.agent.status().secrets
    assert status.state == "fresh"
