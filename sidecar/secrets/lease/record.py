"""What the sidecar holds at Vault, on disk before it holds it: a successor can give back what a killed one had."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from pod_runtime.atomic_file import replace_file

VERSION = 1
FILE = "leases.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRecord:
    """A token: its accessor revokes it and every lease under it. Empty: a login that was begun."""

    number: int
    begun_at: str
    accessor: str = field(default="", repr=False)
    owned: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRecord:
    """A lease, or with an empty id the intent to read one."""

    secret: str
    session: int
    begun_at: str
    lease_id: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """All that is held. `last_session` is the highest number ever given: none is given twice."""

    last_session: int = 0
    sessions: tuple[SessionRecord, ...] = ()
    leases: tuple[LeaseRecord, ...] = ()


class JournalError(Exception):
    """An intent cannot be written, so it must not be acted on; the text says why."""


class LeaseJournal:
    """Keeps `Holdings` in a file that nobody else reads.

    An intent is durable when its call returns, or the call fails. What is written about deeds that were done
    already is kept in memory where the volume refuses it, and goes out with the next write; `fault` says so.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE
        self._holdings = Holdings()
        self.fault = ""

    @property
    def holdings(self) -> Holdings:
        """What is held now."""
        return self._holdings

    def open(self) -> str:
        """Reads what a predecessor held; says what was wrong with its file, which is then set aside.

        Raises:
            OSError: the directory cannot be made or read.
        """
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path.parent.chmod(0o700)
        try:
            self._holdings = _decode(self._path.read_bytes())
        except FileNotFoundError:
            return ""
        except (ValueError, KeyError, TypeError) as error:
            aside = self._path.with_suffix(".unreadable")
            os.replace(self._path, aside)  # noqa: PTH105 - as the rest of this module's renames
            return f"{self._path} is set aside as {aside.name}: {type(error).__name__}"
        return ""

    def begin_session(self, now: datetime, *, owned: bool) -> int:
        """Writes that a login is about to be made; returns the session's number.

        Raises:
            JournalError: it cannot be written.
        """
        number = self._holdings.last_session + 1
        record = SessionRecord(number=number, begun_at=now.isoformat(), owned=owned)
        self._intend(replace(self._holdings, last_session=number, sessions=(*self._holdings.sessions, record)))
        return number

    def name_session(self, number: int, accessor: str, *, owned: bool) -> None:
        """Writes whose token a session is."""
        changed = (
            replace(item, accessor=accessor, owned=owned) if item.number == number else item
            for item in self._holdings.sessions
        )
        self._store(replace(self._holdings, sessions=tuple(changed)))

    def end_sessions(self, numbers: Iterable[int]) -> None:
        """Forgets sessions and all their leases."""
        gone = set(numbers)
        self._store(
            replace(
                self._holdings,
                sessions=tuple(item for item in self._holdings.sessions if item.number not in gone),
                leases=tuple(item for item in self._holdings.leases if item.session not in gone),
            )
        )

    def begin_lease(self, secret: str, session: int, now: datetime) -> None:
        """Writes that a lease is about to be read.

        Raises:
            JournalError: it cannot be written.
        """
        record = LeaseRecord(secret=secret, session=session, begun_at=now.isoformat())
        self._intend(replace(self._holdings, leases=(*self._holdings.leases, record)))

    def name_lease(self, secret: str, session: int, lease_id: str) -> None:
        """Writes what came of the intent to read a lease; without an id the intent is dropped."""
        kept = [
            item
            for item in self._holdings.leases
            if item.lease_id or (item.secret, item.session) != (secret, session)
        ]
        intents = [item for item in self._holdings.leases if item not in kept]
        named = [replace(intents[-1], lease_id=lease_id)] if lease_id and intents else []
        self._store(replace(self._holdings, leases=(*kept, *named)))

    def end_lease(self, lease_id: str) -> None:
        """Forgets a lease."""
        left = tuple(item for item in self._holdings.leases if item.lease_id != lease_id)
        self._store(replace(self._holdings, leases=left))

    def _intend(self, holdings: Holdings) -> None:
        before = self._holdings
        self._store(holdings)
        if self.fault:
            self._holdings = before
            raise JournalError(self.fault)

    def _store(self, holdings: Holdings) -> None:
        self._holdings = holdings
        try:
            replace_file(self._path, json.dumps({"version": VERSION, **asdict(holdings)}).encode(), mode=0o600)
        except OSError as error:
            self.fault = f"{self._path}: {error.strerror}"
        else:
            self.fault = ""


def _decode(data: bytes) -> Holdings:
    tree: dict[str, Any] = json.loads(data)
    if tree["version"] != VERSION:
        raise ValueError(f"version {tree['version']}")
    return Holdings(
        last_session=int(tree["last_session"]),
        sessions=tuple(SessionRecord(**item) for item in tree["sessions"]),
        leases=tuple(LeaseRecord(**item) for item in tree["leases"]),
    )
