"""A snapshot of the process with something in every place: tests change what they are about."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from sidecar.export.status import ExportStatus, SignalStatus
from sidecar.health.conditions import HealthCondition
from sidecar.ingest.producers import ProducerLedger, ProducerStatus
from sidecar.ingest.service import IngestCounts
from sidecar.journal.journal import JournalStatus
from sidecar.metrics.ledger import EventLedger, LogLedger, SidecarLedger
from sidecar.selfmetrics.table import ProcessSnapshot, ProcessUsage
from tests.unit.sidecar.console.sidecar_state import SECRETS

NOW = 1_700_000_000_000_000_000
MOMENT = datetime(2026, 1, 1, tzinfo=UTC)

BROKER = ProducerStatus(
    producer_id="broker",
    connected=True,
    last_heartbeat_ns=NOW - 2_000_000_000,
    ledger=ProducerLedger(emitted=10, acknowledged=7, held=1, dropped=(("e", "spool_full", 2),), spool_bytes=99),
)
EVENTS = EventLedger(received=9, counted=6, duplicate=1, rejected=Counter({"bad_column": 2}))
LOGS = LogLedger(
    accepted=20,
    exported=10,
    queued=4,
    rejected=Counter({"invalid_argument": 1}),
    dropped=Counter({("journal_full", "e"): 5}),
)
JOURNAL = JournalStatus(
    bytes_used=5,
    bytes_limit=50,
    segments=2,
    damaged_bytes=0,
    damaged_segments=0,
    torn_bytes=0,
    error="No space left",
    error_since_ns=NOW,
    checkpoint_ns=0,
    checkpoint_error="",
    replayed_batches=0,
    unreadable_records=0,
)
EXPORT = ExportStatus(
    endpoint="http://c:4317",
    logs=SignalStatus(enabled=True, requests=8, retries=3, in_flight=2, failing_since_ns=NOW - 5_000_000_000),
    metrics=SignalStatus(enabled=True, requests=1, exported=40, rejected=Counter(partial_success=2)),
)
HELD = replace(
    SECRETS,
    counters={"publications": 4, "acknowledgements": 3, "rejections": 2, "timeouts": 1, "retirements": 5},
    requests={("read", "ok"): 7, ("login", "denied"): 1},
    sessions=2,
    leases=3,
    awaiting_retirement=1,
    token=replace(SECRETS.token, ends_in_s=80_000.0, logins={"first": 1}),
    secrets=(
        replace(SECRETS.secrets[0], reads={"first": 1}, last_success=MOMENT),
        replace(SECRETS.secrets[1], ends_in_s=7200.0, failing_since=MOMENT),
    ),
)
OWN = ProcessSnapshot(
    now_ns=NOW,
    ledger=SidecarLedger(events=EVENTS, logs=LOGS, producers={"broker": EVENTS}),
    producers=[BROKER, ProducerStatus(producer_id="other")],
    journal=JOURNAL,
    ingest=IngestCounts(unknown_messages=1, malformed_messages=2, journal_waits=3, broken_rules={"second_hello": 1}),
    series={"broker": 12},
    overflow={("broker", "broker.orders"): 3},
    refused={("broker", "broker.orders", "negative"): 4},
    export=EXPORT,
    conditions=(HealthCondition(name="LoopTurns", ok=True), HealthCondition(name="NotDraining", ok=False)),
    process=ProcessUsage(user_s=1.5, system_s=0.25, resident_bytes=123456, open_fds=17, started_s=1_700_000_000.5),
    secrets=HELD,
    refused_connections={("probes", "evicted"): 5},
)


@dataclass
class FakeSource:
    """The process, whose snapshot a test sets."""

    snapshot: ProcessSnapshot = OWN
    taken: int = field(default=0)

    def process_snapshot(self) -> ProcessSnapshot:
        self.taken += 1
        return self.snapshot
