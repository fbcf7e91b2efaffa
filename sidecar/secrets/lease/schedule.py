"""When a secret is due. Pure: times are seconds of a clock that is given, chance is a number that is given."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

RENEW_FROM, RENEW_TO = 0.60, 0.70
"""Share of its life at which a lease is renewed: two thirds, spread so that a crowd does not come at once."""
OVERLAP = 0.25
"""Share of the longest life that a successor is fetched before the end."""
SPREAD = 0.10
"""Share by which polls and replacements are spread."""
FAILURES_PER_MINUTE = 10
RETRY_BASE_S, RETRY_CAP_S = 0.5, 15.0
NEVER = float("inf")
LEASE_LOST = "lease_lost"
"""The server does not know a lease any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """How long something lives: from `start` for `ttl_s`, at most until `last` (infinite: not known).

    `chance` was drawn when it was made, so that its times stay the same however often they are asked for.
    `born` is when it was first issued: renewals move `start`.
    """

    start: float
    ttl_s: float
    renewable: bool
    born: float
    chance: float
    last: float = NEVER

    @property
    def end(self) -> float:
        """When it dies if nothing is done; never if it has no ttl."""
        return min(self.start + self.ttl_s, self.last) if self.ttl_s > 0 else NEVER

    def renew_at(self) -> float:
        """When to renew it; never if that would gain nothing."""
        if not self.renewable or self.ttl_s <= 0 or self.end >= self.last:
            return NEVER
        return self.start + self.ttl_s * (RENEW_FROM + (RENEW_TO - RENEW_FROM) * self.chance)

    def replace_at(self, overlap_s: float) -> float:
        """When to fetch its successor, at least `overlap_s` before its certain end where its life allows that."""
        if self.ttl_s <= 0:
            return NEVER
        if self.renewable and self.last == NEVER:
            return NEVER
        certain = self.last if self.renewable else self.end
        whole = certain - self.born
        overlap = min(max(OVERLAP * whole, overlap_s), 0.5 * whole)
        return certain - overlap - SPREAD * whole * self.chance

    def renewed(self, now: float, ttl_s: float, asked_s: float, chance: float) -> Life:
        """Itself after a renewal that gave `ttl_s` of the `asked_s` seconds: less tells its last moment."""
        last = now + ttl_s if ttl_s < asked_s - 1 else self.last
        return replace(self, start=now, ttl_s=ttl_s, chance=chance, last=min(last, self.last))


def poll_at(last: float, interval_s: float, chance: float) -> float:
    """When to look at a version again."""
    return last + interval_s * (1 - SPREAD * chance)


@dataclass(slots=True)
class Failures:
    """What went wrong lately with one thing: backed off, never a hot loop.

    `times` holds the failures of the last minute, also those before a success, for successes and failures may
    alternate; `in_a_row` those since the last success.
    """

    times: tuple[float, ...] = ()
    in_a_row: int = 0
    chance: float = 0.0
    retry_after_s: float = 0.0

    def note(self, now: float, chance: float, retry_after_s: float = 0.0) -> None:
        """Counts a failure."""
        self.times = (*(time for time in self.times if time > now - 60.0), now)
        self.in_a_row += 1
        self.chance, self.retry_after_s = chance, retry_after_s

    def forget(self) -> None:
        """Counts a success."""
        self.in_a_row, self.retry_after_s = 0, 0.0

    def retry_at(self) -> float:
        """When a request may be made again: however the failures fall, at most ten lie in any minute."""
        due = self.room_at()
        if self.in_a_row:
            delay = min(RETRY_CAP_S, RETRY_BASE_S * 2.0 ** min(self.in_a_row - 1, 16)) * (0.5 + 0.5 * self.chance)
            due = max(due, self.times[-1] + max(delay, self.retry_after_s))
        return due

    def room_at(self) -> float:
        """When one more failure would be within the ten of a minute."""
        return self.times[-FAILURES_PER_MINUTE] + 60.0 if len(self.times) >= FAILURES_PER_MINUTE else -NEVER


class Act(StrEnum):
    """What is done next for a secret or a token."""

    READ = "read"
    RENEW = "renew"
    POLL = "poll"
    LOGIN = "login"
    CHECK = "check"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What is next, when, and why."""

    act: Act
    at: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What the schedule needs to know of a secret that was read.

    `same_session`: whether the token that it was read with is the current one, which only matters to leases.
    `newer`: a newer version is known to exist. `refresh_at`: when the server changes it by itself. `unread`: the
    last step was to read a successor, and failed.
    """

    life: Life
    leased: bool
    same_session: bool = True
    newer: bool = False
    looked: float = NEVER
    refresh_at: float = NEVER
    unread: bool = False


def next_step(
    held: Held | None, *, forced: str, poll: Act | None, interval_s: float, overlap_s: float, now: float
) -> Step:
    """The next step for a secret, not yet held back by failures.

    `forced` is why it must be read again whatever it is; `poll` is how changes are noticed (a look at the
    version, a whole read), if at all.
    """
    if held is None:
        return Step(act=Act.READ, at=now, reason="first")
    renewal = Step(act=Act.RENEW, at=held.life.renew_at(), reason="renewal")
    if held.unread and renewal.at <= now < held.life.end and forced != LEASE_LOST:
        return renewal  # what has no successor yet lives on
    if reason := forced or _lost(held, now):
        return Step(act=Act.READ, at=now, reason=reason)
    steps = [
        Step(act=Act.READ, at=held.life.replace_at(overlap_s), reason="end_of_life"),
        Step(act=Act.READ, at=held.refresh_at, reason="rotated_by_server"),
        renewal,
    ]
    if poll is not None:
        steps.append(Step(act=poll, at=poll_at(held.looked, interval_s, held.life.chance), reason="poll"))
    return min(steps, key=lambda step: step.at)


def _lost(held: Held, now: float) -> str:
    if held.newer:
        return "new_version"
    if held.leased and not held.same_session:
        return "new_token"
    return "expired" if now >= held.life.end else ""


def token_steps(
    life: Life | None, *, absent: str, tainted: bool, checked: float, interval_s: float, now: float
) -> tuple[Step, ...]:
    """What is due for the token: a login, and beside it what keeps the token that there is.

    Each is held back by failures of its own, so that a login that fails lets no living token die. `life` is None
    where there is none that works, `absent` says why. `tainted`: a lease may have been made under it that nobody
    knows; a successor and its revocation end that.
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
