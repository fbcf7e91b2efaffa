"""Giving back leases and tokens that no set in use is made of, and keeping alive those that one is."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from sidecar.secrets.acknowledge import Proofs
from sidecar.secrets.audit import AuditTrail, hashed
from sidecar.secrets.clock import Clock
from sidecar.secrets.lease.record import LeaseJournal, SessionRecord
from sidecar.secrets.lease.schedule import RENEW_FROM, Failures, Life
from sidecar.secrets.publish.secret_version import Material
from sidecar.secrets.token.session import Session
from sidecar.secrets.token.token import Sessions
from sidecar.secrets.vault.fault import Fault, VaultError

_GONE = frozenset({Fault.INVALID, Fault.NOT_FOUND})
"""What the server answers for a lease or an accessor that it does not know (any more)."""


@dataclass(slots=True, kw_only=True)
class Superseded:
    """A lease that was replaced, and may still be in use."""

    secret: str
    lease_id: str = field(repr=False)
    session: int
    life: Life
    asked_s: float
    """0: what its role gives."""
    failures: Failures = field(default_factory=Failures)


@dataclass(slots=True, kw_only=True)
class Ancestor:
    """A token of a predecessor, known by its accessor only."""

    life: Life
    failures: Failures = field(default_factory=Failures)


class Retirement:
    """Holds what was replaced until nobody can use it."""

    def __init__(
        self, sessions: Sessions, journal: LeaseJournal, proofs: Proofs, clock: Clock, trail: AuditTrail
    ) -> None:
        self._sessions, self._journal, self._proofs = sessions, journal, proofs
        self._clock, self._trail = clock, trail
        self._superseded: list[Superseded] = []
        self._failures: dict[int, Failures] = {}
        self._ancestors: dict[int, Ancestor] = {}
        self.counters: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._superseded)

    def supersede(self, secret: str, material: Material) -> None:
        """Takes over a lease that was replaced."""
        session = next(iter(material.sessions), 0)
        if not material.lease_id or session not in self._sessions.alive:
            return  # it went with its token
        self._superseded.append(
            Superseded(
                secret=secret,
                lease_id=material.lease_id,
                session=session,
                life=material.life,
                asked_s=material.first_ttl_s,
            )
        )

    def inherit(self, first_s: float) -> None:
        """Takes over what the journal says of predecessors; it is kept alive if it is needed after `first_s`."""
        now, holdings = self._clock.boot(), self._journal.holdings
        guess = Life(start=now, born=now, ttl_s=first_s / RENEW_FROM, renewable=True, chance=0.0)
        self._ancestors = {item.number: Ancestor(life=guess) for item in holdings.sessions if item.accessor}
        self._superseded = [
            Superseded(secret=item.secret, lease_id=item.lease_id, session=item.session, life=guess, asked_s=0.0)
            for item in holdings.leases
            if item.lease_id and item.session in self._ancestors
        ]

    async def tend(self, needed: frozenset[int]) -> None:
        """Gives back what can go and renews what cannot; `needed` sessions are kept."""
        leases, sessions = self._proofs.in_use()
        for item in list(self._superseded):
            await self._tend_lease(item, leases)
        current = self._sessions.current
        if current is None:
            return
        # A token that is not ours to revoke does not take its leases with it: it is kept until they are gone.
        burdened = {item.session for item in self._superseded}
        for record in self._journal.holdings.sessions:
            kept = record.number == current.number or record.number in sessions | needed
            kept = kept or (not record.owned and record.number in burdened)
            waiting = self._failures.setdefault(record.number, Failures()).retry_at() > self._clock.boot()
            if not kept and not waiting:
                await self._revoke_session(record, current)
            elif record.number in self._ancestors.keys() - self._sessions.alive.keys():
                await self._renew_ancestor(record, current)

    async def give_back(self) -> None:
        """Ends everything that is held, whoever may use it."""
        current = self._sessions.current
        if current is None:
            return
        if not current.login.owned:
            for lease in self._journal.holdings.leases:
                if lease.lease_id:
                    body = {"lease_id": lease.lease_id}
                    await self._sessions.call("revoke", current, "POST", "sys/leases/revoke", body)
        records = sorted(self._journal.holdings.sessions, key=lambda item: item.number == current.number)
        await asyncio.gather(*(self._revoke_session(item, current) for item in records[:-1]))
        await self._revoke_session(records[-1], current)

    async def _tend_lease(self, item: Superseded, in_use: frozenset[str]) -> None:
        if item.session not in self._sessions.alive and item.session not in self._ancestors:
            self._superseded.remove(item)
            return
        now = self._clock.boot()
        if item.failures.retry_at() > now:
            return
        try:
            if item.lease_id not in in_use:
                await self._revoke_lease(item)
            elif item.life.renew_at() <= now:
                await self._renew_lease(item)
        except VaultError as error:
            item.failures.note(self._clock.boot(), self._clock.chance(), error.retry_after_s)
            if error.fault in _GONE:
                self._drop(item)

    async def _revoke_lease(self, item: Superseded) -> None:
        session = self._sessions.current
        if session is None:
            return
        body = {"lease_id": item.lease_id}
        answer = await self._sessions.call("revoke", session, "POST", "sys/leases/revoke", body)
        lease = hashed(item.lease_id)
        self._trail.record("secrets.revoke", secret=item.secret, request_id=answer.request_id, lease=lease)
        self.counters["retirements"] += 1
        self._drop(item)

    async def _renew_lease(self, item: Superseded) -> None:
        session = self._sessions.alive.get(item.session) or self._sessions.current
        if session is None:
            return
        body: dict[str, str | int] = {"lease_id": item.lease_id}
        if item.asked_s:
            body["increment"] = int(item.asked_s)
        answer = await self._sessions.call("renew", session, "POST", "sys/leases/renew", body)
        now, given = self._clock.boot(), float(answer.lease_duration)
        item.life = item.life.renewed(now, given, item.asked_s, self._clock.chance())
        item.failures.forget()

    async def _renew_ancestor(self, record: SessionRecord, current: Session) -> None:
        """Its leases die with it, and a reader that has proved nothing newer uses them."""
        item, now = self._ancestors[record.number], self._clock.boot()
        if max(item.life.renew_at(), item.failures.retry_at()) > now:
            return
        body = {"accessor": record.accessor}
        try:
            answer = await self._sessions.call("renew", current, "POST", "auth/token/renew-accessor", body)
        except VaultError as error:
            item.failures.note(now, self._clock.chance(), error.retry_after_s)
            return
        given = float(answer.auth.get("lease_duration") or 0)
        item.life = Life(start=now, born=now, ttl_s=given, renewable=True, chance=self._clock.chance())
        item.failures.forget()

    def _drop(self, item: Superseded) -> None:
        if item in self._superseded:
            self._superseded.remove(item)
        self._journal.end_lease(item.lease_id)

    async def _revoke_session(self, record: SessionRecord, current: Session) -> None:
        """A token takes all its leases with it, also those whose ids nobody learned."""
        mine = self._sessions.alive.get(record.number)
        try:
            if record.owned and mine:
                await self._sessions.call("revoke", mine, "POST", "auth/token/revoke-self")
            elif record.owned and record.accessor:
                body = {"accessor": record.accessor}
                await self._sessions.call("revoke", current, "POST", "auth/token/revoke-accessor", body)
        except VaultError as error:
            if error.fault not in _GONE and not (mine and error.fault is Fault.DENIED):
                failures = self._failures.setdefault(record.number, Failures())
                failures.note(self._clock.boot(), self._clock.chance(), error.retry_after_s)
                self._trail.record(
                    "secrets.token.revoke", outcome=error.fault.value, accessor=hashed(record.accessor)
                )
                return
        self._failures.pop(record.number, None)
        self._ancestors.pop(record.number, None)
        self._sessions.forget(record.number)
        self.counters["retirements"] += 1
        self._trail.record("secrets.token.revoke", accessor=hashed(record.accessor))
