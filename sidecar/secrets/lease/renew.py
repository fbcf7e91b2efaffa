"""Renewal of leases and tokens: the one place that asks Vault for more time.

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

from dataclasses import dataclass, replace

from sidecar.secrets.clock import Clock
from sidecar.secrets.lease.schedule import Life
from sidecar.secrets.lease.session import VaultSession, VaultSessions


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewal:
    """A successful renewal: the life as it is now, and the seconds that the server gave."""

    life: Life
    given_s: float
    request_id: str


class LeaseRenewer:
    """Renews leases and tokens. Every method raises VaultError if the request fails."""

    def __init__(self, sessions: VaultSessions, clock: Clock) -> None:
        self._sessions, self._clock = sessions, clock

    async def renew_lease(self, session: VaultSession, lease_id: str, life: Life, asked_s: float) -> Renewal:
        """Renew a lease for `asked_s` seconds; 0 asks for what its role gives."""
        body: dict[str, str | int] = {"lease_id": lease_id}
        if asked_s:
            body["increment"] = int(asked_s)
        answer = await self._sessions.call_as(session, "renew", "POST", "sys/leases/renew", body)
        # The server may end renewability, for instance when the role was changed; asking again would be denied then.
        life = replace(life, renewable=answer.renewable)
        return self._renewal(life, answer.lease_duration, asked_s, answer.request_id)

    async def renew_token(self, session: VaultSession) -> Renewal:
        """Renew a token of this process."""
        # A duration text here, whole seconds for leases: that is how the two paths of Vault's API take it.
        body = {"increment": f"{int(session.asked_s)}s"}
        answer = await self._sessions.call_as(session, "renew", "POST", "auth/token/renew-self", body)
        return self._renewal(session.life, answer.auth.get("lease_duration"), session.asked_s, answer.request_id)

    async def renew_inherited(self, session: VaultSession, accessor: str, life: Life) -> Renewal:
        """Renew a predecessor's token, known by its accessor, with the token of `session`."""
        body = {"accessor": accessor}
        answer = await self._sessions.call_as(session, "renew", "POST", "auth/token/renew-accessor", body)
        return self._renewal(life, answer.auth.get("lease_duration"), 0.0, answer.request_id)

    def _renewal(self, life: Life, given: float | None, asked_s: float, request_id: str) -> Renewal:
        given_s = float(given or 0)
        life = life.renewed(self._clock.boot(), given_s, asked_s, self._clock.chance())
        return Renewal(life=life, given_s=given_s, request_id=request_id)
