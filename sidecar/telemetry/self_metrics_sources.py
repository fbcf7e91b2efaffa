"""What the sidecar says of itself: which figure comes from where. Every name on the page is in these tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import psutil

from sidecar.telemetry.export_signal import ExportStatus, SignalStatus
from sidecar.telemetry.ledger import EventLedger, Ledger, LogLedger
from sidecar.telemetry.producers import ProducerLedger, ProducerStatus
from sidecar.telemetry.self_metrics import Measure, Reading

_NS = 1_000_000_000
_NONE: Mapping[str, str] = {}


class ProducerRegistry(Protocol):
    """The producers that were seen."""

    def all(self) -> Sequence[ProducerStatus]:
        """Each, as it is now."""


class Pipeline(Protocol):
    """What the tables read of the telemetry pipeline."""

    @property
    def producers(self) -> ProducerRegistry:
        """Who sends."""

    def ledger(self) -> Ledger:
        """What came in and what became of it."""

    def journal_status(self) -> Any:
        """The journal's figures."""

    def series(self) -> Mapping[str, int]:
        """Series by producer."""

    def overflow(self) -> Mapping[tuple[str, str], int]:
        """Measurements in overflow series by producer and instrument."""

    def refused_measurements(self) -> Mapping[tuple[str, str, str], int]:
        """Measurements refused by producer, instrument and reason."""

    def ingest_counts(self) -> Any:
        """Messages that were not understood."""


def ledger_measures(pipeline: Pipeline) -> list[Measure]:
    """The sidecar's half of the ledger: received = counted + rejected + duplicate, and the log records' equation."""

    def events(pick: Callable[[EventLedger], int]) -> Callable[[], list[Reading]]:
        return lambda: [({"producer": name}, pick(each)) for name, each in pipeline.ledger().producers.items()]

    def rejected() -> Iterable[Reading]:
        for producer, each in pipeline.ledger().producers.items():
            for reason, number in each.rejected.items():
                yield {"producer": producer, "reason": reason}, number

    def logs_rejected() -> list[Reading]:
        return [({"reason": reason}, number) for reason, number in pipeline.ledger().logs.rejected.items()]

    def logs_dropped() -> list[Reading]:
        dropped = pipeline.ledger().logs.dropped
        return [({"reason": reason, "event": event}, number) for (reason, event), number in dropped.items()]

    def logs(pick: Callable[[LogLedger], int]) -> Callable[[], list[Reading]]:
        return lambda: [(_NONE, pick(pipeline.ledger().logs))]

    return [
        Measure(
            "counter",
            "telemetry.events.received",
            "{event}",
            "Events that came, duplicates included",
            events(lambda each: each.received),
        ),
        Measure(
            "counter",
            "telemetry.events.counted",
            "{event}",
            "Events that were taken",
            events(lambda each: each.counted),
        ),
        Measure(
            "counter",
            "telemetry.events.duplicate",
            "{event}",
            "Events that had been taken before",
            events(lambda each: each.duplicate),
        ),
        Measure("counter", "telemetry.events.rejected", "{event}", "Events that broke a rule, by its name", rejected),
        Measure(
            "counter",
            "telemetry.logs.accepted",
            "{record}",
            "Log records that were taken",
            logs(lambda each: each.accepted),
        ),
        Measure(
            "counter",
            "telemetry.logs.exported",
            "{record}",
            "Log records that the collector has",
            logs(lambda each: each.exported),
        ),
        Measure(
            "counter",
            "telemetry.logs.rejected",
            "{record}",
            "Log records that the collector refused for good",
            logs_rejected,
        ),
        Measure(
            "counter", "telemetry.logs.dropped", "{record}", "Log records given up for want of room", logs_dropped
        ),
        Measure(
            "gauge",
            "telemetry.logs.queued",
            "{record}",
            "Log records that wait for their export",
            logs(lambda each: each.queued),
        ),
    ]


def producer_measures(pipeline: Pipeline, clock: Callable[[], int]) -> list[Measure]:
    """Each producer's half of the ledger of its session, as it last said: emitted = acknowledged + held + dropped."""

    def each(pick: Callable[[ProducerStatus], float | None]) -> Callable[[], list[Reading]]:
        def read() -> list[Reading]:
            found = ((status.producer_id, pick(status)) for status in pipeline.producers.all())
            return [({"producer": name}, value) for name, value in found if value is not None]

        return read

    def dropped() -> Iterable[Reading]:
        for status in pipeline.producers.all():
            for event, reason, number in status.ledger.dropped if status.ledger else ():
                yield {"producer": status.producer_id, "reason": reason, "event": event}, number

    def age(status: ProducerStatus) -> float | None:
        return max(clock() - status.last_heartbeat_ns, 0) / _NS if status.last_heartbeat_ns else None

    def ledger(pick: Callable[[ProducerLedger], int]) -> Callable[[], list[Reading]]:
        return each(lambda status: pick(status.ledger) if status.ledger else None)

    return [
        Measure(
            "counter",
            "telemetry.producer.emitted",
            "{event}",
            "Events that the producer emitted",
            ledger(lambda half: half.emitted),
        ),
        Measure(
            "counter",
            "telemetry.producer.acknowledged",
            "{event}",
            "Of these, acknowledged to it",
            ledger(lambda half: half.acknowledged),
        ),
        Measure(
            "gauge",
            "telemetry.producer.held",
            "{event}",
            "Of these, in its memory or spool",
            ledger(lambda half: half.held),
        ),
        Measure(
            "counter",
            "telemetry.dropped",
            "{event}",
            "Of these, dropped by the producer, by reason and event type",
            dropped,
        ),
        Measure(
            "gauge",
            "telemetry.producer.spool.size",
            "By",
            "Bytes of the producer's spool",
            ledger(lambda half: half.spool_bytes),
        ),
        Measure(
            "gauge",
            "telemetry.producer.connected",
            "",
            "Whether the producer's stream is open",
            each(lambda status: int(status.connected)),
        ),
        Measure("gauge", "telemetry.producer.heartbeat.age", "s", "Since the producer's last heartbeat", each(age)),
    ]


def journal_measures(pipeline: Pipeline) -> list[Measure]:
    """The journal, the series, and what came and was not understood."""

    def journal(name: str) -> Callable[[], list[Reading]]:
        return lambda: [(_NONE, getattr(pipeline.journal_status(), name))]

    def ingest(name: str) -> Callable[[], list[Reading]]:
        return lambda: [(_NONE, getattr(pipeline.ingest_counts(), name))]

    def failing() -> list[Reading]:
        return [(_NONE, int(bool(pipeline.journal_status().error)))]

    def series() -> list[Reading]:
        return [({"producer": producer}, number) for producer, number in pipeline.series().items()]

    def overflow() -> list[Reading]:
        return [
            ({"producer": producer, "instrument": instrument}, number)
            for (producer, instrument), number in pipeline.overflow().items()
        ]

    def refused() -> list[Reading]:
        return [
            ({"producer": producer, "instrument": instrument, "reason": reason}, number)
            for (producer, instrument, reason), number in pipeline.refused_measurements().items()
        ]

    def rules() -> list[Reading]:
        return [({"rule": rule}, number) for rule, number in pipeline.ingest_counts().broken_rules.items()]

    return [
        Measure("gauge", "telemetry.journal.size", "By", "Bytes that the journal takes", journal("bytes_used")),
        Measure("gauge", "telemetry.journal.limit", "By", "Bytes that it may take", journal("bytes_limit")),
        Measure("gauge", "telemetry.journal.segments", "{segment}", "Files of the journal", journal("segments")),
        Measure("gauge", "telemetry.journal.failing", "", "Whether the volume takes nothing", failing),
        Measure(
            "counter",
            "telemetry.journal.damaged",
            "By",
            "Bytes that were set aside as damaged",
            journal("damaged_bytes"),
        ),
        Measure(
            "counter",
            "telemetry.journal.waits",
            "{batch}",
            "Batches that waited for the volume",
            ingest("journal_waits"),
        ),
        Measure("gauge", "telemetry.series", "{series}", "Series of each producer", series),
        Measure("counter", "telemetry.series.overflow", "{measurement}", "Measurements in overflow series", overflow),
        Measure(
            "counter",
            "telemetry.measurements.refused",
            "{measurement}",
            "Measurements that their instrument cannot take",
            refused,
        ),
        Measure(
            "counter",
            "telemetry.messages.unknown",
            "{message}",
            "Messages of a kind that this version does not know",
            ingest("unknown_messages"),
        ),
        Measure(
            "counter",
            "telemetry.messages.malformed",
            "{message}",
            "Messages that are no protobuf",
            ingest("malformed_messages"),
        ),
        Measure("counter", "telemetry.streams.refused", "{stream}", "Streams ended for a broken rule", rules),
    ]


def export_measures(status: Callable[[], ExportStatus], clock: Callable[[], int]) -> list[Measure]:
    """The exporter, by signal. Exported log records are the ledger's; here are requests and what they met."""

    def each(pick: Callable[[SignalStatus], float]) -> Callable[[], list[Reading]]:
        def read() -> list[Reading]:
            now = status()
            signals = (("logs", now.logs), ("metrics", now.metrics))
            return [({"signal": name}, pick(signal)) for name, signal in signals if signal.enabled]

        return read

    def failing(signal: SignalStatus) -> float:
        return max(clock() - signal.failing_since_ns, 0) / _NS if signal.failing_since_ns else 0.0

    def points_rejected() -> list[Reading]:
        return [({"reason": reason}, number) for reason, number in status().metrics.rejected.items()]

    return [
        Measure(
            "counter",
            "telemetry.export.requests",
            "{request}",
            "Requests to the collector",
            each(lambda signal: signal.requests),
        ),
        Measure(
            "counter",
            "telemetry.export.retries",
            "{request}",
            "Of these, repeats",
            each(lambda signal: signal.retries),
        ),
        Measure(
            "gauge",
            "telemetry.export.in_flight",
            "{record}",
            "Log records that wait for an answer",
            each(lambda signal: signal.in_flight),
        ),
        Measure(
            "gauge",
            "telemetry.export.failing",
            "s",
            "For how long no export has succeeded; 0 while they do",
            each(failing),
        ),
        Measure(
            "counter",
            "telemetry.export.points",
            "{point}",
            "Metric points that the collector has",
            lambda: [(_NONE, status().metrics.exported)],
        ),
        Measure(
            "counter",
            "telemetry.export.points.rejected",
            "{point}",
            "Metric points that the collector refused",
            points_rejected,
        ),
    ]


def process_measures(process: psutil.Process) -> list[Measure]:
    """CPU, memory and files of this process, where they can be by the names of the semantic conventions."""

    def cpu() -> list[Reading]:
        times = process.cpu_times()
        return [({"cpu.mode": "user"}, times.user), ({"cpu.mode": "system"}, times.system)]

    return [
        Measure("counter", "process.cpu.time", "s", "CPU time of the process", cpu),
        Measure(
            "gauge",
            "process.memory.usage",
            "By",
            "Resident memory of the process",
            lambda: [(_NONE, process.memory_info().rss)],
        ),
        Measure(
            "gauge",
            "process.open_fds",
            "{descriptor}",
            "Open file descriptors",
            lambda: [(_NONE, process.num_fds())],
        ),
        Measure(
            "gauge",
            "process.start_time",
            "s",
            "When the process began, seconds since the epoch",
            lambda: [(_NONE, process.create_time())],
        ),
    ]
