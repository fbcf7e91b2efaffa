"""Both halves of the ledger as measures: what producers emitted, what the sidecar took, and the log records."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from sidecar.ingest.producers import ProducerLedger, ProducerStatus
from sidecar.metrics.ledger import EventLedger, LogLedger, SidecarLedger
from sidecar.selfmetrics.measure import Measure, Reading, alone, counter, each, gauge

_NS = 1_000_000_000


class ProducerRegistry(Protocol):
    """The producers that were seen."""

    def all(self) -> Sequence[ProducerStatus]:
        """Each, as it is now."""


class Ledgered(Protocol):
    """What the tables read: who sends, what came in and what became of it."""

    @property
    def producers(self) -> ProducerRegistry:
        """Who sends."""

    def ledger(self) -> SidecarLedger:
        """What came in and what became of it."""


def ledger_measures(pipeline: Ledgered) -> list[Measure]:
    """The sidecar's half of the ledger: received = counted + rejected + duplicate, and the log records' equation."""

    def events(pick: Callable[[EventLedger], int]) -> Callable[[], list[Reading]]:
        return lambda: each("producer", ((name, pick(half)) for name, half in pipeline.ledger().producers.items()))

    def rejected() -> Iterable[Reading]:
        for producer, half in pipeline.ledger().producers.items():
            for reason, number in half.rejected.items():
                yield {"producer": producer, "reason": reason}, number

    def logs_rejected() -> list[Reading]:
        return each("reason", pipeline.ledger().logs.rejected.items())

    def logs_dropped() -> list[Reading]:
        dropped = pipeline.ledger().logs.dropped
        return [({"reason": reason, "event": event}, number) for (reason, event), number in dropped.items()]

    def logs(pick: Callable[[LogLedger], int]) -> Callable[[], list[Reading]]:
        return lambda: alone(pick(pipeline.ledger().logs))

    return [
        counter(
            "telemetry.events.received",
            "{event}",
            "Events that came, duplicates included",
            events(lambda each: each.received),
        ),
        counter("telemetry.events.counted", "{event}", "Events that were taken", events(lambda each: each.counted)),
        counter(
            "telemetry.events.duplicate",
            "{event}",
            "Events that had been taken before",
            events(lambda each: each.duplicate),
        ),
        counter("telemetry.events.rejected", "{event}", "Events that broke a rule, by its name", rejected),
        counter(
            "telemetry.logs.accepted", "{record}", "Log records that were taken", logs(lambda each: each.accepted)
        ),
        counter(
            "telemetry.logs.exported",
            "{record}",
            "Log records that the collector has",
            logs(lambda each: each.exported),
        ),
        counter(
            "telemetry.logs.rejected", "{record}", "Log records that the collector refused for good", logs_rejected
        ),
        counter("telemetry.logs.dropped", "{record}", "Log records given up for want of room", logs_dropped),
        gauge(
            "telemetry.logs.queued",
            "{record}",
            "Log records that wait for their export",
            logs(lambda each: each.queued),
        ),
    ]


def producer_measures(pipeline: Ledgered, clock: Callable[[], int]) -> list[Measure]:
    """Each producer's half of the ledger of its session, as it last said: emitted = acknowledged + held + dropped."""

    def producers(pick: Callable[[ProducerStatus], float | None]) -> Callable[[], list[Reading]]:
        return lambda: each("producer", ((item.producer_id, pick(item)) for item in pipeline.producers.all()))

    def dropped() -> Iterable[Reading]:
        for status in pipeline.producers.all():
            for event, reason, number in status.ledger.dropped if status.ledger else ():
                yield {"producer": status.producer_id, "reason": reason, "event": event}, number

    def age(status: ProducerStatus) -> float | None:
        return max(clock() - status.last_heartbeat_ns, 0) / _NS if status.last_heartbeat_ns else None

    def ledger(pick: Callable[[ProducerLedger], int]) -> Callable[[], list[Reading]]:
        return producers(lambda status: pick(status.ledger) if status.ledger else None)

    return [
        counter(
            "telemetry.producer.emitted",
            "{event}",
            "Events that the producer emitted",
            ledger(lambda half: half.emitted),
        ),
        counter(
            "telemetry.producer.acknowledged",
            "{event}",
            "Of these, acknowledged to it",
            ledger(lambda half: half.acknowledged),
        ),
        gauge(
            "telemetry.producer.held", "{event}", "Of these, in its memory or spool", ledger(lambda half: half.held)
        ),
        counter(
            "telemetry.dropped", "{event}", "Of these, dropped by the producer, by reason and event type", dropped
        ),
        gauge(
            "telemetry.producer.spool.size",
            "By",
            "Bytes of the producer's spool",
            ledger(lambda half: half.spool_bytes),
        ),
        gauge(
            "telemetry.producer.connected",
            "",
            "Whether the producer's stream is open",
            producers(lambda status: int(status.connected)),
        ),
        gauge("telemetry.producer.heartbeat.age", "s", "Since the producer's last heartbeat", producers(age)),
    ]
