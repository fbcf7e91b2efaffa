"""Compatibility: the effect of each answer of another program and of each value of the environment, as tables.

`TABLES` is the page: whoever adds a rule table to the code adds one entry here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Protocol

from broker.api.forwarding import peer
from broker.history.settings import HistorySettings
from broker.history.writer import BACKOFF as HISTORY_BACKOFF
from broker.orders.ownership import lease_answer
from broker.orders.ownership.cluster_lease import RETRY_S
from broker.orders.ownership.lease_answer import LeaseDeed, LeaseProof, LeaseRequest
from broker.orders.settings import OrderSettings
from broker.venue import errors
from broker.venue.errors import VenueError
from broker.venue.rest import answer as venue_answer
from broker.venue.rest.connection_pool import CONNECT_SHARE
from broker.venue.settings import VenueSettings
from broker.venue.streams.line_stream import LONGEST_PAUSE_S
from broker_client import transport as order_client
from broker_client.retry import RetryPolicy
from pod_runtime.connection.keepalive import IDLE_S, INTERVAL_S, LOST_S
from producer.settings import ProducerSettings
from sidecar.export.client import RESOLVE_MS
from sidecar.export.settings import STANDARD, OtlpSettings
from sidecar.export.verdict import RULES
from sidecar.ingest.server import KEEPALIVE_LOST_MS, KEEPALIVE_MS
from sidecar.secrets.errors import Proof
from sidecar.secrets.lease.schedule import RETRY_CAP_S
from sidecar.secrets.settings import SecretsSettings
from sidecar.secrets.vault.answers import ANSWERS, DEEDS, AnswerRow, Asked, Deed
from sidecar.selfmetrics.self_metrics import PUSH_TIMEOUT_S
from sidecar.selfmetrics.self_metrics import RETRY_S as OWN_RETRY_S
from tools.reference.markdown import code, made, table

HEAD = """# Compatibility

{made}
Each table is the one by which the code decides.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompatibilityTable:
    """A section of the page."""

    title: str
    text: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


class StatusRange(Protocol):
    """Statuses that a row is about, both ends included."""

    @property
    def lowest(self) -> int:
        """The first."""

    @property
    def highest(self) -> int:
        """The last."""


def _statuses(row: StatusRange) -> str:
    return str(row.lowest) if row.lowest == row.highest else f"{row.lowest} to {row.highest}"


def _speakers(found: frozenset[StrEnum], every: type[StrEnum]) -> str:
    return "anybody" if len(found) == len(every) else ", ".join(sorted(found))


def _venue_row(speaker: str, answer: str, error: type[VenueError]) -> Sequence[str]:
    read = "repeated a few times" if error.is_repeated else "given up"
    return speaker, answer, code(error.error_type), error.proves, error.deed.value, read


VENUE_ROWS = (
    _venue_row("nobody", "no connection, or no turn within the deadline", errors.NotSentError),
    _venue_row("nobody", "time-out, reset, a body that is cut short", errors.AnswerLostError),
    *(
        _venue_row(_speakers(row.speakers, venue_answer.AnswerSpeaker), _statuses(row), row.error)
        for row in venue_answer.ROWS
    ),
)


def _lease_deeds(proof: LeaseProof) -> Sequence[Sequence[str]]:
    deeds = dict.fromkeys(lease_answer.DEEDS[proof, asked] for asked in LeaseRequest)
    asked_of = {
        deed: [item.value for item in LeaseRequest if lease_answer.DEEDS[proof, item] is deed] for deed in deeds
    }
    any_of = {deed: "any" if len(asked) == len(LeaseRequest) else "; ".join(asked) for deed, asked in asked_of.items()}
    return [(proof.value, any_of[deed], deed.value) for deed in sorted(deeds, key=lambda item: item is LeaseDeed.KEEP)]


def _vault_answer(row: AnswerRow) -> Sequence[str]:
    words = code(row.words) if row.words else ""
    return row.speaker.value, _statuses(row), words, code(row.fault.value), row.proof.value


def _vault_deeds(proof: Proof) -> Sequence[Sequence[str]]:
    """Rows of a proof: the requests that have a deed in common, and the deed; the usual deed comes last."""
    deeds = sorted({DEEDS[proof, asked] for asked in Asked}, key=lambda deed: (deed is Deed.RETRY, deed.name))
    asked_of = {deed: [asked.value for asked in Asked if DEEDS[proof, asked] is deed] for deed in deeds}
    any_of = {deed: "any" if len(asked) == len(Asked) else "; ".join(asked) for deed, asked in asked_of.items()}
    return [(proof.value, any_of[deed], deed.value) for deed in deeds]


def _connections() -> Sequence[Sequence[str]]:
    """One row for each long-lived connection, by the defaults of the settings."""
    otlp, vault, venue, order = (
        _defaults(OtlpSettings),
        _defaults(SecretsSettings),
        _defaults(VenueSettings),
        _defaults(OrderSettings),
    )
    history, producing = _defaults(HistorySettings), _defaults(ProducerSettings)
    kernel = f"idle: asked after {IDLE_S} s, again each {INTERVAL_S} s; closed after {LOST_S:g} s without a word"
    connect_s = venue["request_deadline_s"] * CONNECT_SHARE
    at_venue = f"idle: asked after {IDLE_S} s; written bytes dropped after {connect_s:g} s"
    new = "each new connection"
    vault_s = vault["connect_timeout_s"] + vault["request_timeout_s"]
    return (
        (
            "sidecar to collector",
            f"{otlp['timeout_s']:g} s a request (`otlp.timeout_s`)",
            "a request that meets its deadline ends the connection",
            f"{otlp['backoff_cap_s']:g} s (`otlp.backoff_cap_s`)",
            f"each new connection, and each {RESOLVE_MS // 1000} s while none can be opened",
        ),
        (
            "sidecar's own metrics to collector",
            f"{PUSH_TIMEOUT_S:g} s a push",
            "a push that fails ends the connection",
            (
                f"{OWN_RETRY_S:g} s after a push that failed, else {otlp['metrics_interval_s']:g} s "
                "(`otlp.metrics_interval_s`)"
            ),
            new,
        ),
        (
            "sidecar to Vault",
            f"{vault_s:g} s a request (`secrets.connect_timeout_s` and `secrets.request_timeout_s`)",
            kernel,
            f"{RETRY_CAP_S:g} s",
            new,
        ),
        (
            "producer to sidecar",
            (
                f"{producing['connect_deadline_s']:g} s for the welcome, {producing['ack_deadline_s']:g} s for an "
                "acknowledgement (`telemetry.ack_deadline_s`)"
            ),
            (
                f"each stream has a connection of its own; the sidecar asks after {KEEPALIVE_MS // 1000} s and closes "
                f"{KEEPALIVE_LOST_MS // 1000} s later"
            ),
            f"{producing['backoff_cap_s']:g} s (`telemetry.backoff_cap_s`)",
            new,
        ),
        (
            "broker to venue, requests",
            f"{venue['request_deadline_s']:g} s a request (`venue.request_deadline_s`), {connect_s:g} s to connect",
            at_venue,
            "1 s between openings",
            new,
        ),
        (
            "broker to venue, streams",
            f"{venue['heartbeat_deadline_s']:g} s of silence (`venue.heartbeat_deadline_s`)",
            at_venue,
            f"{LONGEST_PAUSE_S:g} s",
            new,
        ),
        (
            "broker to database",
            f"{history['deadline_s']:g} s a transaction (`history.deadline_s`)",
            kernel,
            f"{HISTORY_BACKOFF.cap_s:g} s",
            new,
        ),
        (
            "broker to API server",
            f"{order['lease_s'] / 4:g} s a request, {order['lease_s'] / 2:g} s for an acquisition (`orders.lease_s`)",
            "a request that meets its deadline ends the connection; idle ones end after 5 s",
            f"{RETRY_S:g} s",
            new,
        ),
        (
            "standby to owner",
            (
                f"0.95 of `api.deadline_s` a request, {peer.CONNECT_S:g} s to connect, {peer.SILENCE_S:g} s of silence "
                "of an event stream"
            ),
            kernel,
            "none: the caller decides",
            new,
        ),
        (
            "`broker_client` to broker",
            (
                f"`attempt_s` a request, {order_client.CONNECT_S:g} s to connect, {order_client.SILENCE_S:g} s of "
                "silence of an event stream"
            ),
            kernel,
            f"{RetryPolicy().pauses.cap_s:g} s",
            new,
        ),
    )


def _defaults(settings: type[Any]) -> dict[str, Any]:
    return {field.name: field.default for field in fields(settings)}


PROXIES = ("http_proxy", "https_proxy", "grpc_proxy", "all_proxy", "no_proxy")
TABLES: Sequence[CompatibilityTable] = (
    CompatibilityTable(
        title="Answers of a collector, and of what stands before it",
        text=(
            "The first row that fits decides. Log records are given up only on the word of an OTLP server, or if a "
            "single record is too large for what stands before it; they are counted by reason and kept in "
            "`rejected-logs.jsonl`. A request that meets its deadline gets a new connection for its repetition, so "
            "that a connection whose other end is gone without a word holds nothing up."
        ),
        head=("answer", "proves", "the request is"),
        rows=[(rule.answer, rule.proves, rule.verdict.value) for rule in RULES],
    ),
    CompatibilityTable(
        title="Answers of Vault, and of what stands before it",
        text=(
            "The first row that fits decides. Vault speaks where the body has its list `errors` or a `request_id`; "
            "the words are a regular expression over these errors. No token and no lease is forgotten on a word of "
            "somebody else."
        ),
        head=("speaks", "status", "words", "fault", "proves"),
        rows=[_vault_answer(row) for row in ANSWERS],
    ),
    CompatibilityTable(
        title="What the secrets agent does about it",
        text="By what the answer proves, and by what was asked.",
        head=("proof", "asked", "deed"),
        rows=[row for proof in Proof for row in _vault_deeds(proof)],
    ),
    CompatibilityTable(
        title="Long-lived connections",
        text=(
            "By default each delivers again within 30 s of the network's return, whatever became of the connection: "
            "dropped one way or both, frozen, never answered and never closed, forgotten on the way, or its server "
            "moved by DNS (`NETWORK_FAULTS=20 OUTAGE_S=40 RECOVERY_S=30 pytest tests/integration/network`). In 54 "
            "faults of eleven kinds (`SEED=11`, outages up to 30 s) the longest was 21 s, a producer's whose "
            "connection was forgotten on the way. A request under way has its own deadline. The collector and its "
            "router end a connection after 60 s (`max_connection_age`), so that a tier that has grown gets its share."
        ),
        head=("connection", "deadline", "a lost other end is noticed", "longest pause", "name is resolved"),
        rows=_connections(),
    ),
    CompatibilityTable(
        title="Answers of the venue, and of what stands before it",
        text=(
            "The first row that fits decides; a 2xx with the JSON object that was asked for is in none. The venue "
            "speaks where the body is a JSON object with `errorMessage`, `errorCode` or `lastTransactionID`; the "
            "content type does not count. A write is sent once. A 429 stops all requests for its Retry-After, at most "
            "a minute. Only the venue's own 401 or 403 marks the token as dead."
        ),
        head=("speaks", "status", "error", "proves", "an order is", "a read is"),
        rows=VENUE_ROWS,
    ),
    CompatibilityTable(
        title="Answers of the API server about the Lease, and of what stands before it",
        text=(
            "The first row that fits decides; a 2xx with the Lease that was asked for, or as it was written, is in "
            "none. The API server refuses with a Status object. An owner goes on until its own deadline."
        ),
        head=("speaks", "status", "proves"),
        rows=[
            (_speakers(row.speakers, lease_answer.ApiSpeaker), _statuses(row), row.proof.value)
            for row in lease_answer.ROWS
        ],
    ),
    CompatibilityTable(
        title="What an owner of an account, or a standby, does about it",
        text="By what the answer proves, and by what was asked.",
        head=("proof", "asked", "deed"),
        rows=[row for proof in LeaseProof for row in _lease_deeds(proof)],
    ),
    CompatibilityTable(
        title="OpenTelemetry's variables",
        text=(
            "The sidecar reads these from its environment. Its configuration file and `SIDECAR__OTLP__…` go before "
            "them. A value that cannot be used is ignored: the start goes on, and the log names the variable in "
            "`environment.ignored`. Letter case does not count in values from a list."
        ),
        head=("variable", "setting", "values"),
        rows=[(code(item.name), code(item.setting), item.values) for item in STANDARD],
    ),
    CompatibilityTable(
        title="Proxies",
        text="No part reads a proxy from the environment; connections go straight to the configured address.",
        head=("variable", "effect"),
        rows=[(", ".join(map(code, PROXIES)), "none, in lower or upper case")],
    ),
)


def page() -> str:
    """Write the page."""
    sections = (f"\n## {item.title}\n\n{item.text}\n\n{table(item.head, item.rows)}" for item in TABLES)
    return HEAD.format(made=made("the tables in the code")) + "".join(sections)
