"""Sessions: logins of this process. A session is a token and every lease that was read with it.

Vault revokes the leases of a token together with it (https://openbao.org/docs/concepts/lease/), so sessions are the
unit of cleaning up: revoking one needs no lease ids, which matters for a lease whose answer was lost.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pod_runtime.secret import Secret
from sidecar.secrets.clock import Clock
from sidecar.secrets.errors import VaultError, VaultFault
from sidecar.secrets.lease.record import LeaseJournal
from sidecar.secrets.lease.schedule import Failures, Life
from sidecar.secrets.vault.client import VaultAnswer, VaultCaller


@dataclass(slots=True, kw_only=True)
class VaultSession:
    """A token of this process. `owned` tokens are ours to revoke; `asked_s` is asked for at each renewal."""

    number: int
    token: Secret
    accessor: str = field(repr=False)
    owned: bool
    life: Life
    asked_s: float
    checked: float
    """Boot time of the last request that the server accepted with this token."""
    tainted: bool = False
    """True if a lease may exist under the token whose id was lost."""
    failures: Failures = field(default_factory=Failures)
    """Failed renewals, once a newer session is in use."""


class VaultSessions:
    """Sessions that are alive, and the requests made with their tokens.

    `current` is the newest. Older ones in `alive` serve leases whose successors no reader has acknowledged yet.
    """

    def __init__(self, caller: VaultCaller, journal: LeaseJournal, clock: Clock) -> None:
        self._caller, self._journal, self._clock = caller, journal, clock
        self.current: VaultSession | None = None
        self.alive: dict[int, VaultSession] = {}
        self.requests: Counter[tuple[str, str]] = Counter()
        self.suspect = False
        """True if a request was denied with the current token: it may be revoked, or its policy may lack a path."""
        self.attention = asyncio.Event()
        """Set if the token needs a look at once; the token refresher waits for it."""

    @property
    def usable(self) -> VaultSession | None:
        """Current session, unless its time has passed, as after a suspend."""
        alive = self.current is not None and self._clock.boot() < self.current.life.end
        return self.current if alive else None

    async def call(
        self,
        method: str,
        path: str,
        *,
        token: Secret | None = None,
        body: Mapping[str, Any] | None = None,
        operation: str = "login",
    ) -> VaultAnswer:
        """Make a request without a session, counted by `operation` and outcome. See `VaultCaller`."""
        try:
            answer = await self._caller.call(method, path, token=token, body=body)
        except VaultError as error:
            self.requests[operation, error.name] += 1
            raise
        self.requests[operation, "ok"] += 1
        return answer

    async def call_as(
        self, session: VaultSession, operation: str, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> VaultAnswer:
        """Make a counted request with a session's token. Success proves the token; a denial makes it suspect.

        Raises:
            VaultError: the request failed.
        """
        try:
            answer = await self.call(method, path, token=session.token, body=body, operation=operation)
        except VaultError as error:
            # Vault answers 403 for a dead token and for a missing permission alike: only a check tells them apart.
            if error.fault is VaultFault.DENIED and session is self.current and operation != "check":
                self.suspect = True
                self.attention.set()
            raise
        session.checked = self._clock.boot()
        return answer

    def taint(self, session: VaultSession) -> None:
        """Mark a session as possibly holding a lease whose id was lost; the token refresher replaces it."""
        session.tainted = True
        self.attention.set()

    def forget(self, number: int) -> None:
        """Drop a session that Vault has ended, with its leases."""
        self.alive.pop(number, None)
        self._journal.end_session(number)
