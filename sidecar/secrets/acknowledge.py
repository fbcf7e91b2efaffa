"""Which published sets their readers have proved, and what is therefore still in use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from sidecar.secrets.audit import AuditTrail
from sidecar.secrets.clock import Clock
from sidecar.secrets.rotation import Happening, Rotation, Stage
from sidecar.secrets.status import Rejection

MESSAGE_CHARACTERS = 1024


class Proofs:
    """Keeps the sets since the one proved last. `on_news` is called when something may be given back."""

    def __init__(
        self, *, acknowledged_by: tuple[str, ...], timeout_s: float, clock: Clock, trail: AuditTrail
    ) -> None:
        self._required = frozenset(acknowledged_by)
        self._timeout_s = timeout_s
        self._clock, self._trail = clock, trail
        self._rotations: dict[int, Rotation] = {}
        self._readers: set[str] = set()
        self._ended: set[str] = set()
        self.acknowledged = 0
        self.rejection: Rejection | None = None
        self.counters: Counter[str] = Counter()
        self.on_news: Callable[[], None] = lambda: None

    def fetched(self, generation: int, *, sessions: frozenset[int], leases: frozenset[str]) -> None:
        """A set is about to be visible; it is made of these leases and lives as long as these sessions."""
        self._rotations[generation] = Rotation(
            generation=generation, stage=Stage.FETCHED, published=self._clock.boot(), sessions=sessions, leases=leases
        )

    def published(self, generation: int) -> None:
        """It is visible."""
        self._rotations[generation] = self._rotations[generation].after(Happening.PUBLISH)
        self.on_news()

    def withdrawn(self, generation: int) -> None:
        """It could not be made visible."""
        self._rotations.pop(generation, None)

    def composed(self, generation: int, *, sessions: frozenset[int], leases: frozenset[str]) -> None:
        """The same bytes, made of other leases or of none."""
        if generation in self._rotations:
            self._rotations[generation] = replace(self._rotations[generation], sessions=sessions, leases=leases)
        self.on_news()

    def stage(self, generation: int) -> Stage | None:
        """Where a set stands; none if it is not known or done with."""
        rotation = self._rotations.get(generation)
        return rotation.stage if rotation else None

    def in_use(self) -> tuple[frozenset[str], frozenset[int]]:
        """Leases and sessions that a reader may use: of every set since the one proved last."""
        leases: frozenset[str] = frozenset()
        sessions: frozenset[int] = frozenset()
        for rotation in self._rotations.values():
            leases, sessions = leases | rotation.leases, sessions | rotation.sessions
        return leases, sessions

    @property
    def readers(self) -> int:
        """Producers that were seen and have not said goodbye."""
        return len(self._readers)

    @property
    def abandoned(self) -> bool:
        """Whether all readers have said goodbye, and there was one: nobody uses a secret any more."""
        return bool(self._ended) and not self._readers

    def connected(self, producer_id: str) -> None:
        """A producer is there and may read secrets: its earlier goodbye no longer counts."""
        self._readers.add(producer_id)
        self._ended.discard(producer_id)

    def goodbye(self, producer_id: str) -> None:
        """A producer has ended in order."""
        self._readers.discard(producer_id)
        self._ended.add(producer_id)

    def applied(self, producer_id: str, generation: int) -> None:
        """A producer has proved a set by using it."""
        self.connected(producer_id)
        rotation = self._rotations.get(generation)
        if rotation is None:
            self._trail.record("secrets.acknowledge", outcome="unknown_generation", generation=generation)
            return
        told = self._rotations[generation] = rotation.applied(producer_id, self._required)
        self._trail.record("secrets.acknowledge", generation=generation, producer=producer_id)
        if told.stage is Stage.ACKNOWLEDGED and generation > self.acknowledged:
            self._advance(generation)

    def _advance(self, generation: int) -> None:
        self.acknowledged = generation
        self.counters["acknowledgements"] += 1
        for number in [number for number in self._rotations if number < generation]:
            del self._rotations[number]
        if self.rejection and self.rejection.generation <= generation:
            self.rejection = None
        self.on_news()

    def rejected(self, producer_id: str, generation: int, secret: str, reason: str, message: str) -> None:
        """A producer could not use a set; what the set replaced lives on."""
        self.connected(producer_id)
        rotation = self._rotations.get(generation)
        if rotation is None:
            return
        self._rotations[generation] = replace(rotation.after(Happening.REJECT), rejection=reason)
        self.rejection = Rejection(
            generation=generation,
            producer_id=producer_id,
            secret=secret,
            reason=reason,
            message=message[:MESSAGE_CHARACTERS],
            time=self._clock.wall(),
        )
        self.counters["rejections"] += 1
        self._trail.record(
            "secrets.reject", outcome=reason, generation=generation, secret=secret, producer=producer_id
        )

    def time_out(self) -> None:
        """Marks sets that nobody has proved in time."""
        limit = self._clock.boot() - self._timeout_s
        for generation, rotation in self._rotations.items():
            if rotation.stage is Stage.PUBLISHED and rotation.published < limit:
                self._rotations[generation] = rotation.after(Happening.TIME_OUT)
                self.counters["timeouts"] += 1
                self._trail.record("secrets.acknowledge", outcome="timed_out", generation=generation)
