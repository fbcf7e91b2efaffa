"""Compatibility: the effect of each answer of another program and of each value of the environment, as tables.

`TABLES` is the page: whoever adds a rule table to the code adds one entry here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sidecar.export.settings import STANDARD
from sidecar.export.verdict import RULES
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
