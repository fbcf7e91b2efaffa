"""Tokens: one in use, renewed, looked at every few seconds, replaced before or as soon as it dies."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from sidecar.secrets.audit import AuditTrail, hashed
from sidecar.secrets.clock import Clock, wait_until
from sidecar.secrets.lease.record import LeaseJournal
from sidecar.secrets.lease.schedule import NEVER, Act, Life, Step, token_steps
from sidecar.secrets.settings import SecretsSettings
from sidecar.secrets.status import TokenStatus
from sidecar.secrets.token.approle import SecretIds
from sidecar.secrets.token.credential import LoginError, SpentError, fingerprint
from sidecar.secrets.token.failures import Setbacks, TokenErrors, name_of, retry_after_s
from sidecar.secrets.token.login import Login, log_in, resume
from sidecar.secrets.token.persisted import KeptToken
from sidecar.secrets.token.session import Session
from sidecar.secrets.vault.answer import Answer
from sidecar.secrets.vault.client import Caller
from sidecar.secrets.vault.counted import Counted
from sidecar.secrets.vault.fault import Fault, VaultError

LOOK_S = 1.0


class Sessions:
    """Keeps `current` usable. `run` is its task; `on_change` is called when another token is in use."""

    def __init__(
        self, caller: Caller, settings: SecretsSettings, journal: LeaseJournal, clock: Clock, trail: AuditTrail
    ) -> None:
        self._caller, self._settings, self._journal = caller, settings, journal
        self._clock, self._trail = clock, trail
        self._secret_ids = SecretIds(settings.lease_journal)
        self._kept = KeptToken(settings.lease_journal)
        self._wake = asyncio.Event()
        self._setbacks = Setbacks(clock)
        self._suspect = False
        self._absent = "first"
        self._last_success: datetime | None = None
        self._logins: Counter[str] = Counter()
        self.current: Session | None = None
        self.alive: dict[int, Session] = {}
        self.requests: Counter[tuple[str, str]] = Counter()
        self.on_change: Callable[[], None] = lambda: None

    async def call(
        self, operation: str, session: Session | None, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> Answer:
        """A counted request with a session's token. Success proves the token; a denial makes it suspect.

        Raises:
            VaultError: it failed.
        """
        counted = Counted(self._caller, operation, self.requests)
        try:
            answer = await counted.call(method, path, token=session.token if session else None, body=body)
        except VaultError as error:
            if error.fault is Fault.DENIED and session is self.current and operation != "check":
                self._suspect = True
                self._wake.set()
            raise
        if session is not None:
            session.checked = self._clock.boot()
        return answer

    async def run(self) -> None:
        """Keeps a token for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep())
            group.create_task(self._look_for_credentials())

    async def _keep(self) -> None:
        while True:
            step = self._next()
            if step.at <= self._clock.boot():
                await self._take(step)
                continue
            await wait_until(self._clock, self._wake, step.at)
            self._wake.clear()

    async def _look_for_credentials(self) -> None:
        """A login that failed is tried at once with another credential: waiting is for the one that was refused."""
        while True:
            await self._clock.wait(asyncio.Event(), LOOK_S)
            if self._setbacks and self._setbacks.renewed(self._credentials()):
                self._wake.set()

    def _credentials(self) -> str:
        auth = self._settings.auth
        return fingerprint(auth.jwt_file, auth.role_id_file, auth.secret_id_file, auth.token_file)

    @property
    def usable(self) -> Session | None:
        """The current session, unless its time has passed, as after a suspend."""
        alive = self.current is not None and self._clock.boot() < self.current.life.end
        return self.current if alive else None

    def taint(self, session: Session) -> None:
        """Says that a lease may exist under a token without our knowing its id."""
        session.tainted = True
        self._wake.set()

    def forget(self, number: int) -> None:
        """Drops a session that Vault has revoked, with its leases."""
        self.alive.pop(number, None)
        self._kept.drop(number)
        self._journal.end_sessions([number])

    def status(self) -> TokenStatus:
        """For people and metrics."""
        now, session = self._clock.boot(), self.current
        method, mishap = self._settings.auth.method, self._setbacks.mishap
        if session is None:
            return TokenStatus(method=method, state="none", mishap=mishap, logins=dict(self._logins))
        return TokenStatus(
            method=method,
            state="failing" if self._setbacks or session.failures.in_a_row else "valid",
            accessor_hash=hashed(session.login.accessor),
            expires_in_s=_left(session.life.end, now),
            ends_in_s=_left(session.life.last, now),
            last_success=self._last_success,
            mishap=mishap,
            logins=dict(self._logins),
        )

    def _next(self) -> Step:
        """Older sessions that live on until their leases are proved replaced are only renewed."""
        now = self._clock.boot()
        session = self.current
        steps = token_steps(
            session.life if session else None,
            absent=self._absent,
            tainted=bool(session and session.tainted),
            checked=-NEVER if self._suspect or session is None else session.checked,
            interval_s=self._settings.token_check_interval_s,
            now=now,
        )
        own = [replace(step, at=max(step.at, self._setbacks.held_until(step.act))) for step in steps]
        return min([*own, *self._older_renewals()], key=lambda item: item.at)

    def _older_renewals(self) -> list[Step]:
        return [
            Step(act=Act.RENEW, at=max(item.life.renew_at(), item.failures.retry_at()), reason=str(item.number))
            for item in self.alive.values()
            if item is not self.current
        ]

    async def _take(self, step: Step) -> None:
        older = self.alive.get(int(step.reason)) if step.reason.isdigit() else None
        session = older or self.current
        try:
            if step.act is Act.LOGIN or session is None:
                session = await self._log_in(step.reason)
            elif step.act is Act.RENEW:
                await self._renew(session)
            else:
                await self._check(session)
        except TokenErrors as error:
            self._failed(step, older, error)
            return
        self._succeeded(step, older)
        if step.act is Act.LOGIN and session.login.renewable and self._asked(session) > session.login.ttl_s:
            await self._take(Step(act=Act.RENEW, at=step.at, reason="extension"))

    def _succeeded(self, step: Step, older: Session | None) -> None:
        self._last_success = self._clock.wall()
        if older:
            older.failures.forget()
        else:
            self._setbacks.forget(step.act)

    def _failed(self, step: Step, older: Session | None, error: Exception) -> None:
        name = name_of(error)
        if older:
            older.failures.note(self._clock.boot(), self._clock.chance(), retry_after_s(error))
        else:
            self._setbacks.note(step.act, error, self._credentials())
        self._trail.record(f"secrets.token.{step.act.value}", outcome=name, reason=step.reason)
        denied = isinstance(error, VaultError) and error.fault is Fault.DENIED
        if older and denied:
            self.forget(older.number)
        elif denied and step.act is Act.CHECK:
            self._lost("revoked")
        elif (
            self.current and step.act is Act.RENEW and isinstance(error, VaultError) and error.fault is Fault.INVALID
        ):
            self.current.life = replace(self.current.life, renewable=False)
        elif self.current and self._clock.boot() >= self.current.life.end:
            self._lost("expired")

    def _lost(self, reason: str) -> None:
        session, self.current = self.current, None
        self._absent = reason
        self._suspect = False
        if session is None:
            return
        self._setbacks.lost()
        self._trail.record("secrets.token.lost", outcome=reason, accessor=hashed(session.login.accessor))
        self.forget(session.number)
        self.on_change()

    async def _log_in(self, reason: str) -> Session:
        if self.current and self._clock.boot() >= self.current.life.end:
            self._lost("expired")
        owned = self._settings.auth.method != "token_file"
        number = self._journal.begin_session(self._clock.wall(), owned=owned)
        try:
            login = await log_in(Counted(self._caller, "login", self.requests), self._settings.auth, self._secret_ids)
        except LoginError as error:
            self._journal.end_sessions([number])
            if isinstance(error, SpentError) and (session := await self._resume()):
                return session
            raise
        except VaultError as error:
            if not error.ambiguous:
                self._journal.end_sessions([number])
            raise
        self._journal.name_session(number, login.accessor, owned=login.owned)
        if self._settings.auth.method == "approle":
            self._kept.keep(number, login.token)
        return self._adopt(number, login, reason)

    async def _resume(self) -> Session | None:
        """A predecessor's token, where there is no other way in; what it holds stays alive."""
        kept = self._kept.read()
        held = {item.number for item in self._journal.holdings.sessions if item.accessor and item.owned}
        if kept is None or kept.number not in held - self.alive.keys():
            return None
        try:
            login = await resume(Counted(self._caller, "login", self.requests), kept.token)
        except VaultError as error:
            if error.fault is not Fault.DENIED:
                raise
            self._kept.drop(kept.number)
            return None
        return self._adopt(kept.number, login, "resumed")

    def _adopt(self, number: int, login: Login, reason: str) -> Session:
        now = self._clock.boot()
        maximum = self._settings.auth.max_ttl_s
        life = Life(
            start=now,
            born=now,
            ttl_s=login.ttl_s,
            renewable=login.renewable,
            chance=self._clock.chance(),
            last=now + maximum - login.age_s if maximum else NEVER,
        )
        session = self.current = self.alive[number] = Session(number=number, login=login, life=life, checked=now)
        self._suspect = False
        self._logins[reason] += 1
        self._trail.record(
            "secrets.login",
            request_id=login.request_id,
            reason=reason,
            accessor=hashed(login.accessor),
            ttl_s=login.ttl_s,
        )
        self.on_change()
        return session

    def _asked(self, session: Session) -> float:
        return self._settings.auth.ttl_s or session.login.ttl_s

    async def _renew(self, session: Session) -> None:
        asked = self._asked(session)
        answer = await self.call("renew", session, "POST", "auth/token/renew-self", {"increment": f"{int(asked)}s"})
        now = self._clock.boot()
        given = float(answer.auth.get("lease_duration") or 0)
        session.life = session.life.renewed(now, given, asked, self._clock.chance())
        self._trail.record("secrets.token.renew", request_id=answer.request_id, ttl_s=given)

    async def _check(self, session: Session) -> None:
        """The server's word on the rest of its life counts where it is shorter than ours."""
        answer = await self.call("check", session, "GET", "auth/token/lookup-self")
        self._suspect = False
        now, left = self._clock.boot(), float(answer.data.get("ttl") or 0)
        if left and left < session.life.end - now - 2:
            session.life = replace(session.life, ttl_s=now + left - session.life.start)


def _left(end: float, now: float) -> float | None:
    return None if end == NEVER else end - now
