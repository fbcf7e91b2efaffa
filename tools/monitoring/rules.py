"""Makes rules.yaml (a PrometheusRule), prometheus-rules.yaml and the promtool tests from objectives.yaml and alerts/.

`python -m tools.monitoring.rules` writes them; with `--check` it fails where that would change them.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

MONITORING = Path(__file__).resolve().parents[2] / "k8s" / "monitoring"
TESTS = MONITORING / "tests"
WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
HOURS = {"5m": 1 / 12, "30m": 0.5, "1h": 1, "2h": 2, "6h": 6, "1d": 24, "3d": 72}
RUNBOOKS = "https://runbooks.example.internal/broker"
DASHBOARDS = "https://grafana.example.internal/d"
BELL = """\
22
- (month() > bool 3) * (month() < bool 11)
- (month() == bool 3) * (day_of_month() - day_of_week() > bool 7)
- (month() == bool 11) * (day_of_month() - day_of_week() < bool 1)"""
"""The hour in UTC at which the week of foreign exchange opens and closes: 17:00 in New York, whose summer lasts from
the second Sunday of March to the first of November (Energy Policy Act of 2005, section 110)."""
MARKET_OPEN = """\
1 - clamp_max(
  (day_of_week() == bool 6)
  + (day_of_week() == bool 0) * (hour() < bool market:bell:hour)
  + (day_of_week() == bool 5) * (hour() >= bool market:bell:hour),
  1)"""
Tree = dict[str, Any]


def burn_factor(budget: float, window: str, days: int) -> float:
    """Number of times too fast that the budget goes if `budget` of it is spent in one window.

    Source: Site Reliability Workbook, chapter 5: budget share times period over window.
    """
    return round(budget * days * 24 / HOURS[window], 2)


def recording_rules(objectives: Tree) -> Iterator[Tree]:
    """Each ratio of each objective, once for each window."""
    for item in objectives["objectives"]:
        labels = {"slo": item["name"]}
        if "bad_time" in item:
            yield {"record": "slo:bad:indicator", "labels": labels, "expr": _indicator(item)}
        for window in WINDOWS:
            yield {"record": f"slo:error:ratio_{window}", "labels": labels, "expr": _ratio(item, window)}
        yield {"record": "slo:events:increase_1h", "labels": labels, "expr": _volume(item)}
        yield {"record": "slo:objective:ratio", "labels": labels, "expr": f"vector({item['objective']})"}


def _indicator(item: Tree) -> str:
    """While the market is closed nothing is recorded: a weekend must not burn Monday's budget."""
    bad = str(item["bad_time"])
    return f"{bad}\nand on () market:open == 1" if item["market_hours"] else bad


def _ratio(item: Tree, window: str) -> str:
    if "bad_time" in item:
        return f'avg_over_time(slo:bad:indicator{{slo="{item["name"]}"}}[{window}])'
    total, bad = (item[key].replace("[w]", f"[{window}]") for key in ("total", "bad"))
    return f"({bad})\n/ (({total}) > 0)"


def _volume(item: Tree) -> str:
    if "bad_time" in item:
        return f'count_over_time(slo:bad:indicator{{slo="{item["name"]}"}}[1h])'
    return str(item["total"].replace("[w]", "[1h]"))


def burn_alerts(objectives: Tree) -> Iterator[Tree]:
    """Two windows must burn: the long one says that it matters, the short one that it still goes on."""
    for item in objectives["objectives"]:
        name = item["name"].title().replace("-", "")
        for burn in objectives["burn"]:
            factor = burn_factor(burn["budget"], burn["long"], objectives["window_days"])
            limit = f"{factor} * {round(1 - item['objective'], 6)}"
            select = f'{{slo="{item["name"]}"}}'
            expr = "\nand ".join(f"slo:error:ratio_{burn[key]}{select} > {limit}" for key in ("long", "short"))
            expr += f"\nand slo:events:increase_1h{select} >= {item['minimum_events']}"
            if item["market_hours"]:
                expr += "\nand on () market:open == 1"
            yield {
                "alert": f"{name}Burn{burn['long']}",
                "expr": expr,
                "for": burn["for"],
                "keep_firing_for": "5m",
                "labels": {"severity": burn["severity"], "team": _team(item["name"]), "slo": item["name"]},
                "annotations": {
                    "summary": f"{item['name']} burns its budget {factor} times too fast",
                    "description": f"{item['description']} {burn['budget']:.0%} of the budget of"
                    f" {objectives['window_days']} days is gone in {burn['long']} at this rate.",
                },
            }


def _team(objective: str) -> str:
    return "platform" if objective in ("telemetry-ledger", "secret-freshness") else "trading"


def written_alerts() -> Iterator[tuple[str, Tree]]:
    """The alerts of alerts/, with the name of their group."""
    for path in sorted((MONITORING / "alerts").glob("*.yaml")):
        for group in yaml.safe_load(path.read_text())["groups"]:
            for rule in group["rules"]:
                yield group["name"], rule


def groups() -> list[Tree]:
    """All rule groups, as Prometheus reads them."""
    objectives = yaml.safe_load((MONITORING / "objectives.yaml").read_text())
    found: dict[str, list[Tree]] = {}
    for name, rule in written_alerts():
        kept = {key: value for key, value in rule.items() if key != "test"}
        found.setdefault(name, []).append(kept | {"expr": expand(rule["expr"])})
    burning = list(burn_alerts(objectives))
    for rule in [*burning, *(rule for rules in found.values() for rule in rules)]:
        _link(rule)
    market = [{"record": "market:bell:hour", "expr": BELL}, {"record": "market:open", "expr": MARKET_OPEN}]
    return [
        {"name": "market", "interval": "30s", "rules": market},
        {"name": "slo.recording", "interval": "30s", "rules": list(recording_rules(objectives))},
        {"name": "slo.burn", "rules": burning},
        *({"name": name, "rules": rules} for name, rules in found.items()),
    ]


_OPEN = "while market open"
_RISE = re.compile(r"rise by \(([^)]*)\) \((\w+(?:\{[^}]*\})?)\[(\w+)\]\)")


def expand(expr: str) -> str:
    """The two abbreviations of alerts/ as PromQL.

    `while market open` mutes at a weekend, and where nobody says whether it is one does not.
    `rise by (labels) (counter[window])` is how much it grew, its first appearance included: `increase()` sees nothing
    when a series begins above zero, and a counter of something rare begins with the first time that it happens.
    """
    expr = expr.replace(_OPEN, "unless on () market:open == 0")
    return _RISE.sub(r"(sum by (\1) (increase(\2[\3])) > 0\nor sum by (\1) (\2 unless \2 offset \3) > 0)", expr)


def _link(rule: Tree) -> None:
    page = "slo" if "slo" in rule["labels"] else rule["alert"]
    rule["annotations"].setdefault("runbook_url", f"{RUNBOOKS}/{page if page != 'slo' else 'BudgetBurn'}")
    rule["annotations"].setdefault(
        "dashboard_url", f"{DASHBOARDS}/{rule['annotations'].pop('dashboard', 'broker-overview')}"
    )


def rule_tests() -> Tree:
    """Two cases for each written alert: series that make it fire, and series that do not."""
    cases = [_case(rule, kind) for _, rule in written_alerts() for kind in ("fires", "quiet") if rule["test"][kind]]
    return {"rule_files": ["../prometheus-rules.yaml"], "evaluation_interval": "30s", "tests": cases}


def _case(rule: Tree, kind: str) -> Tree:
    test = rule["test"]
    expected = []
    when = test.get(f"{kind}_at") or test.get("at", "20m")
    if kind == "fires":
        shown = groups_annotations()[rule["alert"]]
        labels = {**test.get("labels", {}), **rule["labels"]}
        annotations = {**shown, **test.get("annotations", {})}
        expected = [{"exp_labels": labels, "exp_annotations": annotations}]
    return {
        "name": f"{rule['alert']} {kind}",
        "interval": "30s",
        "input_series": [{"series": series, "values": values} for series, values in test[kind].items()],
        "alert_rule_test": [{"eval_time": when, "alertname": rule["alert"], "exp_alerts": expected}],
    }


def groups_annotations() -> dict[str, Tree]:
    """Annotations of every alert by its name."""
    return {rule["alert"]: rule["annotations"] for group in groups() for rule in group["rules"] if "alert" in rule}


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as blocks, no aliases."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the name that PyYAML calls
        """Never: a reader of the file should not have to look elsewhere."""
        return True


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None),
)


def outputs() -> dict[Path, str]:
    """Every generated file and its text."""
    made = groups()
    manifest = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "broker", "labels": {"release": "prometheus"}},
        "spec": {"groups": made},
    }
    files = {
        MONITORING / "rules.yaml": manifest,
        MONITORING / "prometheus-rules.yaml": {"groups": made},
        TESTS / "alerts.yaml": rule_tests(),
    }
    head = "# Made by tools/monitoring/rules.py from objectives.yaml and alerts/: change those.\n"
    return {path: head + yaml.dump(tree, Dumper=_Dumper, sort_keys=False, width=120) for path, tree in files.items()}


def main(arguments: list[str]) -> int:
    """Writes the files; with --check, names those that differ and answers 1."""
    TESTS.mkdir(exist_ok=True)
    stale = [path for path, text in outputs().items() if not path.exists() or path.read_text() != text]
    if "--check" in arguments:
        for path in stale:
            sys.stderr.write(f"{path.name} differs: run 'python -m tools.monitoring.rules'\n")
        return bool(stale)
    for path, text in outputs().items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
