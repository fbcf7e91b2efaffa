"""Sessions: logins of this process. A session is a token and every lease that was read with it.

Vault revokes the leases of a token together with it (https://openbao.org/docs/concepts/lease/), so sessions are the
unit of cleaning up: revoking one needs no lease ids, which matters for a lease whose answer was lost.

Renewals
--------

`schedule.Life.renew_at` says when: at 60 to 70 % of the life that the last answer gave, spread by chance. Four
things are renewed by it, each by the task that owns it:

- the lease of a secret in use, by its `SecretRefresher`;
- a superseded lease that a reader may still use, by the `LeaseRevoker`;
- a token that a predecessor left, with all its leases, by the `LeaseRevoker` through the token's accessor;
- a token of this process, by the `TokenRefresher`.

A failed renewal changes nothing: the life goes on as it was, and the owner backs off (`schedule.Failures`). A renewal
that gives less than it asked for reveals the last moment of the life, for the server has capped it by max_ttl.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pod_runtime.secret import Secret
from sidecar.secrets.clock import Clock
from sidecar.secrets.errors import Proof, VaultError
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
    period_s: float | None = None
    """Period of a periodic token, which is renewed for that long without end; 0: it has none; None: not known."""
    failures: Failures = field(default_factory=Failures)
    """Failed renewals, once a newer session is in use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewal:
    """A successful renewal: the life as it is now, and the seconds that the server gave."""

    life: Life
    given_s: float
    request_id: str


class VaultSessions:
    """Sessions that are alive, and the requests made with their tokens.

    `current` is the newest. Older ones in `alive` serve leases whose successors no reader has acknowledged yet.
    """

    def __init__(self, caller: VaultCaller, journal: LeaseJournal, clock: Clock) -> None:
        self._caller, self._journal, self._clock = caller, journal, clock
        self.current: VaultSession | None = None
        self.alive: dict[int, VaultSession] = {}
        self.lost: dict[int, float] = {}
        """Boot time at which a session was found dead; its record stays in the journal until it is revoked."""
        self.requests: Counter[tuple[str, str]] = Counter()
        self.suspect = False
        """True if the server called the current token dead: a look at it decides."""
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
        """Make a counted request with a session's token. Success proves that it lives; `vault/answers.py` says more."""
        try:
            answer = await self.call(method, path, token=session.token, body=body, operation=operation)
        except VaultError as error:
            if error.proof is Proof.RIGHT_MISSING:
                session.checked = self._clock.boot()
            if error.proof is Proof.TOKEN_DEAD and session is self.current and operation != "check":
                self.suspect = True
                self.attention.set()
            raise
        session.checked = self._clock.boot()
        return answer

    async def renew_lease(self, session: VaultSession, lease_id: str, life: Life, asked_s: float) -> Renewal:
        """Renew a lease for `asked_s` seconds; 0 asks for what its role gives."""
        body: dict[str, str | int] = {"lease_id": lease_id}
        if asked_s:
            body["increment"] = int(asked_s)
        answer = await self.call_as(session, "renew", "POST", "sys/leases/renew", body)
        # The server may end renewability, for instance when the role was changed; asking again would be denied then.
        life = replace(life, renewable=answer.renewable)
        return self._renewal(life, answer.lease_duration, asked_s, answer.request_id)

    async def renew_token(self, session: VaultSession) -> Renewal:
        """Renew a token of this process."""
        # A duration text here, whole seconds for leases: that is how the two paths of Vault's API take it.
        body = {"increment": f"{int(session.asked_s)}s"}
        answer = await self.call_as(session, "renew", "POST", "auth/token/renew-self", body)
        return self._renewal(session.life, answer.auth.get("lease_duration"), session.asked_s, answer.request_id)

    async def renew_inherited(self, session: VaultSession, accessor: str, life: Life) -> Renewal:
        """Renew a predecessor's token, known by its accessor, with the token of `session`."""
        answer = await self.call_as(session, "renew", "POST", "auth/token/renew-accessor", {"accessor": accessor})
        return self._renewal(life, answer.auth.get("lease_duration"), 0.0, answer.request_id)

    def _renewal(self, life: Life, given: float | None, asked_s: float, request_id: str) -> Renewal:
        given_s = float(given or 0)
        life = life.renewed(self._clock.boot(), given_s, asked_s, self._clock.chance())
        return Renewal(life=life, given_s=given_s, request_id=request_id)

    def taint(self, session: VaultSession) -> None:
        """Mark a session as possibly holding a lease whose id was lost; the token refresher replaces it."""
        # Where the token cannot be revoked, another one would leave the lost lease as it is.
        if session.owned and session.accessor:
            session.tainted = True
            self.attention.set()

    def lose(self, number: int) -> None:
        """Use a session no more: it is dead, or its time has passed. The revoker gives it back by its accessor."""
        self.alive.pop(number, None)
        known = {item.number for item in self._journal.holdings.sessions}
        self.lost = {key: at for key, at in self.lost.items() if key in known} | {number: self._clock.boot()}

    def forget(self, number: int) -> None:
        """Drop a session that Vault has ended, with its leases."""
        self.alive.pop(number, None)
        self._journal.end_session(number)
