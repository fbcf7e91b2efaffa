"""Lease journal: the record of sessions and leases that outlives a crash, in `leases.json`.

Vault hands out a credential before anybody can note it. If the agent read first and wrote afterwards, a kill between
the two would leave a login to the database that no one knows and that lives for its whole ttl, up to a day. So the
agent writes its intent before each read and each login, and the name after the answer:

    begin_session    a login is about to be made: a number, no accessor yet
    name_session     the login's accessor
    begin_lease      a lease of a secret is about to be read under a session: no id yet
    name_lease       the lease's id, or nothing came of the intent
    end_lease, end_session    Vault has ended it

A kill leaves, and the next start does:

- before the intent is durable: nothing was asked, nothing is held;
- after `begin_session`, before `name_session`: perhaps a token that nobody can name. No request that the agent may
  make finds it, so the role should give short tokens; the agent extends its token (`auth.ttl_s`) only after the
  accessor is durable;
- after `begin_lease`, before `name_lease`: perhaps a lease without a known id. Its session has an accessor, and
  revoking that takes the lease with it;
- after `name_lease`: all ids are known; `LeaseRevoker.inherit` takes them over.

An intent that cannot be written is not acted on: the volume is full or gone, and the read waits
(`LeaseJournalError`). The opposite holds for endings and names: they are true already, so after a refused write they
stay in memory and go out with the next. If the process dies first, the successor revokes a lease twice, harmlessly.

Each write replaces the whole file atomically (write, fsync, rename; `pod_runtime.files.atomic_file`). It is small: a
session for each login that is not revoked yet, a lease for each secret and its unacknowledged predecessors. An
append-only log would need compaction and a torn-tail rule to save microseconds on a memory-backed volume.

`token.json` beside it holds the token of an AppRole login, for a restarted agent whose secret id is used up by then.
Both files are 0600 in a 0700 directory that is memory-backed: they never reach a disk.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from pod_runtime.files.atomic_file import make_private_directory, replace_file
from pod_runtime.secret import Secret
from sidecar.secrets.errors import LeaseJournalError, PublishError

VERSION = 1
FILE, TOKEN_FILE = "leases.json", "token.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class JournaledSession:
    """A token: its accessor revokes it and every lease under it. Empty: a login that was begun, or a batch token."""

    number: int
    begun_at: str
    accessor: str = field(default="", repr=False)
    owned: bool = True

    @property
    def revocable(self) -> bool:
        """True if its token may and can be revoked; else its leases must go one by one."""
        return self.owned and bool(self.accessor)


@dataclass(frozen=True, slots=True, kw_only=True)
class JournaledLease:
    """A lease, or with an empty id the intent to read one."""

    secret: str
    session: int
    begun_at: str
    lease_id: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """Contents of the journal. `last_session` is the highest number ever given: none is given twice."""

    last_session: int = 0
    sessions: tuple[JournaledSession, ...] = ()
    leases: tuple[JournaledLease, ...] = ()


class LeaseJournal:
    """Keeps `holdings` on the volume. `fault` is the reason of the last refused write, empty after a good one."""

    def __init__(self, directory: Path) -> None:
        self._path, self._token_path = directory / FILE, directory / TOKEN_FILE
        self.holdings = Holdings()
        self.fault = ""

    def open(self) -> str:
        """Read a predecessor's journal. Returns the fault of an unreadable file, which is set aside, or "".

        Raises:
            PublishError: the directory is another user's, so that its group cannot be kept out.
            OSError: the directory cannot be used.
        """
        place = self._path.parent
        make_private_directory(place)
        try:
            place.chmod(0o700)  # no group may read tokens, and this directory must be the sidecar's own
        except PermissionError as error:
            raise PublishError(
                f"secrets.lease_journal: {place} is another user's, as the root of a mounted volume is; name a "
                f"directory below it, such as {place / 'journal'}, which the sidecar makes"
            ) from error
        try:
            self.holdings = _decode(self._path.read_bytes())
        except FileNotFoundError:
            return ""
        except (ValueError, KeyError, TypeError) as error:
            # Not deleted: an operator may find the accessors in it and revoke them by hand.
            aside = self._path.with_suffix(".unreadable")
            self._path.replace(aside)
            return f"{self._path} is set aside as {aside.name}: {type(error).__name__}"
        return ""

    def begin_session(self, now: datetime, *, owned: bool) -> int:
        """Write the intent to log in and return the session's number, or raise LeaseJournalError."""
        # Leases and token.json name sessions by number: one given twice would tie old leases to a new token.
        number = self.holdings.last_session + 1
        record = JournaledSession(number=number, begun_at=now.isoformat(), owned=owned)
        self._intend(replace(self.holdings, last_session=number, sessions=(*self.holdings.sessions, record)))
        return number

    def name_session(self, number: int, accessor: str, *, owned: bool) -> None:
        """Write the accessor of a session's token."""
        named = JournaledSession(number=number, begun_at="", accessor=accessor, owned=owned)
        others = []
        for item in self.holdings.sessions:
            if item.number == number:
                named = replace(named, begun_at=item.begun_at)
            else:
                others.append(item)
        # The revoker's pass may have struck the unnamed session meanwhile: its token lives, so it comes back.
        self._store(replace(self.holdings, sessions=(*others, named)))

    def end_session(self, number: int) -> None:
        """Forget a session with its leases and its kept token."""
        if (kept := self.kept_token()) and kept[0] == number:
            self.drop_token()
        sessions = tuple(item for item in self.holdings.sessions if item.number != number)
        leases = tuple(item for item in self.holdings.leases if item.session != number)
        self._store(replace(self.holdings, sessions=sessions, leases=leases))

    def begin_lease(self, secret: str, session: int, now: datetime) -> None:
        """Write the intent to read a lease, or raise LeaseJournalError."""
        record = JournaledLease(secret=secret, session=session, begun_at=now.isoformat())
        # One intent stands for all: a read that failed a thousand times must not fill the volume.
        self._intend(replace(self.holdings, leases=(*self._without_intents(secret, session), record)))

    def name_lease(self, secret: str, session: int, lease_id: str) -> None:
        """Write the id of the lease that was read; without one the intent is dropped."""
        kept = self._without_intents(secret, session)
        intents = [item for item in self.holdings.leases if item not in kept]
        named = [replace(intents[-1], lease_id=lease_id)] if lease_id and intents else []
        self._store(replace(self.holdings, leases=(*kept, *named)))

    def _without_intents(self, secret: str, session: int) -> list[JournaledLease]:
        # A secret has one read at a time: its earlier intents under this session came to nothing.
        leases = self.holdings.leases
        return [item for item in leases if item.lease_id or (item.secret, item.session) != (secret, session)]

    def end_lease(self, lease_id: str) -> None:
        """Forget a lease."""
        left = tuple(item for item in self.holdings.leases if item.lease_id != lease_id)
        self._store(replace(self.holdings, leases=left))

    def keep_token(self, number: int, token: Secret) -> None:
        """Keep a session's token for a successor, in place of the one before."""
        content = {"version": VERSION, "number": number, "token": token.reveal()}
        # A volume that refuses it costs the next start its way in, not this one.
        with contextlib.suppress(OSError):
            replace_file(self._token_path, json.dumps(content).encode(), mode=0o600)

    def drop_token(self) -> None:
        """Forget the kept token."""
        with contextlib.suppress(OSError):
            self._token_path.unlink()

    def kept_token(self) -> tuple[int, Secret] | None:
        """Session number and token that were kept last; None if they cannot be read."""
        try:
            tree = json.loads(self._token_path.read_bytes())
            if tree["version"] != VERSION:
                return None
            return int(tree["number"]), Secret(str(tree["token"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _intend(self, holdings: Holdings) -> None:
        before = self.holdings
        self._store(holdings)
        if self.fault:
            self.holdings = before
            raise LeaseJournalError(self.fault)

    def _store(self, holdings: Holdings) -> None:
        self.holdings, self.fault = holdings, ""
        try:
            replace_file(self._path, json.dumps({"version": VERSION, **asdict(holdings)}).encode(), mode=0o600)
        except OSError as error:
            self.fault = f"{self._path}: {error.strerror}"


def _decode(data: bytes) -> Holdings:
    tree: dict[str, Any] = json.loads(data)
    if tree["version"] != VERSION:
        raise ValueError(f"version {tree['version']}")
    return Holdings(
        last_session=int(tree["last_session"]),
        sessions=tuple(JournaledSession(**item) for item in tree["sessions"]),
        leases=tuple(JournaledLease(**item) for item in tree["leases"]),
    )
