"""Ledger: every event and every log record that came in is in exactly one place.

Events: received = counted + rejected + duplicate. Log records: accepted = exported + rejected + queued + dropped.
The running counts are part of the checkpoint, so that the sums hold over restarts too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

JsonObject = dict[str, Any]


@dataclass(slots=True)
class EventLedger:
    """Events of one producer, or of all."""

    received: int = 0
    counted: int = 0
    duplicate: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    """By reason."""

    @property
    def balanced(self) -> bool:
        """True if each event is in exactly one place."""
        return self.received == self.counted + self.duplicate + sum(self.rejected.values())


@dataclass(slots=True)
class LogLedger:
    """Log records of all producers. In a running ledger `queued` stays 0: the log queue knows it."""

    accepted: int = 0
    exported: int = 0
    queued: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    """By reason."""
    dropped: Counter[tuple[str, str]] = field(default_factory=Counter)
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


class LedgerCounts:
    """Running ledger of all producers."""

    def __init__(self) -> None:
        self.producers: dict[str, EventLedger] = {}
        self.logs = LogLedger()

    def of(self, producer_id: str) -> EventLedger:
        """Counts of a producer."""
        return self.producers.setdefault(producer_id, EventLedger())

    def ledger(self, queued: int) -> SidecarLedger:
        """Ledger at this moment; `queued` log records wait."""
        # Copies: the reader keeps this moment while the counts go on. `deepcopy` would take ten times as long.
        producers = {name: replace(item, rejected=item.rejected.copy()) for name, item in self.producers.items()}
        rejected, dropped = self.logs.rejected.copy(), self.logs.dropped.copy()
        total = EventLedger()
        for each in producers.values():
            total.received += each.received
            total.counted += each.counted
            total.duplicate += each.duplicate
            total.rejected.update(each.rejected)
        logs = replace(self.logs, queued=queued, rejected=rejected, dropped=dropped)
        return SidecarLedger(events=total, logs=logs, producers=producers)

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
            self.producers[producer_id] = EventLedger(received, counted, duplicate, Counter(rejected))
        # In place: the log queue counts into the same object.
        self.logs.accepted, self.logs.exported, rejected = captured["logs"]
        self.logs.rejected.update(rejected)
        self.logs.dropped.update({(reason, event): count for reason, event, count in captured["dropped"]})
