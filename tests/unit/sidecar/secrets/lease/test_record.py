"""Record of everything held at Vault, on disk before it is held."""

from __future__ import annotations

import errno
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sidecar.secrets.errors import LeaseJournalError, PublishError
from sidecar.secrets.lease.record import FILE, JournaledLease, JournaledSession, LeaseJournal

NOW = datetime(2026, 11, 2, 12, 0, tzinfo=UTC)
TEXT = "2026-11-02T12:00:00+00:00"


def journal_in(place: Path) -> LeaseJournal:
    journal = LeaseJournal(place)
    journal.open()
    return journal


def test_a_successor_finds_what_was_held(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    number = journal.begin_session(NOW, owned=True)
    journal.name_session(number, "accessor", owned=True)
    journal.begin_lease("database", number, NOW)
    journal.name_lease("database", number, "lease-1")
    found = journal_in(tmp_path).holdings
    assert found.sessions == (JournaledSession(number=1, begun_at=TEXT, accessor="accessor"),)
    assert found.leases == (JournaledLease(secret="database", session=1, begun_at=TEXT, lease_id="lease-1"),)


def test_an_intent_is_there_before_its_answer(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    number = journal.begin_session(NOW, owned=True)
    journal.begin_lease("database", number, NOW)
    found = journal_in(tmp_path).holdings
    assert found.sessions[0].accessor == ""
    assert found.leases == (JournaledLease(secret="database", session=1, begun_at=TEXT),)


def test_an_intent_that_came_to_nothing_is_dropped(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    journal.begin_lease("database", 1, NOW)
    journal.name_lease("database", 1, "")
    assert journal_in(tmp_path).holdings.leases == ()


def test_a_session_takes_its_leases_with_it(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    for number in (1, 2):
        journal.begin_session(NOW, owned=True)
        journal.begin_lease("database", number, NOW)
        journal.name_lease("database", number, f"lease-{number}")
    journal.end_session(1)
    found = journal_in(tmp_path).holdings
    assert [item.number for item in found.sessions] == [2]
    assert [item.lease_id for item in found.leases] == ["lease-2"]


def test_no_session_number_is_given_twice(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    journal.end_session(journal.begin_session(NOW, owned=True))
    assert journal_in(tmp_path).begin_session(NOW, owned=True) == 2


def test_nobody_else_can_read_it(tmp_path: Path) -> None:
    journal_in(tmp_path / "leases").begin_session(NOW, owned=True)
    assert stat.S_IMODE((tmp_path / "leases").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "leases" / FILE).stat().st_mode) == 0o600


def test_a_directory_of_another_user_is_refused_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", refuse)
    with pytest.raises(PublishError, match=r"is another user's.*name a directory below it"):
        LeaseJournal(tmp_path).open()


def test_a_file_that_cannot_be_read_is_set_aside_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text('{"version": 9}')
    journal = LeaseJournal(tmp_path)
    assert "is set aside as leases.unreadable: ValueError" in journal.open()
    assert (tmp_path / "leases.unreadable").read_text() == '{"version": 9}'
    assert journal.holdings.sessions == ()


def test_what_is_held_does_not_show_in_its_text(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    journal.name_session(journal.begin_session(NOW, owned=True), "the-accessor", owned=True)
    assert "the-accessor" not in repr(journal.holdings)


def test_an_intent_that_cannot_be_written_is_not_acted_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = journal_in(tmp_path)
    number = journal.begin_session(NOW, owned=True)
    with monkeypatch.context() as patch:
        patch.setattr("sidecar.secrets.lease.record.replace_file", full)
        with pytest.raises(LeaseJournalError, match="No space left on device"):
            journal.begin_session(NOW, owned=True)
        journal.name_session(number, "accessor", owned=True)
        assert "No space left" in journal.fault
    assert journal.begin_session(NOW, owned=True) == 2
    assert journal.fault == ""
    assert journal_in(tmp_path).holdings.sessions[0].accessor == "accessor"


def full(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")
