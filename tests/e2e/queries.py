"""Every PromQL expression that we ship, with the place where it stands."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import promql_parser
import yaml

ROOT = Path(__file__).resolve().parents[2]
MONITORING = ROOT / "k8s" / "monitoring"
VARIABLES = {
    "$__rate_interval": "30s",
    "$namespace": ".*",
    "$pod": ".*",
    "{{args.namespace}}": "broker",
    "{{args.latest-hash}}": "abc",
}


class Expression(NamedTuple):
    """A query and who asks it: `rule`, `dashboard`, `runbook` or `analysis`."""

    kind: str
    place: str
    text: str


class Selection(NamedTuple):
    """Series that an expression selects, without range and offset."""

    name: str
    matchers: str

    def __str__(self) -> str:
        return f"{self.name}{self.matchers}"


def expressions() -> Iterator[Expression]:
    for group in yaml.safe_load((MONITORING / "prometheus-rules.yaml").read_text())["groups"]:
        for rule in group["rules"]:
            yield Expression("rule", rule.get("alert") or rule["record"], rule["expr"])
    for path in sorted((MONITORING / "dashboards").glob("*.json")):
        yield from (Expression("dashboard", f"{path.stem}: {title}", text) for title, text in _of_board(path))
    for path in sorted((ROOT / "docs" / "runbooks").glob("*.md")):
        for block in re.findall(r"```promql\n(.*?)```", path.read_text(), re.DOTALL):
            yield from (Expression("runbook", path.stem, line) for line in block.strip().splitlines())
    for tree in yaml.safe_load_all((ROOT / "k8s" / "components" / "bluegreen" / "analysis.yaml").read_text()):
        for metric in tree["spec"]["metrics"]:
            if "prometheus" in metric["provider"]:
                text = _substituted(metric["provider"]["prometheus"]["query"])
                yield Expression("analysis", metric["name"], text)


def _of_board(path: Path) -> Iterator[tuple[str, str]]:
    board = json.loads(path.read_text())
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], _substituted(target["expr"])
    for item in board["annotations"]["list"]:
        if "expr" in item:
            yield item["name"], _substituted(item["expr"])


def _substituted(text: str) -> str:
    for name, value in VARIABLES.items():
        text = text.replace(name, value)
    return text


def nodes(text: str) -> Iterator[Any]:
    """Every node of an expression's tree."""
    waiting: list[Any] = [promql_parser.parse(text)]
    while waiting:
        node = waiting.pop()
        yield node
        parts = [getattr(node, name, None) for name in ("lhs", "rhs", "expr", "param", "vector_selector")]
        waiting += [part for part in (*parts, *getattr(node, "args", ())) if hasattr(part, "prettify")]


def selections(text: str) -> set[Selection]:
    """Series that an expression selects."""
    return {
        Selection(node.name or "", str(node.matchers).replace("{}", ""))
        for node in nodes(text)
        if isinstance(node, promql_parser.VectorSelector)
    }


def groupings(text: str) -> Iterator[tuple[set[str], set[Selection]]]:
    """The labels of each `by`, and what it groups."""
    for node in nodes(text):
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
            yield set(node.modifier.labels), selections(node.expr.prettify())
