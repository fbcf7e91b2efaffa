"""Acknowledgements: which published generations their readers have proved by use, and which leases they still need.

Old credentials are revoked only after a reader has used their successors, for instance logged in to the database
with them: that a file was read proves nothing. Producers report it over the telemetry stream (SecretsApplied,
SecretsRejected; `proto/telemetry.proto`), which `ingest.producers` passes on.

Everything since the generation that was acknowledged last counts as in use: a reader may hold any of them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from sidecar.secrets.messages import AgentContext, Change, RejectedSecret

# A producer's text goes into the status and the log as it is, so it is bounded.
MESSAGE_CHARACTERS = 1024


class Stage(StrEnum):
    """Stages of a generation."""

    FETCHED = "fetched"
    PUBLISHED = "published"
    ACKNOWLEDGED = "acknowledged"
    REJECTED = "rejected"
    TIMED_OUT = "timed_out"


REACHED_FROM: dict[Stage, frozenset[Stage]] = {
    Stage.PUBLISHED: frozenset({Stage.FETCHED}),
    # A reader may see a generation before its publisher, a thread, has told the loop that it is visible. And it may
    # succeed after a rejection or time-out: the database was away, or the reader started late.
    Stage.ACKNOWLEDGED: frozenset({Stage.FETCHED, Stage.PUBLISHED, Stage.REJECTED, Stage.TIMED_OUT}),
    Stage.REJECTED: frozenset({Stage.FETCHED, Stage.PUBLISHED, Stage.TIMED_OUT}),
    Stage.TIMED_OUT: frozenset({Stage.PUBLISHED}),
    # ACKNOWLEDGED is final. A later failure changes nothing: the replaced credentials are already being revoked.
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledgement:
    """Stage of one generation, with the `sessions` and `leases` that it is made of. `published` is boot time."""

    generation: int
    stage: Stage
    published: float
    sessions: frozenset[int] = frozenset()
    leases: frozenset[str] = field(default=frozenset(), repr=False)
    applied_by: frozenset[str] = frozenset()

    def moved(self, stage: Stage) -> Acknowledgement:
        """Return it in another stage; one that cannot be reached from its own changes nothing."""
        return replace(self, stage=stage) if self.stage in REACHED_FROM[stage] else self

    def applied(self, producer_id: str, required: frozenset[str]) -> Acknowledgement:
        """Return it after a producer's proof: acknowledged once all `required` producers have given theirs."""
        told = replace(self, applied_by=self.applied_by | {producer_id})
        return told.moved(Stage.ACKNOWLEDGED) if required <= told.applied_by else told


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """Report of a producer that could not use a generation."""

    generation: int
    producer_id: str
    secret: str
    reason: str
    message: str
    time: datetime


class Acknowledgements:
    """Generations since the one that was acknowledged last. Used on the agent's event loop only.

    `readers` are the producers that were seen and have not said goodbye.
    """

    def __init__(self, context: AgentContext) -> None:
        self._settings, self._required = context.settings, frozenset(context.settings.acknowledged_by)
        self._messages, self._clock, self._trail = context.messages, context.clock, context.trail
        self._generations: dict[int, Acknowledgement] = {}
        self.readers, self._ended = set[str](), set[str]()
        self.acknowledged = 0
        self.rejection: Rejection | None = None
        self.counters: Counter[str] = Counter()
        self.ignored: Counter[str] = Counter()
        """Reports that count for nothing, by reason."""

    def fetched(self, generation: int, *, sessions: frozenset[int], leases: frozenset[str]) -> None:
        """Add a generation that is about to become visible: from now on its leases are in use."""
        self._generations[generation] = Acknowledgement(
            generation=generation, stage=Stage.FETCHED, published=self._clock.boot(), sessions=sessions, leases=leases
        )

    def published(self, generation: int) -> None:
        """Note that a generation is visible."""
        self._generations[generation] = self._generations[generation].moved(Stage.PUBLISHED)
        self._messages.put_nowait(Change.LEASES_IN_USE)

    def withdrawn(self, generation: int) -> None:
        """Drop a generation that could not be made visible."""
        self._generations.pop(generation, None)

    def composed(self, generation: int, *, sessions: frozenset[int], leases: frozenset[str]) -> None:
        """Note that a generation's bytes now stand on other leases, or on none."""
        # After a restart the bytes of kv secrets are the same as before: their generation stays, but no longer needs
        # the predecessor's sessions.
        if generation in self._generations:
            self._generations[generation] = replace(self._generations[generation], sessions=sessions, leases=leases)
        self._messages.put_nowait(Change.LEASES_IN_USE)

    def stage(self, generation: int) -> Stage | None:
        """Stage of a generation; None if it is unknown or superseded by an acknowledged one."""
        found = self._generations.get(generation)
        return found.stage if found else None

    def in_use(self) -> tuple[frozenset[str], frozenset[int]]:
        """Leases and sessions that a reader may use."""
        found = self._generations.values()
        leases = frozenset(lease for item in found for lease in item.leases)
        return leases, frozenset(session for item in found for session in item.sessions)

    @property
    def abandoned(self) -> bool:
        """True if there was a reader and every one has said goodbye: nobody uses a secret any more."""
        # Without any goodbye a reader may be about to start, or it lost its stream and still trades.
        return bool(self._ended) and not self.readers

    def connected(self, producer_id: str) -> None:
        """Note a producer that may read secrets from now on: an earlier goodbye no longer counts."""
        if not self._is_named(producer_id):
            return
        self.readers.add(producer_id)
        self._ended.discard(producer_id)

    def goodbye(self, producer_id: str) -> None:
        """Note that a producer has ended in order."""
        if not self._is_named(producer_id):
            return
        self.readers.discard(producer_id)
        self._ended.add(producer_id)

    def _is_named(self, producer_id: str) -> bool:
        # Else any process on the socket could have the login that the broker uses revoked, or a good one refused.
        return not self._required or producer_id in self._required

    def applied(self, producer_id: str, generation: int) -> bool:
        """Note that a producer has proved a generation by using it; False if `acknowledged_by` does not name it."""
        if not self._is_named(producer_id):
            self.ignored["not_named"] += 1
            return False
        self.connected(producer_id)
        before = self._generations.get(generation)
        if before is None:
            self.ignored["unknown_generation"] += 1
            self._trail.record("secrets.acknowledge", outcome="unknown_generation", generation=generation)
            return True
        after = self._generations[generation] = before.applied(producer_id, self._required)
        self._trail.record("secrets.acknowledge", generation=generation, producer=producer_id)
        if after.stage is Stage.ACKNOWLEDGED and generation > self.acknowledged:
            self._advance(generation)
        elif after.stage is Stage.ACKNOWLEDGED and self.rejection and self.rejection.generation == generation:
            self.rejection = None
            self._messages.put_nowait(Change.LEASES_IN_USE)
        return True

    def _advance(self, generation: int) -> None:
        self.acknowledged = generation
        self.counters["acknowledgements"] += 1
        self._generations = {number: item for number, item in self._generations.items() if number >= generation}
        if self.rejection and self.rejection.generation <= generation:
            self.rejection = None
        self._messages.put_nowait(Change.LEASES_IN_USE)

    def rejected(self, producer_id: str, generation: int, secret: str, reason: str, message: str) -> bool:
        """Note that a producer could not use a generation; False if `acknowledged_by` does not name it.

        The credentials that the generation replaced live on.
        """
        if not self._is_named(producer_id):
            self.ignored["not_named"] += 1
            return False
        self.connected(producer_id)
        before = self._generations.get(generation)
        if before is None:  # superseded meanwhile: there is nothing left to hold back
            self.ignored["unknown_generation"] += 1
            return True
        self._generations[generation] = before.moved(Stage.REJECTED)
        self.rejection = Rejection(
            generation=generation,
            producer_id=producer_id,
            secret=secret,
            reason=reason,
            message=message[:MESSAGE_CHARACTERS],
            time=self._clock.wall(),
        )
        self.counters["rejections"] += 1
        # An older generation that is refused was answered by the newer one.
        if generation == max(self._generations):
            self._messages.put_nowait(RejectedSecret(secret=secret))
        self._trail.record("secrets.reject", outcome=reason, generation=generation, secret=secret, producer=producer_id)
        return True

    def time_out(self) -> None:
        """Mark generations that nobody has acknowledged in time."""
        # A mark for health and console only. Taking the generation back would help nobody: its readers may be late.
        limit = self._clock.boot() - self._settings.acknowledge_timeout_s
        for generation, item in self._generations.items():
            if item.stage is Stage.PUBLISHED and item.published < limit:
                self._generations[generation] = item.moved(Stage.TIMED_OUT)
                self.counters["timeouts"] += 1
                self._trail.record("secrets.acknowledge", outcome="timed_out", generation=generation)
