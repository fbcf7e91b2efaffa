"""Sessions, the requests that are made with them, and renewals of current, superseded and inherited leases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pod_runtime.secret import Secret
from sidecar.secrets.errors import VaultError
from sidecar.secrets.lease.record import LeaseJournal
from sidecar.secrets.lease.schedule import Life
from sidecar.secrets.lease.session import VaultSession, VaultSessions
from tests.unit.sidecar.secrets.agent_harness import DATABASE, AgentHarness, most_in_a_minute
from tests.unit.sidecar.secrets.fake_clock import FakeClock
from tests.unit.sidecar.secrets.fake_vault import DEAD, FakeVault, Token, failure, foreign, on

MakeHarness = Callable[..., AgentHarness]


@pytest.fixture
def sessions(tmp_path: Path) -> VaultSessions:
    """One session that is in use, number 1."""
    clock, journal = FakeClock(), LeaseJournal(tmp_path)
    journal.open()
    vault = FakeVault(clock)
    vault.tokens["token"] = Token("accessor", clock.now + 600, clock.now + 600)
    found = VaultSessions(vault, journal, clock)
    session = VaultSession(
        number=journal.begin_session(clock.wall(), owned=True),
        token=Secret("token"),
        accessor="accessor",
        owned=True,
        life=Life(start=clock.now, born=clock.now, ttl_s=600.0, renewable=True, chance=0.0),
        asked_s=600.0,
        checked=0.0,
    )
    found.current = found.alive[session.number] = session
    return found


async def ask(sessions: VaultSessions, operation: str) -> None:
    assert sessions.current
    await sessions.call_as(sessions.current, operation, "GET", "auth/token/lookup-self")


async def test_a_success_proves_the_token_and_is_counted(sessions: VaultSessions) -> None:
    await ask(sessions, "read")
    assert sessions.current
    assert sessions.current.checked == 1000.0
    assert sessions.requests == {("read", "ok"): 1}
    assert not sessions.suspect


@pytest.mark.parametrize(
    ("operation", "error", "suspect", "proved"),
    [
        ("read", failure(403, words=DEAD), True, False),
        ("check", failure(403, words=DEAD), False, False),
        ("read", failure(403), False, True),
        ("read", foreign(403), False, False),
        ("read", failure(404), False, False),
    ],
)
async def test_only_the_servers_own_word_makes_a_token_suspect(
    sessions: VaultSessions, operation: str, error: VaultError, suspect: bool, proved: bool
) -> None:
    sessions._caller.fails = on("lookup", lambda _: error)  # type: ignore[attr-defined] # a fake
    with pytest.raises(VaultError):
        await ask(sessions, operation)
    assert (sessions.suspect, sessions.attention.is_set()) == (suspect, suspect)
    assert sessions.current
    assert (sessions.current.checked == sessions._clock.boot()) is proved


def test_a_session_whose_time_has_passed_is_not_usable(sessions: VaultSessions) -> None:
    assert sessions.usable is sessions.current
    sessions._clock.suspend(600.0)  # type: ignore[attr-defined] # a fake
    assert sessions.usable is None


def test_a_session_that_is_forgotten_is_neither_alive_nor_recorded(sessions: VaultSessions, tmp_path: Path) -> None:
    sessions.forget(1)
    assert sessions.alive == {}
    successor = LeaseJournal(tmp_path)
    successor.open()
    assert successor.holdings.sessions == ()


def test_a_session_that_is_lost_stays_recorded(sessions: VaultSessions, tmp_path: Path) -> None:
    sessions.lose(1)
    assert sessions.alive == {}
    assert sessions.lost == {1: 1000.0}
    successor = LeaseJournal(tmp_path)
    successor.open()
    assert [item.number for item in successor.holdings.sessions] == [1]


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


async def test_what_a_predecessor_left_in_use_is_kept_alive(make_harness: MakeHarness) -> None:
    harness = make_harness(DATABASE)
    harness.vault.token_ttl, harness.vault.lease_ttl = 300.0, 400.0
    await harness.start()
    harness.prove()
    await harness.kill()
    await harness.start()
    harness.agent.acknowledgements.rejected("broker", 2, "database", "authentication_failed", "no")
    await harness.clock.advance(2000)
    assert harness.vault.alive() == (2, 3)
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
