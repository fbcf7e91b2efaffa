"""Sessions and the requests that are made with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pod_runtime.secret import Secret
from sidecar.secrets.errors import VaultError
from sidecar.secrets.lease.record import LeaseJournal
from sidecar.secrets.lease.schedule import Life
from sidecar.secrets.lease.session import VaultSession, VaultSessions
from tests.unit.sidecar.secrets.fake_clock import FakeClock
from tests.unit.sidecar.secrets.fake_vault import FakeVault, Token, failure, on


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
    ("operation", "status", "suspect"), [("read", 403, True), ("check", 403, False), ("read", 404, False)]
)
async def test_a_denial_makes_the_token_suspect(
    sessions: VaultSessions, operation: str, status: int, suspect: bool
) -> None:
    sessions._caller.fails = on("lookup", lambda path: failure(status, path))  # type: ignore[attr-defined] # a fake
    with pytest.raises(VaultError):
        await ask(sessions, operation)
    assert (sessions.suspect, sessions.attention.is_set()) == (suspect, suspect)


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
