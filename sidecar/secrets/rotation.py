"""The life of a published set: proved by its readers before what it replaces is given back."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum


class Stage(StrEnum):
    """Where a set stands."""

    FETCHED = "fetched"
    PUBLISHED = "published"
    ACKNOWLEDGED = "acknowledged"
    REJECTED = "rejected"
    TIMED_OUT = "timed_out"
    RETIRED = "retired"


class Happening(StrEnum):
    """What moves it."""

    PUBLISH = "publish"
    APPLY = "apply"
    REJECT = "reject"
    TIME_OUT = "time_out"
    RETIRE = "retire"


TABLE: dict[tuple[Stage, Happening], Stage] = {
    (Stage.FETCHED, Happening.PUBLISH): Stage.PUBLISHED,
    # A reader may see a set before its publisher knows that it is visible.
    (Stage.FETCHED, Happening.APPLY): Stage.ACKNOWLEDGED,
    (Stage.FETCHED, Happening.REJECT): Stage.REJECTED,
    (Stage.PUBLISHED, Happening.APPLY): Stage.ACKNOWLEDGED,
    (Stage.PUBLISHED, Happening.REJECT): Stage.REJECTED,
    (Stage.PUBLISHED, Happening.TIME_OUT): Stage.TIMED_OUT,
    # A reader may succeed later: the database was away, or it started late.
    (Stage.REJECTED, Happening.APPLY): Stage.ACKNOWLEDGED,
    (Stage.TIMED_OUT, Happening.APPLY): Stage.ACKNOWLEDGED,
    (Stage.TIMED_OUT, Happening.REJECT): Stage.REJECTED,
    # A reader that proved it once and fails now keeps what it replaced gone: nothing brings it back.
    (Stage.ACKNOWLEDGED, Happening.RETIRE): Stage.RETIRED,
    # A later set was acknowledged.
    (Stage.PUBLISHED, Happening.RETIRE): Stage.RETIRED,
    (Stage.REJECTED, Happening.RETIRE): Stage.RETIRED,
    (Stage.TIMED_OUT, Happening.RETIRE): Stage.RETIRED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """A set and its stage; `sessions` and `leases` are what it is made of."""

    generation: int
    stage: Stage
    published: float
    sessions: frozenset[int] = frozenset()
    leases: frozenset[str] = field(default=frozenset(), repr=False)
    applied_by: frozenset[str] = frozenset()
    rejection: str = ""

    def after(self, happening: Happening) -> Rotation:
        """Itself after a happening; what its stage does not know changes nothing."""
        return replace(self, stage=TABLE.get((self.stage, happening), self.stage))

    def applied(self, producer_id: str, required: frozenset[str]) -> Rotation:
        """Itself after a producer has proved it: acknowledged when all that must have."""
        told = replace(self, applied_by=self.applied_by | {producer_id})
        return replace(told.after(Happening.APPLY), rejection="") if required <= told.applied_by else told
