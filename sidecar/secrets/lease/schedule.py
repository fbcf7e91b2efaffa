"""Schedule of secrets and tokens: decides when to read, renew, poll or replace.

Pure: the caller passes the time (seconds of the boot clock) and the random number. The requests are made elsewhere:
renewals in `session.py`, reads and polls in `refresh.py`, logins and checks in `token/refresh.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

# Share of its life at which a lease is renewed: about two thirds, as Vault's own lifetime watcher does. A third is
# left for retries in an outage. The spread keeps pods that started together from calling together.
RENEW_FROM, RENEW_TO = 0.60, 0.70
# Share of the longest life that is left when a successor is read: time for the readers to acknowledge it.
OVERLAP = 0.25
# Share by which polls and replacements are spread, for the same reason as renewals.
SPREAD = 0.10
FAILURES_PER_MINUTE = 10
RETRY_BASE_S, RETRY_CAP_S = 0.5, 15.0
NEVER = float("inf")
LEASE_LOST = "lease_lost"
"""Reason to read: the server no longer knows the lease."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """Life of a lease, token or certificate: from `start` for `ttl_s`, at most until `last` (infinite: not known).

    `born` is its first issue; renewals move `start`. `chance` was drawn once, so that asking again gives equal times.
    """

    start: float
    ttl_s: float
    renewable: bool
    born: float
    chance: float
    last: float = NEVER

    @staticmethod
    def issued(now: float, ttl_s: float, *, renewable: bool, chance: float, last: float = NEVER) -> Life:
        """Return a life that begins now."""
        return Life(start=now, born=now, ttl_s=ttl_s, renewable=renewable, chance=chance, last=last)

    @property
    def end(self) -> float:
        """End without a renewal; never if it has no ttl."""
        return min(self.start + self.ttl_s, self.last) if self.ttl_s > 0 else NEVER

    def renew_at(self) -> float:
        """Time of the renewal; never if that would gain nothing."""
        if not self.renewable or self.ttl_s <= 0 or self.end >= self.last:
            return NEVER
        return self.start + self.ttl_s * (RENEW_FROM + (RENEW_TO - RENEW_FROM) * self.chance)

    def replace_at(self, overlap_s: float) -> float:
        """Time to read the successor: at least `overlap_s` before the certain end if half the life allows that."""
        if self.ttl_s <= 0:
            return NEVER
        if self.renewable and self.last == NEVER:
            return NEVER  # the first renewal that gives less than it asked for will tell the end
        certain = self.last if self.renewable else self.end
        whole = certain - self.born
        # At most half: a life shorter than the overlap would be due for its successor at birth, again and again.
        overlap = min(max(OVERLAP * whole, overlap_s), 0.5 * whole)
        return certain - overlap - SPREAD * whole * self.chance

    def renewed(self, now: float, ttl_s: float, asked_s: float, chance: float) -> Life:
        """Return the life after a renewal that gave `ttl_s` of the `asked_s` seconds."""
        # The server caps a renewal by max_ttl, so less than asked tells the last moment; 1 s is for its rounding.
        last = now + ttl_s if ttl_s < asked_s - 1 else self.last
        return replace(self, start=now, ttl_s=ttl_s, chance=chance, last=min(last, self.last))


def poll_at(last: float, interval_s: float, chance: float) -> float:
    """Return the time of the next poll."""
    return last + interval_s * (1 - SPREAD * chance)


@dataclass(slots=True)
class Failures:
    """Recent failures of one thing, with exponential back-off and a bound of ten a minute.

    `times` holds the failures of the last minute, also those before a success: successes and failures may alternate,
    and the bound must hold then too. `in_a_row` counts those since the last success.
    """

    times: tuple[float, ...] = ()
    in_a_row: int = 0
    chance: float = 0.0
    retry_after_s: float = 0.0

    def failed(self, now: float, chance: float, retry_after_s: float = 0.0) -> None:
        """Count a failure."""
        self.times = (*(time for time in self.times if time > now - 60.0), now)
        self.in_a_row += 1
        self.chance, self.retry_after_s = chance, retry_after_s

    def succeeded(self) -> None:
        """End the row of failures."""
        self.in_a_row, self.retry_after_s = 0, 0.0

    def retry_at(self) -> float:
        """Return the earliest time of the next attempt: at most ten failures lie in any minute."""
        due = self.room_at()
        if self.in_a_row:
            # Half of the delay is fixed. With full jitter a retry could follow at once, just when the server is down.
            delay = min(RETRY_CAP_S, RETRY_BASE_S * 2.0 ** min(self.in_a_row - 1, 16)) * (0.5 + 0.5 * self.chance)
            due = max(due, self.times[-1] + max(delay, self.retry_after_s))
        return due

    def room_at(self) -> float:
        """Return the time from which one more failure stays within the ten of a minute."""
        return self.times[-FAILURES_PER_MINUTE] + 60.0 if len(self.times) >= FAILURES_PER_MINUTE else -NEVER


class Act(StrEnum):
    """Kinds of request for a secret or a token."""

    READ = "read"
    RENEW = "renew"
    POLL = "poll"
    LOGIN = "login"
    CHECK = "check"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Next request, its time and its reason."""

    act: Act
    at: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldVersion:
    """Facts of a secret's version that the schedule decides by.

    `same_session`: it was read with the current token, which only matters to leases. `newer`: a newer version exists.
    `polled`: time of the last look at its version. `refresh_at`: the server changes it then. `rejected_at`: a producer
    could not use it, and it may be read anew from then on. `unread`: the last step was to read a successor, and failed.
    """

    life: Life
    leased: bool
    same_session: bool = True
    newer: bool = False
    polled: float = NEVER
    refresh_at: float = NEVER
    rejected_at: float = NEVER
    unread: bool = False


def next_step(
    held: HeldVersion | None, *, forced: str, poll: Act | None, interval_s: float, overlap_s: float, now: float
) -> Step:
    """Return the next step for a secret, before any back-off.

    `forced` is the reason to read it again in any case. `poll` is the request that notices changes (a look at the
    version, a whole read), if there is one.
    """
    if held is None:
        return Step(act=Act.READ, at=now, reason="first")
    renewal = Step(act=Act.RENEW, at=held.life.renew_at(), reason="renewal")
    if held.unread and renewal.at <= now < held.life.end and forced != LEASE_LOST:
        return renewal  # reading a successor fails: until it succeeds, the old version must stay alive
    if reason := forced or _lost(held, now):
        return Step(act=Act.READ, at=now, reason=reason)
    # min keeps the first of equals: what replaces a version goes before what merely prolongs it.
    steps = [
        Step(act=Act.READ, at=held.life.replace_at(overlap_s), reason="end_of_life"),
        Step(act=Act.READ, at=held.refresh_at, reason="rotated_by_server"),
        Step(act=Act.READ, at=held.rejected_at, reason="rejected"),
        renewal,
    ]
    if poll is not None:
        steps.append(Step(act=poll, at=poll_at(held.polled, interval_s, held.life.chance), reason="poll"))
    return min(steps, key=lambda step: step.at)


def _lost(held: HeldVersion, now: float) -> str:
    if held.newer:
        return "new_version"
    if held.leased and not held.same_session:
        return "new_token"
    return "expired" if now >= held.life.end else ""


def token_steps(
    life: Life | None, *, absent: str, tainted: bool, checked: float, interval_s: float, now: float
) -> tuple[Step, ...]:
    """Return the steps due for the token: a login, and beside it the renewal and check of the token that there is.

    Failures hold back each step by itself, so that a failing login lets no living token die. `life` is None without a
    working token; `absent` says why. `tainted`: a lease whose id was lost may exist under the token; a new login and
    the old token's revocation end it.
    """
    if life is None:
        return (Step(act=Act.LOGIN, at=now, reason=absent),)
    if now >= life.end:
        return (Step(act=Act.LOGIN, at=now, reason="expired"),)
    login = Step(act=Act.LOGIN, at=life.replace_at(0.0), reason="end_of_life")
    return (
        Step(act=Act.LOGIN, at=now, reason="unknown_lease") if tainted else login,
        Step(act=Act.RENEW, at=life.renew_at(), reason="renewal"),
        Step(act=Act.CHECK, at=poll_at(checked, interval_s, life.chance), reason="check"),
    )
