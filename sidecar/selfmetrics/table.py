"""Table of the sidecar's own metrics: name, kind, unit, help, and how a row is read from a snapshot of the process.

The SDK registers these rows (`self_metrics`), and the reference page is made from them. Most figures are kept
already by the part that they describe: a row reads them, and nothing is counted a second time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import psutil

from sidecar.export.status import ExportStatus, SignalStatus
from sidecar.health.conditions import PROBES, HealthCondition, verdict
from sidecar.ingest.producers import ProducerLedger, ProducerStatus
from sidecar.ingest.service import IngestCounts
from sidecar.journal.journal import JournalStatus
from sidecar.metrics.ledger import SidecarLedger
from sidecar.secrets.status import SecretsStatus, TokenStatus

_NS = 1_000_000_000

_NO_TOKEN = TokenStatus(method="", state="none")
NO_SECRETS = SecretsStatus(
    generation_published=0, generation_acknowledged=0, published_at=None, stage=None, token=_NO_TOKEN
)
"""Status of a process without a secrets agent; its rows are not registered (`WITHOUT_SECRETS`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessUsage:
    """CPU time in seconds, resident bytes, open file descriptors, and start in seconds since the epoch."""

    user_s: float
    system_s: float
    resident_bytes: int
    open_fds: int
    started_s: float

    @classmethod
    def of(cls, process: psutil.Process) -> ProcessUsage:
        """Usage of a process now."""
        # oneshot reads each file of /proc once for all the figures that stand in it.
        with process.oneshot():
            times = process.cpu_times()
            return cls(
                user_s=times.user,
                system_s=times.system,
                resident_bytes=process.memory_info().rss,
                open_fds=process.num_fds(),
                started_s=process.create_time(),
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSnapshot:
    """All figures of the sidecar at one moment; every row of one scrape is read from the same one."""

    now_ns: int
    ledger: SidecarLedger
    producers: Sequence[ProducerStatus]
    journal: JournalStatus
    ingest: IngestCounts
    series: Mapping[str, int]
    """By producer."""
    overflow: Mapping[tuple[str, str], int]
    """Measurements in overflow series, by producer and instrument."""
    refused: Mapping[tuple[str, str, str], int]
    """Measurements that an instrument cannot take, by producer, instrument and reason."""
    export: ExportStatus
    conditions: Sequence[HealthCondition]
    process: ProcessUsage
    secrets: SecretsStatus = NO_SECRETS
    refused_connections: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Connections that were not taken or not kept, by HTTP server and reason."""


Reading = tuple[Mapping[str, str], float]
"""Labels and value of one series."""
Read = Callable[[ProcessSnapshot], Iterable[Reading]]


@dataclass(frozen=True, slots=True)
class SelfMetric:
    """A row: a metric with its OpenTelemetry name and UCUM unit, and a reader of its series."""

    kind: Literal["counter", "gauge"]
    name: str
    unit: str
    help: str
    read: Read


def _one(value: float | None) -> list[Reading]:
    """One series without labels; none where the value is unknown."""
    return [] if value is None else [({}, value)]


def _by(label: str, values: Iterable[tuple[str, float | None]]) -> list[Reading]:
    """A series for each value of a label; none where its figure is unknown."""
    return [({label: name}, value) for name, value in values if value is not None]


def _across(labels: tuple[str, ...], values: Iterable[tuple[tuple[str, ...], float]]) -> list[Reading]:
    """A series for each combination of several labels."""
    return [(dict(zip(labels, key, strict=True)), value) for key, value in values]


def _halves(now: ProcessSnapshot) -> list[tuple[str, ProducerLedger]]:
    """Producers that have sent their half of the ledger, with it."""
    return [(item.producer_id, item.ledger) for item in now.producers if item.ledger is not None]


def _signals(now: ProcessSnapshot) -> list[tuple[str, SignalStatus]]:
    """Signals that are exported."""
    both = (("logs", now.export.logs), ("metrics", now.export.metrics))
    return [(name, signal) for name, signal in both if signal.enabled]


def _since_s(now: ProcessSnapshot, time_ns: int) -> float:
    # A wall clock that is set back would make an age negative, and alerts compare ages with a bound.
    return max(now.now_ns - time_ns, 0) / _NS


_counter, _gauge = partial(SelfMetric, "counter"), partial(SelfMetric, "gauge")

# One or two lines a row, which the formatter would make seven: a table is read as one.
# fmt: off

_LEDGER = (
    _counter("telemetry.events.received", "{event}", "Events that the sidecar received, duplicates included",
        lambda now: _by("producer", ((name, half.received) for name, half in now.ledger.producers.items()))),
    _counter("telemetry.events.counted", "{event}", "Events that the sidecar accepted and counted",
        lambda now: _by("producer", ((name, half.counted) for name, half in now.ledger.producers.items()))),
    _counter("telemetry.events.duplicate", "{event}", "Events that the sidecar had accepted before",
        lambda now: _by("producer", ((name, half.duplicate) for name, half in now.ledger.producers.items()))),
    _counter("telemetry.events.rejected", "{event}", "Events that broke a rule, by the rule's name",
        lambda now: [({"producer": name, "reason": reason}, number)
            for name, half in now.ledger.producers.items() for reason, number in half.rejected.items()]),
    _counter("telemetry.logs.accepted", "{record}", "Log records that the sidecar accepted for export",
        lambda now: _one(now.ledger.logs.accepted)),
    _counter("telemetry.logs.exported", "{record}", "Log records that the collector has accepted",
        lambda now: _one(now.ledger.logs.exported)),
    _counter("telemetry.logs.rejected", "{record}", "Log records that the collector refused for good, by reason",
        lambda now: _by("reason", now.ledger.logs.rejected.items())),
    _counter("telemetry.logs.dropped", "{record}",
        "Log records that the sidecar gave up before the collector took them, by reason and event type",
        lambda now: _across(("reason", "event"), now.ledger.logs.dropped.items())),
    _gauge("telemetry.logs.queued", "{record}", "Log records that wait for export",
        lambda now: _one(now.ledger.logs.queued)),
)
"""The sidecar's half of the ledger: received = counted + rejected + duplicate, and the equation of log records."""

_PRODUCERS = (
    _counter("telemetry.producer.emitted", "{event}", "Events that the producer emitted in its session",
        lambda now: _by("producer", ((name, half.emitted) for name, half in _halves(now)))),
    _counter("telemetry.producer.acknowledged", "{event}",
        "Events of the producer that the sidecar acknowledged to it",
        lambda now: _by("producer", ((name, half.acknowledged) for name, half in _halves(now)))),
    _gauge("telemetry.producer.held", "{event}",
        "Events that the producer holds in memory or in its spool, not acknowledged yet",
        lambda now: _by("producer", ((name, half.held) for name, half in _halves(now)))),
    _counter("telemetry.dropped", "{event}",
        "Events that the producer dropped before the sidecar had them, by reason and event type",
        lambda now: [({"producer": name, "event": event, "reason": reason}, number)
            for name, half in _halves(now) for event, reason, number in half.dropped]),
    _gauge("telemetry.producer.spool.size", "By", "Bytes of the producer's spool",
        lambda now: _by("producer", ((name, half.spool_bytes) for name, half in _halves(now)))),
    _gauge("telemetry.producer.connected", "", "1 if the producer's stream is open",
        lambda now: _by("producer", ((item.producer_id, int(item.connected)) for item in now.producers))),
    _gauge("telemetry.producer.heartbeat.age", "s", "Seconds since the producer's last heartbeat",
        lambda now: [({"producer": item.producer_id}, _since_s(now, item.last_heartbeat_ns))
            for item in now.producers if item.last_heartbeat_ns]),
)
"""Each producer's half of the ledger of its session, as it last said: emitted = acknowledged + held + dropped."""

_JOURNAL = (
    _gauge("telemetry.journal.size", "By", "Bytes that the journal takes", lambda now: _one(now.journal.bytes_used)),
    _gauge("telemetry.journal.limit", "By", "Bytes that the journal may take",
        lambda now: _one(now.journal.bytes_limit)),
    _gauge("telemetry.journal.segments", "{segment}", "Files of the journal", lambda now: _one(now.journal.segments)),
    _gauge("telemetry.journal.failing", "", "1 if the journal volume rejects writes",
        lambda now: _one(int(bool(now.journal.error)))),
    _counter("telemetry.journal.damaged", "By", "Bytes of the journal that the sidecar set aside as damaged",
        lambda now: _one(now.journal.damaged_bytes)),
    _counter("telemetry.journal.waits", "{batch}", "Batches that waited because the journal volume rejected writes",
        lambda now: _one(now.ingest.journal_waits)),
    _gauge("telemetry.series", "{series}", "Series that the sidecar keeps of each producer's instruments",
        lambda now: _by("producer", now.series.items())),
    _counter("telemetry.series.overflow", "{measurement}",
        "Measurements that went to an overflow series because an instrument had too many series",
        lambda now: _across(("producer", "instrument"), now.overflow.items())),
    _counter("telemetry.measurements.refused", "{measurement}",
        "Measurements that their instrument cannot take, by reason",
        lambda now: _across(("producer", "instrument", "reason"), now.refused.items())),
    _counter("telemetry.messages.unknown", "{message}", "Messages of a kind that this version does not know",
        lambda now: _one(now.ingest.unknown_messages)),
    _counter("telemetry.messages.malformed", "{message}", "Messages that could not be parsed as protobuf",
        lambda now: _one(now.ingest.malformed_messages)),
    _counter("telemetry.streams.refused", "{stream}",
        "Streams that the sidecar ended because they broke a rule, by the rule's name",
        lambda now: _by("rule", now.ingest.broken_rules.items())),
)
"""The journal, the series, and messages that the sidecar did not understand."""

_EXPORT = (
    _counter("telemetry.export.requests", "{request}",
        "Requests that the sidecar sent to the collector, repeats included",
        lambda now: _by("signal", ((name, signal.requests) for name, signal in _signals(now)))),
    _counter("telemetry.export.retries", "{request}", "Requests to the collector that repeated a failed one",
        lambda now: _by("signal", ((name, signal.retries) for name, signal in _signals(now)))),
    _gauge("telemetry.export.in_flight", "{record}", "Log records in requests that the collector has not answered",
        lambda now: _by("signal", ((name, signal.in_flight) for name, signal in _signals(now)))),
    _gauge("telemetry.export.failing", "s", "Seconds since exports of the signal began to fail; 0 while they succeed",
        lambda now: [({"signal": name}, _since_s(now, signal.failing_since_ns or now.now_ns))
            for name, signal in _signals(now)]),
    _counter("telemetry.export.points", "{point}", "Metric points that the collector has accepted",
        lambda now: _one(now.export.metrics.exported)),
    _counter("telemetry.export.points.rejected", "{point}",
        "Metric points that the collector refused for good, by reason",
        lambda now: _by("reason", now.export.metrics.rejected.items())),
)
"""Requests by signal. Exported log records stand in the ledger."""

_PROCESS = (
    _counter("process.cpu.time", "s", "CPU time of the process",
        lambda now: _by("cpu.mode", (("user", now.process.user_s), ("system", now.process.system_s)))),
    _gauge("process.memory.usage", "By", "Resident memory of the process",
        lambda now: _one(now.process.resident_bytes)),
    _gauge("process.open_fds", "{descriptor}", "Open file descriptors of the process",
        lambda now: _one(now.process.open_fds)),
    _gauge("process.start_time", "s", "Start of the process, seconds since the epoch",
        lambda now: _one(now.process.started_s)),
)
# Names of https://opentelemetry.io/docs/specs/semconv/system/process-metrics/ for the first two; it has no other.

_HEALTH = (
    _gauge("sidecar.condition", "", "1 if a condition of the sidecar holds",
        lambda now: _by("condition", ((item.name, int(item.ok)) for item in now.conditions))),
    _gauge("sidecar.probe", "", "1 if a probe passes",
        lambda now: _by("probe", ((probe, int(verdict(probe, now.conditions).ok)) for probe in PROBES))),
    _counter("sidecar.http.refusals", "{refusal}",
        "Connections to the probes, the metrics and the console that the sidecar did not take or not keep, by reason",
        lambda now: _across(("server", "reason"), now.refused_connections.items())),
)

_SECRETS = (
    _gauge("sidecar.secrets.generation.published", "",
        "Generation of the published set of secrets; 0 before the first",
        lambda now: _one(now.secrets.generation_published)),
    _gauge("sidecar.secrets.generation.acknowledged", "",
        "Latest generation of secrets that a producer proved by use",
        lambda now: _one(now.secrets.generation_acknowledged)),
    _counter("sidecar.secrets.publications", "", "Sets of secrets that the sidecar published",
        lambda now: _one(now.secrets.counters.get("publications", 0))),
    _counter("sidecar.secrets.acknowledgements", "", "Sets of secrets that a producer proved by use",
        lambda now: _one(now.secrets.counters.get("acknowledgements", 0))),
    _counter("sidecar.secrets.rejections", "", "Sets of secrets that a producer could not use",
        lambda now: _one(now.secrets.counters.get("rejections", 0))),
    _counter("sidecar.secrets.reports.ignored", "{report}",
        "Reports of producers about secrets that counted for nothing, by reason",
        lambda now: _by("reason", now.secrets.ignored.items())),
    _counter("sidecar.secrets.timeouts", "", "Sets of secrets that no producer proved in time",
        lambda now: _one(now.secrets.counters.get("timeouts", 0))),
    _counter("sidecar.secrets.retirements", "", "Sets of secrets whose replaced credentials the sidecar revoked",
        lambda now: _one(now.secrets.counters.get("retirements", 0))),
    _gauge("sidecar.secrets.seconds_to_expiry", "",
        "Seconds until a published secret expires; absent for one that does not",
        lambda now: _by("secret", ((item.name, item.expires_in_s) for item in now.secrets.secrets))),
    _gauge("sidecar.secrets.seconds_to_max_ttl", "",
        "Seconds until Vault renews a secret's lease no more; absent while that is unknown",
        lambda now: _by("secret", ((item.name, item.ends_in_s) for item in now.secrets.secrets))),
    _gauge("sidecar.secrets.last_success", "s",
        "Last time that the sidecar read, renewed or polled a secret with success, seconds since the epoch",
        lambda now: [({"secret": item.name}, item.last_success.timestamp())
            for item in now.secrets.secrets if item.last_success is not None]),
    _gauge("sidecar.secrets.failing", "", "1 if the sidecar cannot read or renew a secret",
        lambda now: _by("secret", ((item.name, int(bool(item.failing_since))) for item in now.secrets.secrets))),
    _counter("sidecar.secrets.reads", "{read}", "Reads of a secret, by the reason for reading it",
        lambda now: [({"secret": item.name, "reason": reason}, number)
            for item in now.secrets.secrets for reason, number in item.reads.items()]),
    _gauge("sidecar.secrets.token.seconds_to_expiry", "", "Seconds until the sidecar's Vault token expires",
        lambda now: _one(now.secrets.token.expires_in_s)),
    _gauge("sidecar.secrets.token.seconds_to_max_ttl", "",
        "Seconds until Vault renews the sidecar's token no more; absent while that is unknown",
        lambda now: _one(now.secrets.token.ends_in_s)),
    _counter("sidecar.secrets.requests", "{request}", "Requests to Vault, by operation and outcome",
        lambda now: _across(("operation", "outcome"), now.secrets.requests.items())),
    _counter("sidecar.secrets.logins", "{login}", "Logins to Vault, by reason",
        lambda now: _by("reason", now.secrets.token.logins.items())),
    _gauge("sidecar.secrets.leases", "{lease}", "Leases that Vault holds for the sidecar",
        lambda now: _one(now.secrets.leases)),
    _gauge("sidecar.secrets.sessions", "{token}", "Tokens that Vault holds for the sidecar",
        lambda now: _one(now.secrets.sessions)),
    _gauge("sidecar.secrets.awaiting_retirement", "{lease}",
        "Leases that the sidecar revokes once a producer has proved their successors",
        lambda now: _one(now.secrets.awaiting_retirement)),
)
"""Generations, lives, requests and leases; never a value."""

# fmt: on

TABLE = (*_LEDGER, *_PRODUCERS, *_JOURNAL, *_EXPORT, *_PROCESS, *_HEALTH, *_SECRETS)
# Without a configured secret these rows would be false alarms: generation 0 means that nothing could be published.
WITHOUT_SECRETS = TABLE[: -len(_SECRETS)]
