"""Ledger: every event and every log record that came in is in exactly one place.

Events: received = counted + rejected + duplicate. Log records: accepted = exported + rejected + queued + dropped.
The running counts are part of the checkpoint, so that the sums hold over restarts too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventLedger:
    """Events of one producer, or of all."""

    received: int = 0
    counted: int = 0
    duplicate: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)
    """By reason."""

    @property
    def balanced(self) -> bool:
        """True if each event is in exactly one place."""
        return self.received == self.counted + self.duplicate + sum(self.rejected.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLedger:
    """Log records of all producers."""

    accepted: int = 0
    exported: int = 0
    queued: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)
    """By reason."""
    dropped: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """By reason and event type."""

    @property
    def balanced(self) -> bool:
        """True if each record is in exactly one place."""
        return self.accepted == self.exported + self.queued + sum(self.rejected.values()) + sum(self.dropped.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class SidecarLedger:
    """The sidecar's half of the ledger at one moment; the producer's comes with its heartbeats."""

    events: EventLedger
    logs: LogLedger
    producers: Mapping[str, EventLedger] = field(default_factory=dict)

    @property
    def balanced(self) -> bool:
        """True if events and log records balance."""
        return self.events.balanced and self.logs.balanced


@dataclass(slots=True)
class EventCounts:
    """Running counts behind an `EventLedger`."""

    received: int = 0
    counted: int = 0
    duplicate: int = 0
    rejected: Counter[str] = field(default_factory=Counter)

    def ledger(self) -> EventLedger:
        """Counts at this moment."""
        return EventLedger(
            received=self.received, counted=self.counted, duplicate=self.duplicate, rejected=dict(self.rejected)
        )


@dataclass(slots=True)
class LogCounts:
    """Running counts behind a `LogLedger`; the log queue knows how many are queued."""

    accepted: int = 0
    exported: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    dropped: Counter[tuple[str, str]] = field(default_factory=Counter)

    def ledger(self, queued: int) -> LogLedger:
        """Counts at this moment."""
        return LogLedger(
            accepted=self.accepted,
            exported=self.exported,
            queued=queued,
            rejected=dict(self.rejected),
            dropped=dict(self.dropped),
        )


class LedgerCounts:
    """Running ledger of all producers."""

    def __init__(self) -> None:
        self.producers: dict[str, EventCounts] = {}
        self.logs = LogCounts()

    def of(self, producer_id: str) -> EventCounts:
        """Counts of a producer."""
        return self.producers.setdefault(producer_id, EventCounts())

    def ledger(self, queued: int) -> SidecarLedger:
        """Ledger at this moment; `queued` log records wait."""
        producers = {producer_id: counts.ledger() for producer_id, counts in self.producers.items()}
        return SidecarLedger(events=_sum(producers), logs=self.logs.ledger(queued), producers=producers)

    def capture(self) -> JsonObject:
        """Counts as plain values."""
        return {
            "producers": {
                producer_id: [counts.received, counts.counted, counts.duplicate, dict(counts.rejected)]
                for producer_id, counts in self.producers.items()
            },
            "logs": [self.logs.accepted, self.logs.exported, dict(self.logs.rejected)],
            "dropped": [[*key, count] for key, count in self.logs.dropped.items()],
        }

    def restore(self, captured: JsonObject) -> None:
        """Load captured counts."""
        for producer_id, (received, counted, duplicate, rejected) in captured["producers"].items():
            self.producers[producer_id] = EventCounts(received, counted, duplicate, Counter(rejected))
        # In place: the log queue counts into the same object.
        self.logs.accepted, self.logs.exported, rejected = captured["logs"]
        self.logs.rejected.update(rejected)
        self.logs.dropped.update({(reason, event): count for reason, event, count in captured["dropped"]})


def _sum(producers: Mapping[str, EventLedger]) -> EventLedger:
    rejected: Counter[str] = Counter()
    for each in producers.values():
        rejected.update(each.rejected)
    return EventLedger(
        received=sum(each.received for each in producers.values()),
        counted=sum(each.counted for each in producers.values()),
        duplicate=sum(each.duplicate for each in producers.values()),
        rejected=dict(rejected),
    )
