"""Last month's service levels: `python -m tools.monitoring.sla --prometheus URL [--month 2026-10] [--json]`.

Each objective of objectives.yaml with what was achieved and what is left of its budget. Exit status 1 where an
objective was missed or has no data, 69 where Prometheus does not answer. The server must keep the whole month
(`--storage.tsdb.retention.time=40d`, or Thanos or Mimir): `coverage` says how much of it was there.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from tools.monitoring.prometheus_api import Prometheus, PrometheusError, complain
from tools.monitoring.report import asked

MONITORING = Path(__file__).resolve().parents[2] / "k8s" / "monitoring"
STEP = "5m"
STEP_S = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One objective in a month. `bad` and `total` are events, or minutes where the objective is of time."""

    name: str
    objective: float
    total: float
    bad: float
    coverage: float
    unit: str

    @property
    def achieved(self) -> float | None:
        """Good events of all; None without any."""
        return 1 - self.bad / self.total if self.total else None

    @property
    def budget_left(self) -> float | None:
        """1 is untouched, 0 is spent, less is missed; None without events."""
        return 1 - self.bad / (self.total * (1 - self.objective)) if self.total else None

    @property
    def met(self) -> bool:
        """True if it was achieved, with data that say so."""
        return self.achieved is not None and self.achieved >= self.objective


def queries(item: Mapping[str, Any], span_s: int) -> dict[str, str]:
    """PromQL for `total`, `bad` and `coverage` over the `span_s` seconds before the moment of asking."""
    seen = f'count_over_time(slo:objective:ratio{{slo="{item["name"]}"}}[{span_s}s:{STEP}]) * {STEP_S} / {span_s}'
    if "bad_time" not in item:
        total, bad = (item[key].replace("[w]", f"[{span_s}s]") for key in ("total", "bad"))
        return {"total": total, "bad": bad, "coverage": seen}
    indicator = f'slo:bad:indicator{{slo="{item["name"]}"}}'
    counted = f"({indicator} and on () market:open == 1)" if item["market_hours"] else indicator
    return {
        "total": f"count_over_time({counted}[{span_s}s:1m])",
        "bad": f"sum_over_time({counted}[{span_s}s:1m])",
        "coverage": seen,
    }


def level(server: Prometheus, item: Mapping[str, Any], start: datetime, end: datetime) -> Level:
    """Asks for one objective.

    Raises:
        PrometheusError: the server does not answer.
    """
    figures = {}
    for name, expr in queries(item, int((end - start).total_seconds())).items():
        found = server.at(expr, end)
        figures[name] = float(found[0]["value"][1]) if found else 0.0
    unit = "minutes" if "bad_time" in item else "events"
    return Level(name=item["name"], objective=item["objective"], unit=unit, **figures)


def table(levels: Sequence[Level], title: str) -> str:
    """The report as text."""
    rows = [("objective", "wanted", "achieved", "budget left", "bad of total", "coverage", "")]
    rows += [
        (
            item.name,
            f"{item.objective:.2%}",
            "no data" if item.achieved is None else f"{item.achieved:.4%}",
            "-" if item.budget_left is None else f"{item.budget_left:.1%}",
            f"{item.bad:.0f} of {item.total:.0f} {item.unit}",
            f"{item.coverage:.1%}",
            "met" if item.met else "MISSED" if item.total else "NO DATA",
        )
        for item in levels
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        [
            title,
            *("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows),
        ]
    )


def main(arguments: Sequence[str]) -> int:
    """Prints the report."""
    report = asked("Service levels of a month", arguments)
    objectives = yaml.safe_load((MONITORING / "objectives.yaml").read_text())["objectives"]
    try:
        levels = [level(report.server, item, report.start, report.end) for item in objectives]
    except PrometheusError as error:
        return complain(error)
    shown = [asdict(item) | {"achieved": item.achieved, "budget_left": item.budget_left} for item in levels]
    text = json.dumps({"month": report.month, "objectives": shown}, indent=1)
    sys.stdout.write((text if report.as_json else table(levels, f"Service levels of {report.month}")) + "\n")
    return int(not all(item.met for item in levels))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
