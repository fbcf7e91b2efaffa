"""Token refresher: keeps one token usable by login, renewal and a check every few seconds.

A token is replaced before its certain end, or as soon as a check finds it dead. The sessions of older tokens stay
alive while readers may use a lease under them; this task goes on renewing those, and `lease/revoke.py` ends them.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import datetime

from pod_runtime.cancellation import PersistentTaskGroup
from sidecar.secrets.audit import hashed
from sidecar.secrets.clock import Clock, wait_until
from sidecar.secrets.errors import LoginError, SecretsError, SpentError, VaultError, VaultFault
from sidecar.secrets.lease.schedule import NEVER, Act, Failures, Life, Step, token_steps
from sidecar.secrets.lease.session import VaultSession
from sidecar.secrets.messages import AgentContext, Change
from sidecar.secrets.status import LastError, TokenStatus
from sidecar.secrets.token.login import SecretIds, VaultLogin, adopt, log_in
from sidecar.secrets.vault.credential import fingerprint

CREDENTIALS_POLL_S = 1.0


class TokenFailures:
    """Failures of logins and of the current token's upkeep: separate back-off, one shared bound of ten a minute."""

    # They are separate because a login that fails (a used-up secret id) must not hold back the renewals that keep the
    # living token alive meanwhile.

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._logins, self._upkeep, self._all = Failures(), Failures(), Failures()
        self._login_error: LastError | None = None
        self._upkeep_error: LastError | None = None
        self._refused = ""

    @property
    def last_error(self) -> LastError | None:
        """The last error without a later success; a login's first."""
        return self._login_error or self._upkeep_error

    def __bool__(self) -> bool:
        return bool(self._logins.in_a_row or self._upkeep.in_a_row)

    def retry_at(self, act: Act) -> float:
        """Return the earliest time of a step of this kind."""
        return max(self._of(act).retry_at(), self._all.room_at())

    def failed(self, act: Act, error: SecretsError, credentials: str) -> None:
        """Count a failure; `credentials` is the fingerprint of the files that a login used."""
        now = self._clock.boot()
        self._of(act).failed(now, self._clock.chance(), error.retry_after_s)
        self._all.failed(now, 0.0)
        if act is Act.LOGIN:
            self._login_error, self._refused = LastError.of(error, self._clock.wall()), credentials
        else:
            self._upkeep_error = LastError.of(error, self._clock.wall())

    def succeeded(self, act: Act) -> None:
        """Count a success; a login's ends all failures."""
        self._of(act).succeeded()
        self._upkeep_error = None
        if act is Act.LOGIN:
            self._login_error = None
            self._upkeep.succeeded()

    def token_lost(self) -> None:
        """End the failures of upkeep: the check that found the token dead is no reason to delay the login."""
        self._upkeep.succeeded()

    def credentials_changed(self, credentials: str) -> bool:
        """Return True, once, if failed logins used other credentials: waiting is for those that were refused."""
        if not self._logins.in_a_row or credentials == self._refused:
            return False
        self._logins.succeeded()
        return True

    def _of(self, act: Act) -> Failures:
        return self._logins if act is Act.LOGIN else self._upkeep


class TokenRefresher:
    """Keeps `VaultSessions.current` usable; `run` is its task."""

    def __init__(self, context: AgentContext) -> None:
        self._settings, self._auth = context.settings, context.settings.auth
        self._sessions, self._journal = context.sessions, context.journal
        self._messages, self._clock, self._trail = context.messages, context.clock, context.trail
        self._secret_ids = SecretIds(context.settings.lease_journal)
        self._failures = TokenFailures(context.clock)
        self._absent = "first"
        self._last_success: datetime | None = None
        self._logins: Counter[str] = Counter()

    async def run(self) -> None:
        """Keep a token until cancelled."""
        async with PersistentTaskGroup() as group:
            group.create_task(self._keep())
            group.create_task(self._poll_credentials())

    async def _keep(self) -> None:
        while True:
            step = self._next()
            if step.at <= self._clock.boot():
                await self._take(step)
                continue
            await wait_until(self._clock, self._sessions.attention, step.at)
            self._sessions.attention.clear()

    async def _poll_credentials(self) -> None:
        while True:
            await self._clock.wait(asyncio.Event(), CREDENTIALS_POLL_S)
            if self._failures and self._failures.credentials_changed(self._credentials()):
                self._sessions.attention.set()

    def _credentials(self) -> str:
        auth = self._auth
        return fingerprint(auth.jwt_file, auth.role_id_file, auth.secret_id_file, auth.token_file)

    def status(self) -> TokenStatus:
        """Return the status, for people and metrics."""
        status = TokenStatus(
            method=self._auth.method, state="none", last_error=self._failures.last_error, logins=dict(self._logins)
        )
        session = self._sessions.current
        if session is None:
            return status
        now = self._clock.boot()
        return replace(
            status,
            state="failing" if self._failures or session.failures.in_a_row else "valid",
            accessor_hash=hashed(session.accessor),
            expires_in_s=None if session.life.end == NEVER else session.life.end - now,
            ends_in_s=None if session.life.last == NEVER else session.life.last - now,
            last_success=self._last_success,
        )

    def _next(self) -> Step:
        now, session = self._clock.boot(), self._sessions.current
        # After a denial the last good request proves nothing any more: a check is due at once.
        steps = token_steps(
            session.life if session else None,
            absent=self._absent,
            tainted=bool(session and session.tainted),
            checked=-NEVER if self._sessions.suspect or session is None else session.checked,
            interval_s=self._settings.token_check_interval_s,
            now=now,
        )
        own = [replace(step, at=max(step.at, self._failures.retry_at(step.act))) for step in steps]
        older = [
            Step(act=Act.RENEW, at=max(item.life.renew_at(), item.failures.retry_at()), reason=str(item.number))
            for item in self._sessions.alive.values()
            if item is not session
        ]
        return min([*own, *older], key=lambda item: item.at)

    async def _take(self, step: Step) -> None:
        older = self._sessions.alive.get(int(step.reason)) if step.reason.isdigit() else None
        session = older or self._sessions.current
        try:
            if step.act is Act.LOGIN or session is None:
                session = await self._log_in(step.reason)
            elif step.act is Act.RENEW:
                await self._renew(session)
            else:
                await self._check(session)
        except SecretsError as error:
            self._failed(step, older, error)
            return
        self._last_success = self._clock.wall()
        if older:
            older.failures.succeeded()
        else:
            self._failures.succeeded(step.act)
        # A role should give short tokens: one whose login a crash cut off is known to nobody and lives its whole ttl.
        # Its accessor is in the journal by now, so this one may be extended.
        if step.act is Act.LOGIN and session.life.renewable and session.asked_s > session.life.ttl_s:
            await self._take(Step(act=Act.RENEW, at=step.at, reason="extension"))

    def _failed(self, step: Step, older: VaultSession | None, error: SecretsError) -> None:
        if older:
            older.failures.failed(self._clock.boot(), self._clock.chance(), error.retry_after_s)
        else:
            self._failures.failed(step.act, error, self._credentials())
        self._trail.record(f"secrets.token.{step.act.value}", outcome=error.name, reason=step.reason)
        fault = error.fault if isinstance(error, VaultError) else None
        current = self._sessions.current
        if older and fault is VaultFault.DENIED:
            self._sessions.forget(older.number)
        elif fault is VaultFault.DENIED and step.act is Act.CHECK:
            self._lose("revoked")
        elif current and step.act is Act.RENEW and fault is VaultFault.INVALID:
            current.life = replace(current.life, renewable=False)  # 400: the token is not renewable
        elif current and self._clock.boot() >= current.life.end:
            self._lose("expired")

    def _lose(self, reason: str) -> None:
        session, self._sessions.current = self._sessions.current, None
        self._absent = reason
        self._sessions.suspect = False
        if session is None:
            return
        self._failures.token_lost()
        self._trail.record("secrets.token.lost", outcome=reason, accessor=hashed(session.accessor))
        self._sessions.forget(session.number)
        self._messages.put_nowait(Change.SESSION)

    async def _log_in(self, reason: str) -> VaultSession:
        current = self._sessions.current
        if current and self._clock.boot() >= current.life.end:
            self._lose("expired")
        number = self._journal.begin_session(self._clock.wall(), owned=self._auth.method != "token_file")
        try:
            login = await log_in(self._sessions, self._auth, self._secret_ids)
        except LoginError as error:
            self._journal.end_session(number)
            if isinstance(error, SpentError) and (session := await self._resume()):
                return session
            raise
        except VaultError as error:
            # An unanswered login may have made a token: it counts as held until the revoker's next pass.
            if not error.ambiguous:
                self._journal.end_session(number)
            raise
        self._journal.name_session(number, login.accessor, owned=login.owned)
        # The other methods can log in again at any time; only a secret id can be used up.
        if self._auth.method == "approle":
            self._journal.keep_token(number, login.token)
        return self._adopt(number, login, reason)

    async def _resume(self) -> VaultSession | None:
        """Take up a predecessor's token if there is no other way in; the leases under it stay alive."""
        kept = self._journal.kept_token()
        held = {item.number for item in self._journal.holdings.sessions if item.accessor and item.owned}
        if kept is None or kept[0] not in held - self._sessions.alive.keys():
            return None
        number, token = kept
        try:
            login = await adopt(self._sessions, token, owned=True)
        except VaultError as error:
            if error.fault is not VaultFault.DENIED:
                raise
            self._journal.drop_token()
            return None
        return self._adopt(number, login, "resumed")

    def _adopt(self, number: int, login: VaultLogin, reason: str) -> VaultSession:
        now, chance, maximum = self._clock.boot(), self._clock.chance(), self._auth.max_ttl_s
        last = now + maximum - login.age_s if maximum else NEVER
        session = VaultSession(
            number=number,
            token=login.token,
            accessor=login.accessor,
            owned=login.owned,
            life=Life.issued(now, login.ttl_s, renewable=login.renewable, chance=chance, last=last),
            asked_s=self._auth.ttl_s or login.ttl_s,
            checked=now,
        )
        self._sessions.current = self._sessions.alive[number] = session
        self._sessions.suspect = False
        self._logins[reason] += 1
        request, accessor = login.request_id, hashed(login.accessor)
        self._trail.record("secrets.login", request_id=request, reason=reason, accessor=accessor, ttl_s=login.ttl_s)
        self._messages.put_nowait(Change.SESSION)
        return session

    async def _renew(self, session: VaultSession) -> None:
        renewal = await self._sessions.renew_token(session)
        session.life = renewal.life
        self._trail.record("secrets.token.renew", request_id=renewal.request_id, ttl_s=renewal.given_s)

    async def _check(self, session: VaultSession) -> None:
        answer = await self._sessions.call_as(session, "check", "GET", "auth/token/lookup-self")
        self._sessions.suspect = False
        now, left = self._clock.boot(), float(answer.data.get("ttl") or 0)
        # The server's word counts if it is shorter than ours, by more than rounding and the request's time.
        if left and left < session.life.end - now - 2:
            session.life = replace(session.life, ttl_s=now + left - session.life.start)
