"""Healthy sidecar, as its parts report it: tests change the part that they are about."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from sidecar import status_facts as facts
from sidecar.console.document import StatusDocument, decode
from sidecar.console.settings import PanelSettings
from sidecar.console.status.builder import status_document
from sidecar.console.status.sampler import AuditTimeline
from sidecar.console.status.time_series import PanelSample, ProcessIdentity, StatusInputs, StatusSample, TimeSeries
from sidecar.export.status import ExportStatus, SignalStatus
from sidecar.health.conditions import HealthFacts, HealthSettings, evaluate, track
from sidecar.ingest.producers import ProducerCondition, ProducerLedger, ProducerStatus
from sidecar.journal.journal import JournalStatus
from sidecar.metrics.ledger import EventLedger, LogLedger, SidecarLedger
from sidecar.secrets.acknowledge import Stage
from sidecar.secrets.audit import AuditEvent
from sidecar.secrets.status import SecretsStatus, SecretStatus, TokenStatus

NS = 1_000_000_000
NOW_NS = 1_700_000_000 * NS
MOMENT = datetime(2023, 11, 14, 22, 0, tzinfo=UTC)

PRODUCER = ProducerStatus(
    producer_id="broker",
    session_id="s1",
    connected=True,
    changed_ns=NOW_NS - 60 * NS,
    last_heartbeat_ns=NOW_NS - NS // 2,
    last_event_ns=NOW_NS - NS,
    has_spoken=True,
    conditions=(ProducerCondition(name="Venue", ok=True, reason="Ready", message="", since_ns=NOW_NS - 50 * NS),),
    ledger=ProducerLedger(emitted=102, acknowledged=100, held=2),
    applied_generation=3,
    durable_through=100,
)
SECRETS = SecretsStatus(
    generation_published=3,
    generation_acknowledged=3,
    published_at=MOMENT,
    stage=Stage.ACKNOWLEDGED,
    token=TokenStatus(method="approle", state="valid", expires_in_s=1200.0, last_success=MOMENT),
    secrets=(
        SecretStatus(name="venue", source="kv", state="fresh", version="3", files=("venue.json",), read_at=MOMENT),
        SecretStatus(name="database", source="leased", state="fresh", expires_in_s=600.0, read_at=MOMENT),
    ),
    leases=1,
)
LEDGER = SidecarLedger(
    events=EventLedger(received=100, counted=100),
    logs=LogLedger(accepted=90, exported=88, queued=2),
    producers={"broker": EventLedger(received=100, counted=100)},
)
SIGNAL = SignalStatus(enabled=True, exported=88, requests=9, last_success_ns=NOW_NS - NS)
EXPORT = ExportStatus(endpoint="http://collector:4317", logs=SIGNAL, metrics=SIGNAL)
JOURNAL = JournalStatus(
    bytes_used=1000,
    bytes_limit=100_000,
    segments=1,
    damaged_bytes=0,
    damaged_segments=0,
    torn_bytes=0,
    error="",
    error_since_ns=0,
    checkpoint_ns=NOW_NS - 5 * NS,
    checkpoint_error="",
    replayed_batches=0,
    unreadable_records=0,
)
PANELS = (PanelSettings(title="Orders", instrument="broker.orders", show="states", by="status"),)


def time_series() -> TimeSeries:
    found = TimeSeries(10)
    for second in range(3):
        totals = {"received": 50.0 * second, "exported": 44.0 * second}
        panel = PanelSample(totals={"filled": 10.0 * second, "received": 20.0 * second})
        found.add(StatusSample(time_s=float(second), totals=totals, panels=(panel,)))
    return found


def inputs(
    *,
    producer: ProducerStatus | None = PRODUCER,
    secrets: SecretsStatus | None = SECRETS,
    ledger: SidecarLedger = LEDGER,
    export: ExportStatus = EXPORT,
    journal: JournalStatus | None = JOURNAL,
    changed: dict[str, Any] | None = None,
) -> StatusInputs:
    """Reports of the parts; `changed` are facts that no part reports: draining, loop_lag_s, socket_open."""
    found = HealthFacts(
        now_ns=NOW_NS,
        socket_open=True,
        secrets=facts.secrets_facts(secrets),
        producer=facts.producer_facts(
            "broker",
            producer,
            (NOW_NS - producer.last_heartbeat_ns) / NS if producer else None,
            (NOW_NS - producer.changed_ns) / NS if producer else None,
        ),
        export=facts.export_facts(export),
    )
    timeline = AuditTimeline()
    timeline.add(AuditEvent(time=MOMENT, name="secrets.publish", generation=3))
    timeline.add(AuditEvent(time=MOMENT, name="secrets.renew", outcome="denied", secret="database"))
    conditions = track((), evaluate(replace(found, **(changed or {})), HealthSettings()), NOW_NS - 30 * NS)
    return StatusInputs(
        now_ns=NOW_NS,
        identity=ProcessIdentity(version="0.1.0", pid=7, started_ns=NOW_NS - 90 * NS),
        conditions=conditions,
        producers=[producer] if producer else [],
        ledger=ledger,
        export=export,
        secrets=secrets,
        actions=timeline.latest(),
        journal=journal,
        series=time_series(),
        panels=PANELS,
        interval_s=1.0,
    )


def document(**changes: Any) -> dict[str, Any]:
    """The status document as a program reads it: JSON."""
    return dict(json.loads(status_document(inputs(**changes)).encode()))


def status(**changes: Any) -> StatusDocument:
    """The status document as the commands read it: decoded from JSON."""
    return decode(status_document(inputs(**changes)).encode())
