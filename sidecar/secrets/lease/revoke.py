"""Revocation: ends leases and sessions that no generation in use needs, and keeps alive those that one still does.

Nothing is revoked by age. A lease or session is needed while it is part of a generation since the one that the
readers acknowledged last (`Acknowledgements.in_use`), or of a secret's newest version that is yet to be published.
All else goes at the next pass, at most a second later.

A session that was lost, because the server called its token dead or its time passed, was not seen to end: a proxy may
have spoken. Its record stays in the journal until the next token has revoked it by its accessor.

After a crash the successor knows what its predecessor held from the lease journal (`record.py`). `inherit` takes
every session and every lease with an id: they stay alive while the published generation, which
the readers go on using, needs them. The successor's own first generation, once acknowledged, sets them free. An
intent without an id needs nothing here: revoking its session takes an unnamed lease with it, and an unnamed login
ends with its role's ttl.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from pod_runtime.cancellation import PersistentTaskGroup
from sidecar.secrets.acknowledge import Acknowledgements
from sidecar.secrets.audit import hashed
from sidecar.secrets.errors import Proof, VaultError
from sidecar.secrets.lease.record import JournaledSession
from sidecar.secrets.lease.schedule import RENEW_FROM, Failures, Life
from sidecar.secrets.lease.session import VaultSession
from sidecar.secrets.messages import AgentContext, SupersededLease
from sidecar.secrets.vault.answers import Asked, Deed, deed_of

# Before a revocation that the policy forbids is tried again: only an operator can change that.
MISSING_RIGHT_PAUSE_S = 300.0


@dataclass(slots=True, kw_only=True)
class InheritedToken:
    """A predecessor's token, of which only the accessor is known."""

    life: Life
    failures: Failures = field(default_factory=Failures)


class LeaseRevoker:
    """Holds what was replaced until no reader can use it."""

    def __init__(self, context: AgentContext, acknowledgements: Acknowledgements) -> None:
        self._acknowledgements, self._sessions, self._journal = acknowledgements, context.sessions, context.journal
        self._clock, self._trail = context.clock, context.trail
        self._superseded: list[SupersededLease] = []
        self._failures: dict[int, Failures] = {}
        self._inherited: dict[int, InheritedToken] = {}
        self.counters: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._superseded)

    def supersede(self, lease: SupersededLease) -> None:
        """Take over a lease that was replaced."""
        self._superseded.append(lease)

    def inherit(self, first_s: float) -> None:
        """Take over the journal of predecessors; leases still needed after `first_s` seconds are renewed then."""
        now, holdings = self._clock.boot(), self._journal.holdings
        # The journal holds no lives. A short guess costs one early renewal, whose answer tells the true one.
        guess = Life.issued(now, first_s / RENEW_FROM, renewable=True, chance=0.0)
        self._inherited = {item.number: InheritedToken(life=guess) for item in holdings.sessions if item.accessor}
        self._superseded = [
            SupersededLease(secret=item.secret, lease_id=item.lease_id, session=item.session, life=guess, asked_s=0.0)
            for item in holdings.leases
            if item.lease_id
        ]

    async def tend(self, needed: frozenset[int]) -> None:
        """Revoke what can go and renew what cannot; sessions in `needed` stay."""
        leases, sessions = self._acknowledgements.in_use()
        for lease in list(self._superseded):
            await self._tend_lease(lease, leases)
        current = self._sessions.current
        if current is None:
            return
        # Where a token is not revoked, its leases must go one by one before its session is forgotten.
        # The journal knows them also while a `SupersededLease` is still queued.
        burdened = {item.session for item in self._journal.holdings.leases if item.lease_id}
        for record in self._journal.holdings.sessions:
            kept = record.number == current.number or record.number in sessions | needed
            kept = kept or (not record.revocable and record.number in burdened)
            waiting = self._failures.setdefault(record.number, Failures()).retry_at() > self._clock.boot()
            if not kept and not waiting:
                await self._revoke_session(record, current)
            elif record.number in self._inherited.keys() - self._sessions.alive.keys():
                await self._renew_inherited(record, current)

    async def revoke_all(self) -> None:
        """End everything that is held; raises VaultError if a lease stays whose token is not revoked."""
        current = self._sessions.current
        if current is None:
            return
        refused = await self._revoke_bound(current)
        burdened = {item.session for item in self._journal.holdings.leases if item.lease_id}
        free = [item for item in self._journal.holdings.sessions if item.revocable or item.number not in burdened]
        # The current token goes last: the others are revoked with it.
        async with PersistentTaskGroup() as group:
            for record in free:
                if record.number != current.number:
                    group.create_task(self._revoke_session(record, current))
        for record in free:
            if record.number == current.number:
                await self._revoke_session(record, current)
        if refused:
            raise refused

    async def _revoke_bound(self, current: VaultSession) -> VaultError | None:
        """Revoke the leases of tokens that cannot be revoked; returns the last error of those that stay."""
        bound, refused = {item.number for item in self._journal.holdings.sessions if not item.revocable}, None
        for lease in self._journal.holdings.leases:
            if not lease.lease_id or lease.session not in bound:
                continue
            try:
                await self._revoke_lease(current, lease.lease_id)
            except VaultError as error:
                if deed_of(error, Asked.REVOKE) is not Deed.ENDED:
                    refused = error
                    continue
            self._journal.end_lease(lease.lease_id)
        return refused

    async def _tend_lease(self, lease: SupersededLease, in_use: frozenset[str]) -> None:
        if all(lease.session != item.number for item in self._journal.holdings.sessions):
            self._superseded.remove(lease)  # it ended with its token
            return
        now, current = self._clock.boot(), self._sessions.current
        session, lost = self._sessions.alive.get(lease.session) or current, lease.session in self._sessions.lost
        if session is None or lease.failures.retry_at() > now:
            return
        try:
            if lease.lease_id in in_use and lease.life.renew_at() <= now < lease.life.end and not lost:
                renewal = await self._sessions.renew_lease(session, lease.lease_id, lease.life, lease.asked_s)
                lease.life = renewal.life
                lease.failures.succeeded()
            elif lease.lease_id not in in_use and current:
                identifier, request_id = hashed(lease.lease_id), await self._revoke_lease(current, lease.lease_id)
                self._trail.record("secrets.revoke", secret=lease.secret, request_id=request_id, lease=identifier)
                self.counters["retirements"] += 1
                self._drop(lease)
        except VaultError as error:
            lease.failures.failed(self._clock.boot(), self._clock.chance(), error.retry_after_s)
            asked = Asked.RENEW_LEASE if lease.lease_id in in_use else Asked.REVOKE
            if deed_of(error, asked) is Deed.ENDED:
                self._drop(lease)

    async def _revoke_lease(self, current: VaultSession, lease_id: str) -> str:
        answer = await self._sessions.call_as(current, "revoke", "POST", "sys/leases/revoke", {"lease_id": lease_id})
        return answer.request_id

    async def _renew_inherited(self, record: JournaledSession, current: VaultSession) -> None:
        """Keep a predecessor's token alive: its leases die with it, and a reader may use them."""
        item, now = self._inherited[record.number], self._clock.boot()
        if max(item.life.renew_at(), item.failures.retry_at()) > now:
            return
        try:
            renewal = await self._sessions.renew_inherited(current, record.accessor, item.life)
        except VaultError as error:
            item.failures.failed(now, self._clock.chance(), error.retry_after_s)
        else:
            item.life = renewal.life
            item.failures.succeeded()

    def _drop(self, lease: SupersededLease) -> None:
        if lease in self._superseded:
            self._superseded.remove(lease)
        self._journal.end_lease(lease.lease_id)

    async def _revoke_session(self, record: JournaledSession, current: VaultSession) -> None:
        """Revoke a token and so all its leases, also those whose ids were lost; strike it once it was seen to end."""
        accessor = hashed(record.accessor)
        try:
            if record.revocable:
                await self._give_back(record, current)
        except VaultError as error:
            if deed_of(error, Asked.REVOKE) is not Deed.ENDED:
                pause_s = MISSING_RIGHT_PAUSE_S if error.proof is Proof.RIGHT_MISSING else error.retry_after_s
                failures = self._failures.setdefault(record.number, Failures())
                failures.failed(self._clock.boot(), self._clock.chance(), pause_s)
                self._trail.record("secrets.token.revoke", outcome=error.name, accessor=accessor)
                return
        self._failures.pop(record.number, None)
        self._inherited.pop(record.number, None)
        self._sessions.forget(record.number)
        self.counters["retirements"] += 1
        # A batch token, and one that is not ours, lives to its end without a lease.
        self._trail.record("secrets.token.revoke", outcome="ok" if record.revocable else "left", accessor=accessor)

    async def _give_back(self, record: JournaledSession, current: VaultSession) -> None:
        own = self._sessions.alive.get(record.number)
        if own:
            try:
                await self._sessions.call_as(own, "revoke", "POST", "auth/token/revoke-self")
            except VaultError as error:
                if own is current and error.proof is Proof.TOKEN_DEAD:
                    return
                if deed_of(error, Asked.REVOKE_SELF) is not Deed.BY_ACCESSOR:
                    raise
            else:
                return
        body = {"accessor": record.accessor}
        await self._sessions.call_as(current, "revoke", "POST", "auth/token/revoke-accessor", body)
