"""Status document: the typed form of the JSON that `/api/status` and the event stream of the console answer with.

The server makes it (`status.builder`) and encodes it, the commands decode it, and the doctor reads it on both sides.
Names of fields are keys of the JSON, so they are a surface: a key may be added, but not renamed or taken away. Times
are RFC 3339 texts in UTC to the millisecond, None for never; durations are seconds. Parts that only the page reads
are plain JSON objects.

Where a part reports itself in this form already, its own class stands here. A section that differs only in the form
of its times or in keys has the attributes of the report that `status.builder` copies, and `name` gives the key.

Two sections are shorter on the wire than here. Without configured secrets `secrets` has two keys, and before the
journal is open `journal` has none; `encode` writes them so, and `decode` fills them with the defaults below.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from sidecar.ingest.producers import SecretsRefusal
from sidecar.journal.journal import JournalStatus

JsonObject = dict[str, Any]
Counts = Mapping[str, int]


class Section(msgspec.Struct, kw_only=True):
    """Base of every object of the document. Unknown keys are skipped: the server may be newer than the command."""


class ConditionSection(Section):
    """Condition of the sidecar, or among the causes that of a producer."""

    name: str
    ok: bool
    reason: str
    message: str
    since: str | None
    advisory: bool


class ProducerConditionSection(ConditionSection):
    """Condition as a producer sent it, with its own time."""

    since_ns: int


class HealthSection(Section):
    """Verdict on the whole: `healthy`, `degraded` (only advisory conditions fail) or `down`."""

    state: str
    since: str
    why: list[ConditionSection]
    """Conditions that fail, those that a probe asks for first."""
    probes: Mapping[str, JsonObject]
    conditions: list[ConditionSection]


class FlowSide(Section):
    """Arrow of the event path: events a second now, events that wait, and losses with their reasons."""

    rate: float
    backlog: int
    lost: int
    # By reason, so that the page says why beside how many.
    lost_by: Counts
    curve: Sequence[float]
    """Rate between each two samples, the oldest first."""


class FlowSection(Section):
    """Flow of events from the producers in, and of log records out to the collector."""

    in_: FlowSide = msgspec.field(name="in")
    out: FlowSide


class DroppedEvents(Section):
    """Events that a producer dropped for one reason."""

    event: str
    reason: str
    count: int


class ProducerLedgerSection(Section):
    """Producer's half of the ledger: emitted = acknowledged + held + dropped."""

    emitted: int
    acknowledged: int
    held: int
    dropped: list[DroppedEvents]
    spool_bytes: int
    balanced: bool


class ProducerSection(Section):
    """Producer as it last reported itself."""

    producer_id: str = msgspec.field(name="id")
    session_id: str = msgspec.field(name="session")
    session_start: str | None = msgspec.field(name="session_started")
    connected: bool
    changed: str | None
    heartbeat_age_s: float | None
    last_event_age_s: float | None
    goodbye: str
    conditions: list[ProducerConditionSection]
    ledger: ProducerLedgerSection | None
    applied_generation: int
    refusal: SecretsRefusal | None
    durable_through: int
    recovery_streams: int


class EventLedgerSection(Section):
    """Events by outcome: received = counted + duplicate + rejected."""

    received: int
    counted: int
    duplicate: int
    rejected: Counts
    balanced: bool


class LogLedgerSection(Section):
    """Log records by outcome: accepted = exported + queued + rejected + dropped."""

    accepted: int
    exported: int
    queued: int
    rejected: Counts
    dropped: Counts
    balanced: bool


class LedgerSection(EventLedgerSection):
    """Sidecar's half of the ledger, over all producers and for each."""

    logs: LogLedgerSection
    producers: Mapping[str, EventLedgerSection]


class SignalSection(Section):
    """Export of one signal."""

    enabled: bool
    exported: int
    # Counts begin with the process; the ledger's, which is in the checkpoint, go on over restarts.
    rejected: Counts
    requests: int
    retries: int
    in_flight: int
    last_success: str | None
    failing_since: str | None
    last_error: str
    last_error_at: str | None


class ExportSection(Section):
    """Export to the collector; an empty endpoint exports nothing."""

    endpoint: str
    logs: SignalSection
    metrics: SignalSection


class ErrorSection(Section):
    """Last failure: `name` is a constant, `message` is for people, `status` is HTTP's or 0."""

    name: str
    message: str
    status: int
    time: str | None


class TokenSection(Section):
    """Vault token in use; `state` is none, valid or failing."""

    method: str = ""
    state: str = "none"
    cli: str = ""
    """`vault` or `bao`, whichever is the server's; empty without a token."""
    expires_in_s: float | None = None
    ends_in_s: float | None = None
    last_success: str | None = None
    last_error: ErrorSection | None = msgspec.field(name="mishap", default=None)
    logins: Counts = {}


class SecretSection(Section):
    """Secret without its value; `state` is waiting, fresh, failing, carried or ended."""

    name: str
    source: str
    state: str
    version: str
    files: Sequence[str]
    read_at: str | None
    last_success: str | None
    expires_in_s: float | None
    ends_in_s: float | None
    next_step: str
    next_in_s: float | None
    failing_since: str | None
    last_error: ErrorSection | None = msgspec.field(name="mishap")
    reads: Counts
    lasts_s: float | None = None
    """Whole life of what is published, from one renewal to its end."""


class RejectionSection(Section):
    """Generation of secrets that a producer could not use."""

    generation: int
    producer_id: str = msgspec.field(name="producer")
    secret: str
    reason: str
    message: str
    time: str | None


class SecretsSection(Section):
    """Secrets; everything but the first two has its default if `configured` is false."""

    configured: bool
    secrets: list[SecretSection]
    generation: int = 0
    """Published generation; 0 before the first."""
    acknowledged: int = 0
    published_at: str | None = None
    stage: str | None = None
    token: TokenSection = msgspec.field(default_factory=TokenSection)
    token_expires_in_s: float | None = None
    rejection: RejectionSection | None = None
    last_error: ErrorSection | None = msgspec.field(name="mishap", default=None)
    sessions: int = 0
    leases: int = 0
    awaiting_retirement: int = 0
    requests: list[JsonObject] = []
    counters: Counts = {}
    deeds: list[JsonObject] = []
    """Latest actions, the latest first."""


class StatusDocument(Section):
    """State of the sidecar at one moment."""

    version: str
    pid: int
    time: str
    started: str
    interval_s: float
    health: HealthSection
    flow: FlowSection
    producers: list[ProducerSection]
    ledger: LedgerSection
    export: ExportSection
    secrets: SecretsSection
    journal: JournalStatus
    panels: list[JsonObject]
    findings: list[JsonObject] = []

    def encode(self) -> bytes:
        """Encode the document as JSON."""
        short: JsonObject = {}
        if self.secrets is NO_SECRETS:
            short["secrets"] = _WITHOUT_SECRETS
        if self.journal is CLOSED_JOURNAL:
            short["journal"] = _WITHOUT_JOURNAL
        return msgspec.json.encode(msgspec.structs.replace(self, **short) if short else self)


NO_SECRETS = SecretsSection(configured=False, secrets=[])
CLOSED_JOURNAL = JournalStatus()
# Readers outside this repository know the short forms: a key that appears there would be a change for them.
_WITHOUT_SECRETS = msgspec.Raw(b'{"configured":false,"secrets":[]}')
_WITHOUT_JOURNAL = msgspec.Raw(b"{}")


def decode(data: bytes) -> StatusDocument:
    """Decode the answer of a sidecar; `msgspec.DecodeError` if it is no JSON, or no status document."""
    return msgspec.json.decode(data, type=StatusDocument)


def period(seconds: float) -> str:
    """Write a duration, rounded down: seconds below two minutes, then minutes, then hours, then days."""
    # Rounded down, because it is also the time that is left until an expiry.
    whole = max(0, int(seconds))
    minutes, hours = whole // 60, whole // 3600
    if whole < 120:  # noqa: PLR2004 - "119 s" is told more exactly than "1 min"
        return f"{whole} s"
    if not hours:
        return f"{minutes} min"
    if hours < 48:  # noqa: PLR2004 - two days
        return f"{hours} h {minutes % 60} min"
    return f"{hours // 24} d {hours % 24} h"
