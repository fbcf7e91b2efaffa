"""Compatibility: the effect of each answer of another program and of each value of the environment, as tables.

`TABLES` is the page: whoever adds a rule table to the code adds one entry here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from broker.orders.ownership import lease_answer
from broker.orders.ownership.lease_answer import LeaseDeed, LeaseProof, LeaseRequest
from broker.venue import errors
from broker.venue.errors import VenueError
from broker.venue.rest import answer as venue_answer
from sidecar.export.settings import STANDARD
from sidecar.export.verdict import RULES
from sidecar.secrets.errors import Proof
from sidecar.secrets.vault.answers import ANSWERS, DEEDS, AnswerRow, Asked, Deed
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
