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
from pod_runtime.secret import Secret
from sidecar.secrets.audit import hashed
from sidecar.secrets.clock import Clock, wait_until
from sidecar.secrets.errors import (
    REFUSED_PAUSE_S,
    LockedError,
    LoginError,
    Proof,
    SameTokenError,
    SecretsError,
    SpentError,
    UseLimitedError,
    VaultError,
)
from sidecar.secrets.lease.schedule import NEVER, Act, Failures, Life, Step, token_steps
from sidecar.secrets.lease.session import VaultSession
from sidecar.secrets.messages import AgentContext, Change
from sidecar.secrets.status import LastError, TokenStatus
from sidecar.secrets.token.login import SecretIds, VaultLogin, adopt, log_in
from sidecar.secrets.token.refusals import RefusedLogin, RefusedLogins
from sidecar.secrets.vault.answers import Asked, Deed, deed_of
from sidecar.secrets.vault.credential import fingerprint, read_credential

CREDENTIALS_POLL_S = 1.0
# One secret id is tried twice: a role may be made a moment after the pod. Then another file or the pause is awaited.
TRIES, SECOND_TRY_S = 2, 15.0
# A token that died younger than this was no gain: one login after it is free, further ones back off.
YOUNG_S = 60.0
_ASKED = {Act.LOGIN: Asked.LOGIN, Act.RENEW: Asked.RENEW_TOKEN, Act.CHECK: Asked.CHECK}


class TokenFailures:
    """Failures of logins and of the current token's upkeep: separate back-off, one shared bound of ten a minute."""

    # They are separate because a login that fails (a used-up secret id) must not hold back the renewals that keep the
    # living token alive meanwhile.

    def __init__(self, clock: Clock, refused_logins: RefusedLogins) -> None:
        self._clock = clock
        self._refused_logins = refused_logins
        self._logins, self._upkeep, self._all = Failures(), Failures(), Failures()
        self._short_lives = Failures()
        self._refusals = 0
        self._login_error: LastError | None = None
        self._upkeep_error: LastError | None = None
        self._refused = ""

    @property
    def last_error(self) -> LastError | None:
        """The last error without a later success; a login's first."""
        return self._login_error or self._upkeep_error

    def __bool__(self) -> bool:
        return bool(self._logins.in_a_row or self._upkeep.in_a_row)

    def resume(self, credentials: str) -> None:
        """Go on waiting where a predecessor did, if the credentials are those that it was refused with."""
        kept, now = self._refused_logins.read(), self._clock.boot()
        if kept is None or kept.credentials != credentials:
            return
        self._refusals, self._refused = kept.count, credentials
        if (left_s := kept.left_s(now)) > 0:
            self._logins.failed(now, 0.0, left_s)
            wall = self._clock.wall()
            self._login_error = LastError(name=kept.name, message=kept.message, time=wall, status=kept.status)

    def retry_at(self, act: Act) -> float:
        """Return the earliest time of a step of this kind."""
        due = max(self._of(act).retry_at(), self._all.room_at())
        if act is Act.LOGIN and self._short_lives.in_a_row > 1:
            due = max(due, self._short_lives.retry_at())
        return due

    def failed(self, act: Act, error: SecretsError, credentials: str, *, lockable: bool = False) -> None:
        """Count a failure; `credentials` is the fingerprint of the files that a login used.

        `lockable`: the server refused a credential whose refusals it counts, and locks the role after a few.
        """
        now, pause_s = self._clock.boot(), error.retry_after_s
        if act is Act.LOGIN and credentials != self._refused:
            self._refusals = 0
        if lockable:
            self._refusals += 1
        if self._refusals:
            pause_s = max(pause_s, SECOND_TRY_S if self._refusals < TRIES else REFUSED_PAUSE_S)
        self._of(act).failed(now, self._clock.chance(), pause_s)
        self._all.failed(now, 0.0)
        if act is Act.LOGIN:
            self._login_error, self._refused = LastError.of(error, self._clock.wall()), credentials
            if self._refusals:
                self._refused_logins.keep(
                    RefusedLogin(
                        credentials=credentials,
                        count=self._refusals,
                        at_s=now,
                        pause_s=pause_s,
                        name=error.name,
                        message=str(error),
                        status=error.status,
                    )
                )
        else:
            self._upkeep_error = LastError.of(error, self._clock.wall())

    def succeeded(self, act: Act) -> None:
        """Count a success; a login's ends all failures."""
        self._of(act).succeeded()
        self._upkeep_error = None
        if act is Act.LOGIN:
            self._login_error, self._refusals = None, 0
            self._upkeep.succeeded()
            self._refused_logins.forget()

    def retry_login(self) -> None:
        """End the pause after refused logins, for one attempt."""
        self._logins.succeeded()

    def token_lost(self, age_s: float) -> None:
        """End the failures of upkeep: the check that found the token dead is no reason to delay the login."""
        self._upkeep.succeeded()
        # Answers that call every new token dead must not make the agent log in in circles.
        if age_s < YOUNG_S:
            self._short_lives.failed(self._clock.boot(), self._clock.chance())
        else:
            self._short_lives.succeeded()

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
        self._failures = TokenFailures(context.clock, RefusedLogins(context.settings.lease_journal))
        self._absent = "first"
        self._blind = False
        self._last_success: datetime | None = None
        self._logins: Counter[str] = Counter()

    async def run(self) -> None:
        """Keep a token until cancelled."""
        self._failures.resume(self._credentials())
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
            # Vault's tokens begin with hvs. or hvb. since 1.10, OpenBao's with s. or b.
            cli="vault" if session.token.reveal().startswith("hv") else "bao",
            expires_in_s=None if session.life.end == NEVER else session.life.end - now,
            ends_in_s=None if session.life.last == NEVER else session.life.last - now,
            last_success=self._last_success,
        )

    def retry(self) -> None:
        """Try a login again now, if one waits for another credential."""
        self._failures.retry_login()
        self._sessions.attention.set()

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
            refused = step.act is Act.LOGIN and deed_of(error, Asked.LOGIN) is Deed.WAIT
            lockable = self._auth.method == "approle" and (refused or isinstance(error, SpentError))
            self._failures.failed(step.act, error, self._credentials(), lockable=lockable)
        self._trail.record(f"secrets.token.{step.act.value}", outcome=error.name, reason=step.reason)
        current = self._sessions.current
        match deed_of(error, _ASKED[step.act]):
            case Deed.TOKEN_LOST if older:
                self._sessions.lose(older.number)
            case Deed.TOKEN_LOST:
                self._lose("revoked")
            case Deed.STOP_RENEWING if renewed := older or current:
                renewed.life = replace(renewed.life, renewable=False)
            case _ if current and self._clock.boot() >= current.life.end:
                self._lose("expired")

    def _lose(self, reason: str) -> None:
        session, self._sessions.current = self._sessions.current, None
        self._absent = reason
        self._sessions.suspect = False
        if session is None:
            return
        self._failures.token_lost(self._clock.boot() - session.life.born)
        self._trail.record("secrets.token.lost", outcome=reason, accessor=hashed(session.accessor))
        self._sessions.lose(session.number)
        self._messages.put_nowait(Change.SESSION)

    async def _log_in(self, reason: str) -> VaultSession:
        current = self._sessions.current
        if current and self._clock.boot() >= current.life.end:
            self._lose("expired")
        if current and self._auth.method == "token_file" and current.token == self._given():
            raise SameTokenError(
                f"secrets.auth.token_file: {self._auth.token_file} still has the token that is in use and that ends "
                "soon; write another one into the file"
            )
        number = self._journal.begin_session(self._clock.wall(), owned=self._auth.method != "token_file")
        try:
            login = await log_in(self._sessions, self._auth, self._secret_ids)
        except LoginError as error:
            self._journal.end_session(number)
            if isinstance(error, (SpentError, LockedError)) and (session := await self._resume()):
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
        if login.uses:
            await self._give_up_limited(number, login)
        return self._adopt(number, login, reason)

    def _given(self) -> Secret:
        return read_credential(self._auth.token_file, "secrets.auth.token_file")

    async def _give_up_limited(self, number: int, login: VaultLogin) -> None:
        """Raise UseLimitedError for a token of a few uses, and revoke it."""
        try:
            if login.owned:
                await self._sessions.call("POST", "auth/token/revoke-self", token=login.token, operation="revoke")
        except VaultError as error:
            # Its record stays, and the revoker gives it back with the next token.
            self._trail.record("secrets.token.revoke", outcome=error.name, accessor=hashed(login.accessor))
        else:
            self._journal.end_session(number)
        raise UseLimitedError(
            f"the token works for {login.uses} requests (token_num_uses), and each poll is one: "
            "set token_num_uses=0 in the role"
        )

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
            if error.proof is not Proof.TOKEN_DEAD:
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
        self._sessions.lost.pop(number, None)
        self._sessions.suspect = False
        self._logins[reason] += 1
        request, accessor = login.request_id, hashed(login.accessor)
        self._trail.record("secrets.login", request_id=request, reason=reason, accessor=accessor, ttl_s=login.ttl_s)
        self._messages.put_nowait(Change.SESSION)
        return session

    async def _renew(self, session: VaultSession) -> None:
        before = session.life
        renewal = await self._sessions.renew_token(session)
        session.life = renewal.life
        self._trail.record("secrets.token.renew", request_id=renewal.request_id, ttl_s=renewal.given_s)
        if renewal.given_s < session.asked_s - 1:
            await self._learn_period(session)
        if session.period_s is None or renewal.given_s >= (session.period_s or NEVER) - 1:
            # Less than asked for is no last moment where the server gives its period each time, or where it is unknown.
            session.life = replace(session.life, last=before.last)
            session.asked_s = session.period_s or session.asked_s

    async def _learn_period(self, session: VaultSession) -> None:
        if session.period_s is not None:
            return
        try:
            answer = await self._sessions.call_as(session, "check", "GET", "auth/token/lookup-self")
        except VaultError as error:
            if deed_of(error, Asked.CHECK) is Deed.TOKEN_LIVES:
                session.period_s = 0.0
        else:
            session.period_s = float(answer.data.get("period") or 0)

    async def _check(self, session: VaultSession) -> None:
        try:
            answer = await self._sessions.call_as(session, "check", "GET", "auth/token/lookup-self")
        except VaultError as error:
            if deed_of(error, Asked.CHECK) is not Deed.TOKEN_LIVES:
                raise
            self._sessions.suspect = False
            if not self._blind:
                self._blind = True
                missing = "the policy forbids auth/token/lookup-self; a dead token is still told from a living one"
                self._trail.record("secrets.token.check", outcome=error.name, reason=missing)
            return
        self._sessions.suspect = False
        now, left = self._clock.boot(), float(answer.data.get("ttl") or 0)
        # The server's word counts if it is shorter than ours, by more than rounding and the request's time.
        if left and left < session.life.end - now - 2:
            session.life = replace(session.life, ttl_s=now + left - session.life.start)
