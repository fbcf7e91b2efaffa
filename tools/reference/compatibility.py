"""Compatibility: the effect of each answer of another program and of each value of the environment, as tables.

`TABLES` is the page: whoever adds a rule table to the code adds one entry here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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


def _vault_answer(row: AnswerRow) -> Sequence[str]:
    statuses = str(row.lowest) if row.lowest == row.highest else f"{row.lowest} to {row.highest}"
    words = code(row.words).replace("|", "\\|") if row.words else ""
    return row.speaker.value, statuses, words, code(row.fault.value), row.proof.value


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
